"""Which driver a configuration names; heavy and vendor packages are imported only when named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from runtime import devices
from runtime.board import Board
from runtime.clock import NS_PER_S, Clock, MonotonicClock
from runtime.config import RigConfig
from runtime.devices import Leader, is_emulated
from runtime.drivers.base import ArmDriver, CameraDriver, LeaderDriver
from runtime.drivers.bus import bus_name
from runtime.drivers.corrected import CorrectedArm
from runtime.drivers.emulators.base import BoardArm
from runtime.errors import UsageError
from runtime.layout import SIDES, Side

RESTART_PATIENCE_NS: Final = 60 * NS_PER_S
Named = TypeVar("Named", bound=devices.Device)


def _of(kind: type[Named], device: devices.Device) -> Named:
    """Return a device as what its driver takes."""
    if not isinstance(device, kind):
        raise TypeError(f"{device.driver} is no {kind.__name__}")
    return device


def _patience_ns(board: Board, side: Side) -> int:
    """A guardian that has spoken before was started anew: its bus may take a while to come back."""
    return 0 if board[f"guardian/{side}"].latest() is None else RESTART_PATIENCE_NS


def _sim_arm(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.sim.arm import SimArm  # noqa: PLC0415

    return SimArm(board, side)


def _sim_cameras(board: Board, clock: Clock, names: tuple[str, ...]) -> CameraDriver:
    from runtime.drivers.sim.camera import SimCameras  # noqa: PLC0415

    return SimCameras(board, clock, names)


def _realsense(board: Board, clock: Clock, names: tuple[str, ...]) -> CameraDriver:
    from runtime.drivers.realsense import Realsense  # noqa: PLC0415

    (name,) = names
    config = _of(devices.RealsenseCamera, board.spec.rig.cameras[name])
    return Realsense(name, config, clock)


def _recorded(board: Board, clock: Clock, names: tuple[str, ...]) -> CameraDriver:
    from runtime.drivers.recorded import Recorded  # noqa: PLC0415

    (name,) = names
    config = _of(devices.RecordedCamera, board.spec.rig.cameras[name])
    return Recorded(name, config, clock)


def _uvc(board: Board, clock: Clock, names: tuple[str, ...]) -> CameraDriver:
    from runtime.drivers.uvc import Uvc  # noqa: PLC0415

    (name,) = names
    config = _of(devices.UvcCamera, board.spec.rig.cameras[name])
    return Uvc(name, config, clock)


def _orbbec(board: Board, clock: Clock, names: tuple[str, ...]) -> CameraDriver:
    from runtime.drivers.orbbec import Orbbec  # noqa: PLC0415

    (name,) = names
    config = _of(devices.OrbbecCamera, board.spec.rig.cameras[name])
    return Orbbec(name, config, clock)


def _piper_arm(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.piper.arm import PiperArm  # noqa: PLC0415
    from runtime.drivers.piper.bus import Bus, join_emulated, open_bus  # noqa: PLC0415

    config = _of(devices.PiperArm, board.spec.rig.arms[side])
    emulated = is_emulated(config)

    def connect() -> Bus:
        return (
            join_emulated(bus_name(board.spec.run_dir, side))
            if emulated
            else open_bus(config.channel, config.interface)
        )

    model, patience_ns = board.spec.rig.arm_model(side), _patience_ns(board, side)
    return PiperArm(model, connect, config.channel, MonotonicClock(0), config.rest_rad or (), patience_ns)


def _interbotix_arm(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.interbotix.arm import InterbotixArm  # noqa: PLC0415
    from runtime.drivers.interbotix.port import emulated_port, open_port  # noqa: PLC0415
    from runtime.drivers.interbotix.table import VX300S_SERVOS  # noqa: PLC0415

    config = _of(devices.InterbotixArm, board.spec.rig.arms[side])
    path = str(emulated_port(board.spec.run_dir, side)) if is_emulated(config) else config.port
    model, patience_ns = board.spec.rig.arm_model(side), _patience_ns(board, side)
    return InterbotixArm(
        model,
        VX300S_SERVOS,
        lambda: open_port(path, config.baud),
        config.port,
        MonotonicClock(0),
        patience_ns,
        config.baud,
    )


def _interbotix_ros_arm(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.interbotix.ros import InterbotixRosArm, Node  # noqa: PLC0415

    config, clock = _of(devices.InterbotixRosArm, board.spec.rig.arms[side]), MonotonicClock(0)

    def connect() -> Node:
        if is_emulated(config):
            from runtime.drivers.emulators.interbotix_xs_stand_in import StandInNode  # noqa: PLC0415

            return StandInNode(BoardArm(board, side), clock)
        from runtime.drivers.interbotix.ros_node import RosNode  # noqa: PLC0415

        return RosNode(config.robot, config.model, clock)

    model, patience_ns = board.spec.rig.arm_model(side), _patience_ns(board, side)
    return InterbotixRosArm(model, config.robot, connect, clock, patience_ns)


def _arx_x5(board: Board, side: Side) -> ArmDriver:
    from runtime.drivers.arx_x5 import ArxX5, interface_counter, load_sdk  # noqa: PLC0415

    config = _of(devices.ArxX5Arm, board.spec.rig.arms[side])
    clock = MonotonicClock(0)
    sdk: Any
    if is_emulated(config):
        from runtime.drivers.emulators.arx5_stand_in import StandIn  # noqa: PLC0415

        sdk = StandIn(BoardArm(board, side), clock)
        received = sdk.received
    else:
        sdk, received = load_sdk(), interface_counter(config.channel)
    return ArxX5(
        board.spec.rig.arm_model(side),
        config.channel,
        clock,
        sdk,
        received,
        period_ns=NS_PER_S // board.spec.rig.servo_hz,
        readout=config.gripper_open_readout,
        sink=config.at_close == "sink",
    )


ARMS: Final[dict[str, Callable[[Board, Side], ArmDriver]]] = {
    "sim": _sim_arm,
    "piper": _piper_arm,
    "interbotix": _interbotix_arm,
    "interbotix_ros": _interbotix_ros_arm,
    "arx_x5": _arx_x5,
}
MakeCameras = Callable[[Board, Clock, tuple[str, ...]], CameraDriver]
CAMERAS: Final[dict[str, MakeCameras]] = {
    "sim": _sim_cameras,
    "realsense": _realsense,
    "uvc": _uvc,
    "orbbec": _orbbec,
    "recorded": _recorded,
}


def _piper_leader(leader: Leader, _rig: RigConfig) -> LeaderDriver:
    from runtime.arms import PIPER  # noqa: PLC0415
    from runtime.drivers.leaders.piper import PiperLeader  # noqa: PLC0415
    from runtime.drivers.piper.bus import open_bus  # noqa: PLC0415

    config = _of(devices.PiperLeader, leader)
    return PiperLeader(
        config.side, PIPER, lambda: open_bus(config.channel, config.interface), config.channel, config.control_offset
    )


def _arm_names(rig: RigConfig) -> dict[Side, str]:
    return {side: rig.arms[side].model for side in SIDES}


def _sim_leader(leader: Leader, _rig: RigConfig) -> LeaderDriver:
    from runtime.drivers.leaders.sim import ScriptedLeader  # noqa: PLC0415

    return ScriptedLeader(_of(devices.SimLeader, leader))


def _evdev_leader(leader: Leader, rig: RigConfig) -> LeaderDriver:
    from runtime.drivers.leaders.evdev import InputLeader  # noqa: PLC0415

    return InputLeader(_of(devices.EvdevLeader, leader), _arm_names(rig))


def _dynamixel_leader(leader: Leader, _rig: RigConfig) -> LeaderDriver:
    from runtime.drivers.leaders.dynamixel import open_leader  # noqa: PLC0415

    return open_leader(_of(devices.DynamixelLeader, leader), MonotonicClock(0))


def _spacemouse(leader: Leader, rig: RigConfig) -> LeaderDriver:
    from runtime.drivers.leaders.spacemouse import SpaceMouse  # noqa: PLC0415

    config = _of(devices.SpaceMouseLeader, leader)
    return SpaceMouse(config, rig.arms[config.side].model)


def _poses(leader: Leader, rig: RigConfig) -> LeaderDriver:
    from runtime.drivers.leaders.poses import PoseReceiver  # noqa: PLC0415

    return PoseReceiver(_of(devices.PoseLeader, leader), _arm_names(rig))


LEADERS: Final[dict[str, Callable[[Leader, RigConfig], LeaderDriver]]] = {
    "sim": _sim_leader,
    "piper": _piper_leader,
    "dynamixel": _dynamixel_leader,
    "evdev": _evdev_leader,
    "spacemouse": _spacemouse,
    "poses": _poses,
}


def open_arm(board: Board, side: Side) -> ArmDriver:
    """Open the driver that the rig names for an arm; raises DriverError."""
    config = board.spec.rig.arms[side]
    arm = ARMS[config.driver](board, side)
    if isinstance(config, devices.RealArm) and config.correction != devices.Correction():
        arm = CorrectedArm(arm, config.correction)
    arm.open()
    return arm


def make_cameras(board: Board, clock: Clock, names: tuple[str, ...]) -> CameraDriver:
    """Return the driver of cameras that the rig names the same one for, not opened."""
    return CAMERAS[board.spec.rig.cameras[names[0]].driver](board, clock, names)


def make_leader(leader: Leader, rig: RigConfig) -> LeaderDriver:
    """Return the driver that the rig names for a leader, not opened; UsageError where this version has none."""
    if leader.driver not in LEADERS:
        raise UsageError(f"leader driver {leader.driver!r} is not there yet; there are: {', '.join(LEADERS)}")
    return LEADERS[leader.driver](leader, rig)
