"""Which driver a configuration names; heavy and vendor packages are imported only when named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from runtime import devices
from runtime.board import Board
from runtime.clock import NS_PER_S, Clock, MonotonicClock
from runtime.config import RigConfig
from runtime.devices import EvdevLeader, Leader, PoseLeader, SimLeader, SpaceMouseLeader, is_emulated
from runtime.drivers.base import ArmDriver, CameraDriver, LeaderDriver
from runtime.drivers.emulators.base import bus_name
from runtime.errors import UsageError
from runtime.layout import SIDES, Side

RESTART_PATIENCE_NS: Final = 60 * NS_PER_S


def _sim_arm(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.sim.arm import SimArm  # noqa: PLC0415

    return SimArm(board, side)


def _sim_cameras(board: Board, clock: Clock) -> CameraDriver:
    from runtime.drivers.sim.camera import SimCameras  # noqa: PLC0415

    return SimCameras(board, clock, tuple(board.spec.rig.cameras))


def _piper_arm(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.piper.arm import PiperArm  # noqa: PLC0415
    from runtime.drivers.piper.bus import Bus, join_emulated, open_bus  # noqa: PLC0415

    config = board.spec.rig.arms[side]
    if not isinstance(config, devices.PiperArm):
        raise TypeError(f"{config.driver} is no Piper")
    emulated = is_emulated(config)

    def connect() -> Bus:
        return (
            join_emulated(bus_name(board.spec.run_dir, side))
            if emulated
            else open_bus(config.channel, config.interface)
        )

    # A guardian that has spoken before was started anew: its bus may take a while to come back.
    patience_ns = 0 if board[f"guardian/{side}"].latest() is None else RESTART_PATIENCE_NS
    model = board.spec.rig.arm_model(side)
    return PiperArm(model, connect, config.channel, MonotonicClock(0), config.rest_rad or (), patience_ns)


ARMS: Final[dict[str, Callable[[Board, Side], ArmDriver]]] = {"sim": _sim_arm, "piper": _piper_arm}
CAMERAS: Final[dict[str, Callable[[Board, Clock], CameraDriver]]] = {"sim": _sim_cameras}


def _piper_leader(leader: Leader) -> LeaderDriver:
    from runtime.arms import PIPER  # noqa: PLC0415
    from runtime.drivers.leaders.piper import PiperLeader  # noqa: PLC0415
    from runtime.drivers.piper.bus import open_bus  # noqa: PLC0415

    if not isinstance(leader, devices.PiperLeader):
        raise TypeError(f"{leader.driver} is no leading Piper")
    channel, interface = leader.channel, leader.interface
    return PiperLeader(leader.side, PIPER, lambda: open_bus(channel, interface), channel, leader.control_offset)


def _sim_leader(leader: Leader) -> LeaderDriver:
    from runtime.drivers.leaders.sim import ScriptedLeader  # noqa: PLC0415

    return ScriptedLeader(cast(SimLeader, leader))


def _evdev_leader(leader: Leader) -> LeaderDriver:
    from runtime.drivers.leaders.evdev import InputLeader  # noqa: PLC0415

    return InputLeader(cast(EvdevLeader, leader))


LEADERS: Final[dict[str, Callable[[Leader], LeaderDriver]]] = {
    "sim": _sim_leader,
    "piper": _piper_leader,
    "evdev": _evdev_leader,
}


def _spacemouse(leader: Leader, rig: RigConfig) -> LeaderDriver:
    from runtime.drivers.leaders.spacemouse import SpaceMouse  # noqa: PLC0415

    config = cast(SpaceMouseLeader, leader)
    return SpaceMouse(config, rig.arms[config.side].model)


def _poses(leader: Leader, rig: RigConfig) -> LeaderDriver:
    from runtime.drivers.leaders.poses import PoseReceiver  # noqa: PLC0415

    return PoseReceiver(cast(PoseLeader, leader), {side: rig.arms[side].model for side in SIDES})


HAND_LEADERS: Final[dict[str, Callable[[Leader, RigConfig], LeaderDriver]]] = {
    "spacemouse": _spacemouse,
    "poses": _poses,
}
"""Those that lead a hand, and so need to know which arms there are."""


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


def make_leader(leader: Leader, rig: RigConfig) -> LeaderDriver:
    """Return the driver that the rig names for a leader, not opened; UsageError where this version has none."""
    if leader.driver in HAND_LEADERS:
        return HAND_LEADERS[leader.driver](leader, rig)
    if leader.driver not in LEADERS:
        there = ", ".join((*LEADERS, *HAND_LEADERS))
        raise UsageError(f"leader driver {leader.driver!r} is not there yet; there are: {there}")
    return LEADERS[leader.driver](leader)
