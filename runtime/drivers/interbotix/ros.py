"""An Interbotix follower whose port the lab's own ROS 2 node (xs_sdk) holds, through `interbotix_xs_modules`.

What was read in its source (Interbotix/interbotix_ros_toolboxes and _ros_core, branch humble, interbotix_xs_driver) and
is load-bearing here: changing an operating mode takes the torque off; after a servo that did not answer, that servo and
all after it are published as zero ticks, -pi rad, with a fresh stamp; there is no watchdog below the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from math import inf, pi
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import DriverError
from runtime.drivers.interbotix.arming import GRIPPER_CURRENT_MAX, OUTSIDE_RAD
from runtime.drivers.interbotix.conversions import (
    RAD_PER_TICK,
    SPAN_M,
    finger_m_per_rad,
    gripper_fraction,
    gripper_rad,
)
from runtime.drivers.interbotix.feedback import Fault, hardware_faults
from runtime.drivers.interbotix.table import NO_SHADOW, TORQUE_NM_PER_A, VX300S_SERVOS, joint_servos
from runtime.drivers.patience import open_patiently
from runtime.layout import ARM_GRIPPER, ARM_JOINTS
from runtime.shm import blank

ARM, GRIPPER = "arm", "gripper"
JOINTS: Final = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", GRIPPER)
MODES: Final = {ARM: "position", GRIPPER: "current_based_position"}
SILENT_NS: Final = 200 * NS_PER_MS
"""A node that publishes no whole state for this long is lost; the guardian has braked since `state_stale_ms`."""
LATE_NS: Final = 20 * NS_PER_MS
"""How long ago, at most, a state was published that has just come: more is a wall clock that was set."""
LOOSE_NS: Final = NS_PER_S
"""An arm that has been without torque for this long is to be armed anew."""
MESSAGES_MAX: Final = 8
ASK_NS: Final = 200 * NS_PER_MS
"""Between two questions of health, of one joint each: a question keeps the node from its port for about 2 ms."""
ANSWER_NS: Final = NS_PER_S
LIMITS_RAD: Final = 0.02
_SERVOS: Final = joint_servos(VX300S_SERVOS)
_COUNT: Final = [1 + sum(servo.shadows == joint.servo_id != NO_SHADOW for servo in VX300S_SERVOS) for joint in _SERVOS]
_NM_PER_MA: Final = np.array(
    [1e-3 * TORQUE_NM_PER_A[servo.model] * count for servo, count in zip(_SERVOS, _COUNT, strict=True)]
)
"""The node reports the current of a joint's first servo; its shadow carries as much."""


class Node(Protocol):
    """The lab's node of one arm, as seen from here. `core` is an `InterbotixRobotXSCore`."""

    core: Any

    def poll(self) -> None:
        """Take one message or answer in, if one has come; never waits."""

    def age_ns(self, stamp: Any) -> int:
        """Return how long ago a message was stamped, by the clock that stamps it."""

    def close(self) -> None:
        """Leave ROS."""


class InterbotixRosArm:
    """One arm behind an xs_sdk node; implements `ArmDriver`.

    One target goes out for each state that comes, the newest, so that no queue grows where the node is slow. `connect`
    finds the node of `robot`, its namespace. While `patience_ns` last, `open` goes on trying.
    """

    def __init__(
        self, model: ArmModel, robot: str, connect: Callable[[], Node], clock: Clock, patience_ns: int = 0
    ) -> None:
        self._model, self._connect, self._clock, self._patience_ns = model, connect, clock, patience_ns
        self._name = f"Interbotix arm /{robot}"
        self._node: Node | None = None
        self._index: list[int] = []
        self._message: Any = None
        self._state: Any = blank(records.ARM_STATE)
        self._target: NDArray[np.float64] | None = None
        self._due = False
        self._gripper_goal = inf
        self._heard_ns, self._looked_ns, self._unread = 0, 0, ""
        self._sound_ns = 0
        self._health = _Health()

    def open(self) -> None:
        """Find the node, compare what it says with the arm's build, and see that the arm is under torque.

        The profiles that the servos make of a target are switched off: targets come from here, many a second.

        Raises:
            DriverError: there is no node, or something differs.
        """
        open_patiently(self._arm, self._let_go, self._clock, self._patience_ns)

    def _arm(self) -> None:
        self._node = node = self._connect()
        core = node.core
        for refusal in self._differences(core):
            raise DriverError(f"{self._name}: {refusal}")
        self._index = [core.js_index_map[joint] for joint in JOINTS]
        self._health = _Health()
        self._message, self._gripper_goal = None, inf
        self._sound_ns = self._clock.now_ns()

    def read(self) -> NDArray[Any] | None:
        """Return the newest state, stamped when it was published.

        Raises:
            DriverError: the node or a servo is silent, or the arm has been without torque for long.
        """
        if self._node is None:
            raise DriverError(f"{self._name} is not open")
        now_ns = self._clock.now_ns()
        if now_ns - self._looked_ns > SILENT_NS // 2:
            # Silence counts only while somebody looks: nobody did between the opening and now, or in a pause.
            self._heard_ns = now_ns
        self._looked_ns = now_ns
        for _ in range(MESSAGES_MAX):
            before = self._node.core.joint_states
            self._node.poll()
            if self._node.core.joint_states is before:
                break
        message = self._node.core.joint_states
        if message is not self._message:
            self._message = message
            self._take(message, now_ns)
        if now_ns - self._heard_ns > SILENT_NS:
            silent = f"{self._unread} does not answer its xs_sdk: check the cable and the supply"
            nobody = f"no joint states for {SILENT_NS // NS_PER_MS} ms: is its xs_sdk running?"
            raise DriverError(f"{self._name}: {silent if self._unread else nobody}")
        self._state["fault"] = fault = self._health.step(self._node.core, now_ns)
        if not fault & Fault.TORQUE_LOST:
            self._sound_ns = now_ns
        elif now_ns - self._sound_ns > LOOSE_NS:
            raise DriverError(f"{self._name} has lost its torque")
        return self._state.copy() if self._state["seq"] else None

    def command(self, servo_tick: int, position: NDArray[np.float64], now_ns: int) -> None:  # noqa: ARG002
        """Send a target (7,), or keep it for when the next state has come."""
        if self._node is None:
            raise DriverError(f"{self._name} is not open")
        self._target = position.copy()
        if self._due:
            self._send()

    def close(self) -> None:
        """Leave ROS; the node keeps the arm at its last target, under torque."""
        self._let_go()

    def _let_go(self) -> None:
        if self._node is not None:
            self._node.close()
            self._node = None
        self._target = None

    def _take(self, message: Any, now_ns: int) -> None:
        position = np.array([message.position[i] for i in self._index])
        zeros = np.flatnonzero(np.abs(position + pi) < RAD_PER_TICK / 2).tolist()
        if any(map(self._cannot_be_there, zeros)):
            self._unread = JOINTS[zeros[0]]
            return
        age_ns = self._node.age_ns(message.header.stamp) if self._node is not None else 0
        t_ns = now_ns - min(max(age_ns, 0), LATE_NS)
        if t_ns <= int(self._state["t_ns"]):
            return
        self._heard_ns, self._unread = now_ns, ""
        state, angle = self._state, float(position[ARM_GRIPPER])
        state["seq"] += 1
        state["t_ns"] = t_ns
        state["position"] = position
        state["velocity"] = [message.velocity[i] for i in self._index]
        state["effort"] = _NM_PER_MA * [message.effort[i] for i in self._index]
        # The gripper's joint becomes its opening, and its torque the force of each of two fingers.
        lever_m = finger_m_per_rad(angle)
        state["position"][ARM_GRIPPER] = gripper_fraction(angle)
        state["velocity"][ARM_GRIPPER] *= lever_m / SPAN_M
        state["effort"][ARM_GRIPPER] *= 0.5 / lever_m if lever_m > 1e-3 else 0.0
        if self._due:
            # The last target of all came between two states: nothing follows it.
            self._send()
        self._due = True

    def _send(self) -> None:
        if self._target is None or self._node is None:
            return
        joints: list[float] = self._target.tolist()
        for joint in self._health.loose:
            # Whoever switches its torque on again would send it to where it was held before; the others brake.
            joints[joint] = float(self._state["position"][joint])
        self._target, self._due = None, False
        self._node.core.robot_write_commands(ARM, joints[:ARM_JOINTS])
        goal = gripper_rad(joints[ARM_GRIPPER])
        # The node waits for a single servo's answer, not for those of a group.
        if abs(goal - self._gripper_goal) >= RAD_PER_TICK / 2:
            self._gripper_goal = goal
            self._node.core.robot_write_joint_command(GRIPPER, goal)

    def _cannot_be_there(self, joint: int) -> bool:
        return joint == ARM_GRIPPER or self._model.position_min[joint] - OUTSIDE_RAD > -pi

    def _differences(self, core: Any) -> Iterator[str]:
        """Compare, and make right what may be made right without moving the arm; yields what may not."""
        arm = core.robot_get_robot_info("group", ARM)
        if tuple(arm.joint_names) != JOINTS[:ARM_JOINTS]:
            yield f"group {ARM} has {', '.join(arm.joint_names) or 'no joints'}, not {', '.join(JOINTS[:ARM_JOINTS])}"
        modes = {ARM: arm.mode, GRIPPER: core.robot_get_robot_info("single", GRIPPER).mode}
        for name, mode in MODES.items():
            if modes[name] != mode:
                yield (
                    f"{name} is in mode {modes[name]}, not {mode}: set operating_mode in the node's mode_configs"
                    " (changed while it runs, it would take the torque off)"
                )
        low, high = np.array(arm.joint_lower_limits), np.array(arm.joint_upper_limits)
        ours = np.array(self._model.position_min[:ARM_JOINTS]), np.array(self._model.position_max[:ARM_JOINTS])
        if (low > ours[0] + LIMITS_RAD).any() or (high < ours[1] - LIMITS_RAD).any():
            yield f"its limits {low.round(3).tolist()}, {high.round(3).tolist()} are narrower than runtime/arms.py's"
        here = np.array([core.joint_states.position[core.js_index_map[joint]] for joint in JOINTS[:ARM_JOINTS]])
        outside = np.flatnonzero((here < ours[0] - OUTSIDE_RAD) | (here > ours[1] + OUTSIDE_RAD)).tolist()
        if outside:
            yield f"{JOINTS[outside[0]]} is at {here[outside[0]]:.3f} rad, outside its range: silent, or a wrong offset"
        current = core.robot_get_motor_registers("single", GRIPPER, "Current_Limit")[0]
        if current > GRIPPER_CURRENT_MAX:
            yield f"the gripper's Current_Limit is {current}; above {GRIPPER_CURRENT_MAX} it burns out on what it holds"
        for joint in JOINTS:
            if error := core.robot_get_motor_registers("single", joint, "Hardware_Error_Status")[0]:
                yield f"{joint} reports hardware error {error:#04x}: relieve it, let it cool, switch the arm off and on"
            if not core.robot_get_motor_registers("single", joint, "Torque_Enable")[0]:
                yield f"{joint} has no torque: support the arm and switch it on (service torque_enable)"
        for kind, name in (("group", ARM), ("single", GRIPPER)):
            for register in ("Profile_Velocity", "Profile_Acceleration"):
                core.robot_set_motor_registers(kind, name, register, 0)
                if any(core.robot_get_motor_registers(kind, name, register)):
                    yield f"{name} does not take {register} 0"


class _Health:
    """Asks one joint after the other for its hardware error and its torque, and keeps what each said. Never waits."""

    def __init__(self) -> None:
        self._questions = cycle(
            (joint, register) for joint in JOINTS for register in ("Hardware_Error_Status", "Torque_Enable")
        )
        self._asked: tuple[str, str] | None = None
        self._future: Any = None
        self._asked_ns = 0
        self._known: dict[tuple[str, str], int] = {}

    @property
    def loose(self) -> list[int]:
        """Which joints were found without torque."""
        return [i for i, joint in enumerate(JOINTS) if self._known.get((joint, "Torque_Enable")) == 0]

    def step(self, core: Any, now_ns: int) -> Fault:
        """Take an answer that has come, ask what is due, and return what stands."""
        if self._future is not None and self._future.done():
            answer = self._future.result()
            if self._asked is not None and answer is not None and len(answer.values):
                self._known[self._asked] = int(answer.values[0])
            self._future = None
        patient = self._future is not None and now_ns - self._asked_ns < ANSWER_NS
        if not patient and now_ns - self._asked_ns >= ASK_NS:
            self._asked, self._asked_ns = next(self._questions), now_ns
            joint, register = self._asked
            request = core.srv_get_reg.srv_type.Request(cmd_type="single", name=joint, reg=register)
            self._future = core.srv_get_reg.call_async(request)
        fault = Fault(0)
        for (_, register), value in self._known.items():
            if register == "Torque_Enable":
                fault |= Fault(0) if value else Fault.TORQUE_LOST
            else:
                fault |= hardware_faults(value)
        return fault
