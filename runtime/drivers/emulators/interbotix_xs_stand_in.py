"""A stand-in for `interbotix_xs_modules` and the xs_sdk node behind it; not the genuine ones, which need ROS 2.

Written from their published source: names, units, what a failed read is published as. No ROS message is made.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import DriverError
from runtime.drivers.emulators.base import Behind
from runtime.drivers.interbotix.conversions import SPAN_M, finger_m_per_rad, gripper_fraction, gripper_rad
from runtime.drivers.interbotix.ros import JOINTS
from runtime.layout import ARM_GRIPPER, ARM_JOINTS

PERIOD_NS: Final = 10 * NS_PER_MS
"""The node's `update_rate` is 100 by default."""
LATENCY_NS: Final = NS_PER_MS
FIRST_NS: Final = 5 * NS_PER_S
UNREAD_RAD: Final = -np.pi
LIMITS: Final = (
    (-3.14158, -1.85005, -1.76278, -3.14158, -1.86750, -3.14158),
    (3.14158, 1.25664, 1.60570, 3.14158, 2.23402, 3.14158),
)
"""Of the vx300s' published URDF."""


class _Future:
    def __init__(self, values: list[int]) -> None:
        self._values = values

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        return SimpleNamespace(values=self._values)


class StandInCore:
    """In place of `InterbotixRobotXSCore`, over an arm `behind`. `registers` and `modes` may be changed by a test."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self.now_ns = 0
        self.joint_states: Any = None
        self.js_index_map = {name: i for i, name in enumerate((*JOINTS, "left_finger", "right_finger"))}
        self.modes = {"arm": "position", "gripper": "current_based_position"}
        self.names = list(JOINTS[:ARM_JOINTS])
        self.limits = LIMITS
        self.registers: dict[str, dict[str, int]] = {
            joint: {
                "Torque_Enable": 1,
                "Hardware_Error_Status": 0,
                "Current_Limit": 200,
                "Profile_Velocity": 131,
                "Profile_Acceleration": 25,
            }
            for joint in JOINTS
        }
        self.stubborn: set[str] = set()
        """Registers that are not taken."""
        self.srv_get_reg = SimpleNamespace(
            srv_type=SimpleNamespace(Request=SimpleNamespace), call_async=lambda request: _Future(self._values(request))
        )
        self._goal: list[float] | None = None
        self._moved = False

    def _values(self, request: Any) -> list[int]:
        return self.robot_get_motor_registers(request.cmd_type, request.name, request.reg)

    def robot_get_robot_info(self, cmd_type: str, name: str) -> Any:
        """Return names, mode and limits of a group or of one joint."""
        names = self.names if cmd_type == "group" else [name]
        low, high = self.limits
        return SimpleNamespace(
            mode=self.modes[name], joint_names=names, joint_lower_limits=list(low), joint_upper_limits=list(high)
        )

    def robot_get_motor_registers(self, cmd_type: str, name: str, reg: str) -> list[int]:
        """Return a register of one joint or of those of the arm."""
        joints = JOINTS[:ARM_JOINTS] if cmd_type == "group" else (name,)
        return [self.registers[joint][reg] for joint in joints]

    def robot_set_motor_registers(self, cmd_type: str, name: str, reg: str, value: int) -> None:
        """Set a register of one joint or of those of the arm."""
        for joint in JOINTS[:ARM_JOINTS] if cmd_type == "group" else (name,):
            if reg not in self.stubborn:
                self.registers[joint][reg] = value

    def robot_write_commands(self, group_name: str, commands: list[float]) -> None:
        """Move the six joints of group arm, rad."""
        if group_name != "arm" or len(commands) != ARM_JOINTS:
            raise ValueError(f"no group {group_name} of {len(commands)} joints")
        self._aim(slice(0, ARM_JOINTS), commands)

    def robot_write_joint_command(self, joint_name: str, command: float) -> None:
        """Move one joint, rad."""
        at = self.js_index_map[joint_name]
        self._aim(slice(at, at + 1), [gripper_fraction(command) if at == ARM_GRIPPER else command])

    def _aim(self, part: slice, values: list[float]) -> None:
        state = self._behind.state()
        if self._goal is None and state is not None:
            self._goal = state["position"].tolist()
        if self._goal is not None and all(registers["Torque_Enable"] for registers in self.registers.values()):
            self._goal[part] = values
            self._moved = True

    def move(self) -> None:
        """Move the arm to what was written since the last time, group and single joint together."""
        if self._moved and self._goal is not None:
            self._behind.command(np.array(self._goal), self.now_ns)
        self._moved = False

    def publish(self, now_ns: int, silent: str = "") -> None:
        """Publish the arm's state; from the joint `silent` on, no servo has answered."""
        raw = self._behind.state()
        if raw is None:
            return
        angle = gripper_rad(float(raw["position"][ARM_GRIPPER]))
        motion = {name: raw[name].tolist() for name in ("position", "velocity", "effort")}
        motion["position"][ARM_GRIPPER] = angle
        motion["velocity"][ARM_GRIPPER] /= max(finger_m_per_rad(angle), 1e-3) / SPAN_M
        for joint in range(self.js_index_map[silent] if silent else len(JOINTS), len(JOINTS)):
            motion["position"][joint], motion["velocity"][joint], motion["effort"][joint] = UNREAD_RAD, 0.0, 0.0
        stamp = SimpleNamespace(sec=now_ns // NS_PER_S, nanosec=now_ns % NS_PER_S)
        self.joint_states = SimpleNamespace(
            header=SimpleNamespace(stamp=stamp),
            name=list(self.js_index_map),
            **{name: [*values, 0.0, 0.0] for name, values in motion.items()},
        )


class StandInNode:
    """In place of `RosNode`: publishes a hundred times a second. `gone` ends it, `silent` is a servo without answer."""

    def __init__(self, behind: Behind, clock: Clock) -> None:
        self._clock = clock
        self.core = StandInCore(behind)
        self.gone, self.silent = False, ""
        self._due_ns = 0
        # The genuine core's constructor returns with its first joint states, too.
        until_ns = clock.now_ns() + FIRST_NS
        while self.core.joint_states is None:
            if clock.now_ns() > until_ns:
                raise DriverError("the arm behind the stand-in has no state")
            clock.sleep_until_ns(clock.now_ns() + LATENCY_NS)
            self.poll()

    def poll(self) -> None:
        """Publish what is due; of what was missed only the newest."""
        now_ns = self.core.now_ns = self._clock.now_ns()
        self.core.move()
        if self.gone or now_ns < self._due_ns + LATENCY_NS:
            return
        self._due_ns = max(self._due_ns + PERIOD_NS, now_ns - LATENCY_NS)
        self.core.publish(now_ns - LATENCY_NS, self.silent)

    def age_ns(self, stamp: Any) -> int:
        """Return how long ago a message was stamped."""
        return self._clock.now_ns() - (int(stamp.sec) * NS_PER_S + int(stamp.nanosec))

    def close(self) -> None:
        """Nothing to leave."""
