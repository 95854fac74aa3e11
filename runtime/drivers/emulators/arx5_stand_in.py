"""A stand-in of arx5-interface: the names that the driver uses, with an arm behind them and no motor bus.

The package is compiled, and talks to nothing but a SocketCAN interface with an X5 on it. What is here is our own, of
the same signatures, values and refusals; it has no thread: a state is the arm's newest, a target is passed on at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.arms import X5
from runtime.clock import NS_PER_S, Clock
from runtime.drivers.emulators.base import Behind
from runtime.layout import ARM_GRIPPER, ARM_JOINTS

JUMP_RAD: Final = 0.2
"""The package refuses stiffness when the target is farther than this from the arm."""
AT_ONCE_S: Final = 1e-3
"""A target that is due so near to now is one for now."""
MOTORS: Final = 7


@dataclass
class RobotConfig:
    """What the package says of the arm."""

    joint_pos_min: NDArray[np.float64] = field(default_factory=lambda: np.array(X5.position_min[:ARM_JOINTS]))
    joint_pos_max: NDArray[np.float64] = field(default_factory=lambda: np.array(X5.position_max[:ARM_JOINTS]))
    joint_vel_max: NDArray[np.float64] = field(default_factory=lambda: np.array(X5.velocity_max[:ARM_JOINTS]))
    joint_torque_max: NDArray[np.float64] = field(default_factory=lambda: np.array(X5.torque_max[:ARM_JOINTS]))
    gripper_width: float = 0.088
    gripper_open_readout: float = 5.03
    joint_dof: int = ARM_JOINTS


@dataclass
class ControllerConfig:
    """The package's gains for an X5."""

    default_kp: NDArray[np.float64] = field(default_factory=lambda: np.array([80.0, 70.0, 70.0, 30.0, 30.0, 20.0]))
    default_kd: NDArray[np.float64] = field(default_factory=lambda: np.array([2.0, 2.0, 2.0, 1.0, 1.0, 0.7]))
    default_gripper_kp: float = 5.0
    default_gripper_kd: float = 0.2


class Gain:
    """Stiffness and damping of the joints and the gripper."""

    def __init__(self, kp: Any, kd: Any, gripper_kp: float, gripper_kd: float) -> None:
        self._kp, self._kd = np.array(kp, dtype=np.float64), np.array(kd, dtype=np.float64)
        self.gripper_kp, self.gripper_kd = gripper_kp, gripper_kd

    def kp(self) -> NDArray[np.float64]:
        """Stiffness (6,), N.m/rad."""
        return self._kp

    def kd(self) -> NDArray[np.float64]:
        """Damping (6,), N.m.s/rad."""
        return self._kd


class JointState:
    """Where the joints (6,) and the gripper are, rad and m, or shall be, at `timestamp`, s."""

    def __init__(
        self,
        pos: Any,
        vel: Any,
        torque: Any,
        gripper_pos: float,
        gripper_vel: float = 0.0,
        gripper_torque: float = 0.0,
    ) -> None:
        self._pos, self._vel, self._torque = (np.array(value, dtype=np.float64) for value in (pos, vel, torque))
        self.gripper_pos, self.gripper_vel, self.gripper_torque = gripper_pos, gripper_vel, gripper_torque
        self.timestamp = 0.0

    def pos(self) -> NDArray[np.float64]:
        """Positions, rad."""
        return self._pos

    def vel(self) -> NDArray[np.float64]:
        """Velocities, rad/s."""
        return self._vel

    def torque(self) -> NDArray[np.float64]:
        """Torques, N.m."""
        return self._torque


class StandInController:
    """In place of `Arx5JointController`, over an arm `behind`. `sdk` holds the classes of states that it returns."""

    def __init__(self, behind: Behind, clock: Clock, sdk: Any, robot: Any, gains: Any) -> None:
        self._behind, self._clock, self._sdk, self._robot = behind, clock, sdk, robot
        self._gain = sdk.Gain(np.zeros(ARM_JOINTS), gains.default_kd, 0.0, gains.default_gripper_kd)
        self._began_ns = clock.now_ns()
        self._cmd = self.get_joint_state()
        if not np.any(self._cmd.pos()):
            raise RuntimeError("None of the motors are initialized. Please check the connection or power of the arm.")

    def get_timestamp(self) -> float:
        """Seconds since it began."""
        return (self._clock.now_ns() - self._began_ns) / NS_PER_S

    def get_joint_state(self) -> Any:
        """Return the newest state of the arm; all zeros before its first."""
        raw = self._behind.state()
        if raw is None:
            zeros = np.zeros(ARM_JOINTS)
            return self._sdk.JointState(zeros, zeros, zeros, 0.0)
        width_m = self._robot.gripper_width
        position, velocity, effort = raw["position"], raw["velocity"], raw["effort"]
        state = self._sdk.JointState(
            position[:ARM_JOINTS],
            velocity[:ARM_JOINTS],
            effort[:ARM_JOINTS],
            float(position[ARM_GRIPPER]) * width_m,
            float(velocity[ARM_GRIPPER]) * width_m,
            float(effort[ARM_GRIPPER]),
        )
        state.timestamp = (int(raw["t_ns"]) - self._began_ns) / NS_PER_S
        return state

    def get_joint_cmd(self) -> Any:
        """Return the target."""
        return self._cmd

    def set_joint_cmd(self, cmd: Any) -> None:
        """Pass a target on, inside the limits, where there is stiffness; ValueError where its time has passed."""
        now_s = self.get_timestamp()
        cmd.timestamp = cmd.timestamp or now_s
        if now_s - cmd.timestamp >= AT_ONCE_S:
            raise ValueError("End time must be no less than current time")
        self._cmd = cmd
        self._pass_on()

    def get_gain(self) -> Any:
        """Return the gains."""
        return self._gain

    def set_gain(self, gain: Any) -> None:
        """Set the gains; RuntimeError where the arm would jump."""
        here = self.get_joint_state()
        far = np.abs(here.pos() - self._cmd.pos()).max()
        if not np.any(self._gain.kp()) and np.any(gain.kp() > 1.0) and far > JUMP_RAD:
            raise RuntimeError("Cannot set kp to non-zero when the joint pos cmd is far from current pos.")
        self._gain = gain
        self._pass_on()

    def _pass_on(self) -> None:
        if not np.any(self._gain.kp()):
            return
        joints = np.clip(self._cmd.pos(), self._robot.joint_pos_min, self._robot.joint_pos_max)
        fraction = min(max(self._cmd.gripper_pos / self._robot.gripper_width, 0.0), 1.0)
        due_ns = self._began_ns + round(self._cmd.timestamp * NS_PER_S)
        self._behind.command(np.append(joints, fraction), due_ns)


class _Factory:
    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind

    def get_instance(self) -> _Factory:
        """As the package's factories are reached."""
        return self

    def get_config(self, *_names: object) -> Any:
        """Return a configuration of its own."""
        return self._kind()


class StandIn:
    """In place of the package, with one arm behind."""

    RobotConfigFactory = _Factory(RobotConfig)
    ControllerConfigFactory = _Factory(ControllerConfig)
    JointState = JointState
    Gain = Gain

    def __init__(self, behind: Behind, clock: Clock) -> None:
        self._behind, self._clock = behind, clock

    def Arx5JointController(self, robot: Any, gains: Any, _channel: str) -> StandInController:  # noqa: N802
        """Return the controller of the arm behind."""
        return StandInController(self._behind, self._clock, self, robot, gains)

    def received(self) -> int:
        """Return how many frames would have come: each motor's, each time the arm has spoken."""
        state = self._behind.state()
        return 0 if state is None else MOTORS * int(state["seq"])
