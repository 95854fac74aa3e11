"""Which driver a configuration names; heavy and vendor packages are imported only when named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from runtime.board import Board
from runtime.clock import Clock
from runtime.devices import Leader, SimLeader
from runtime.drivers.base import ArmDriver, CameraDriver, LeaderDriver
from runtime.errors import UsageError
from runtime.layout import Side


def _sim_arm(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.sim.arm import SimArm  # noqa: PLC0415

    return SimArm(board, side)


def _sim_cameras(board: Board, clock: Clock) -> CameraDriver:
    from runtime.drivers.sim.camera import SimCameras  # noqa: PLC0415

    return SimCameras(board, clock, tuple(board.spec.rig.cameras))


def _sim_leader(leader: Leader) -> LeaderDriver:
    from runtime.drivers.leaders.sim import ScriptedLeader  # noqa: PLC0415

    return ScriptedLeader(cast(SimLeader, leader))


ARMS: Final[dict[str, Callable[[Board, Side], ArmDriver]]] = {"sim": _sim_arm}
CAMERAS: Final[dict[str, Callable[[Board, Clock], CameraDriver]]] = {"sim": _sim_cameras}
LEADERS: Final[dict[str, Callable[[Leader], LeaderDriver]]] = {"sim": _sim_leader}


def open_arm(board: Board, side: Side) -> ArmDriver:
    """Open the driver that the rig names for an arm; raises DriverError."""
    arm = ARMS[board.spec.rig.arms[side].driver](board, side)
    arm.open()
    return arm


def open_cameras(board: Board, clock: Clock) -> CameraDriver:
    """Open the driver that the rig names for its cameras; raises DriverError."""
    (driver,) = {camera.driver for camera in board.spec.rig.cameras.values()}
    cameras = CAMERAS[driver](board, clock)
    cameras.open()
    return cameras


def make_leader(leader: Leader) -> LeaderDriver:
    """Return the driver that the rig names for a leader, not opened; UsageError where this version has none."""
    if leader.driver not in LEADERS:
        raise UsageError(f"leader driver {leader.driver!r} is not there yet; there are: {', '.join(LEADERS)}")
    return LEADERS[leader.driver](leader)
