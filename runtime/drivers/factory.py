"""Which driver a configuration names; heavy and vendor packages are imported only when named."""

from __future__ import annotations

from runtime.board import Board
from runtime.clock import Clock
from runtime.drivers.base import ArmDriver, CameraDriver
from runtime.layout import Side


def open_arm(board: Board, side: Side) -> ArmDriver:
    """Open the driver of one arm; raises DriverError."""
    from runtime.drivers.sim.arm import SimArm  # noqa: PLC0415

    arm = SimArm(board, side)
    arm.open()
    return arm


def open_cameras(board: Board, clock: Clock) -> CameraDriver:
    """Open the rig's cameras; raises DriverError."""
    from runtime.drivers.sim.camera import SimCameras  # noqa: PLC0415

    cameras = SimCameras(board, clock, tuple(board.spec.rig.cameras))
    cameras.open()
    return cameras
