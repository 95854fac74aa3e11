"""A Piper down to its CAN frames: the device's rules, the bus it is on, and the faults that it can have."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import numpy as np

from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS
from runtime.drivers.base import DriverError
from runtime.drivers.emulators.base import Behind
from runtime.drivers.emulators.can_hub import CanHub
from runtime.drivers.emulators.inject import Injections
from runtime.drivers.piper.bus import Frame
from runtime.drivers.piper.codec import (
    MILLIDEGREE,
    TORQUE_NM_PER_A,
    Acceleration,
    ArmStatus,
    CanId,
    Control,
    Enable,
    Fast,
    Firmware,
    Gripper,
    GripperTarget,
    JointPair,
    Limit,
    Linkage,
    Mode,
    Motor,
    Move,
    Query,
    Slow,
    Status,
    Stop,
    StopCommand,
    decode,
)
from runtime.drivers.piper.cycle import Cycle, split
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_JOINTS

CYCLE_NS: Final = 5 * NS_PER_MS
SLOW_EVERY: Final = 5
"""Cycles between two reports of the motor drivers: 40 Hz."""
LATENCY_NS: Final = NS_PER_MS
"""From the joints' measurement to their frames on the bus."""
NOISE_RAD: Final = 2e-5
"""A little more than the 0.001 degrees of a frame."""
FIRMWARE: Final = b"S-V1.8-2"
OLD_FIRMWARE: Final = b"S-V1.5-2"
ENABLES_AFTER_STOP: Final = 2
LEADER: Final = 0xFA

_ARM_FAULTS: Final = {
    "emergency-stop": ArmStatus.EMERGENCY_STOP,
    "collision": ArmStatus.COLLISION,
    "joint-silent": ArmStatus.JOINT_SILENT,
    "joint-error": ArmStatus.JOINT_ERROR,
}
_MOTOR_FAULTS: Final = {
    "over-temperature": Motor.MOTOR_HOT,
    "over-current": Motor.OVER_CURRENT,
    "voltage-low": Motor.VOLTAGE_LOW,
    "stalled": Motor.STALLED,
    "driver-error": Motor.DRIVER_ERROR,
}
_GRIPPER_FAULTS: Final = {"gripper-over-temperature": Motor.MOTOR_HOT, "gripper-driver-error": Motor.DRIVER_ERROR}
FAULTS: Final = (
    *_ARM_FAULTS,
    *_MOTOR_FAULTS,
    *_GRIPPER_FAULTS,
    "silent",
    "bus-off",
    "all-zero",
    "frozen",
    "torn",
    "short-frames",
    "wrong-limits",
    "wrong-acceleration",
    "old-firmware",
    "torque-lost",
    "control-lost",
    "leader",
)
"""Names that `inject` takes. `bus-off` and `silent` are the bus's, the others the arm's."""


class PiperDevice:
    """The arm's controller: what it does with a frame, and what it says by itself.

    Without torque the arm stays where it is: its fall is not simulated.
    """

    def __init__(self, model: ArmModel, behind: Behind, seed: int = 0) -> None:
        self._model, self._behind = model, behind
        self._rng = np.random.default_rng(seed)
        self._enabled = [False] * ARM_JOINTS
        self._enables_due = 1
        self._control: int = Control.STANDBY
        self._move: int = Move.POSE
        self._arm: int = ArmStatus.NORMAL
        self._target: list[float] | None = None
        self._aimed = Cycle(within_ns=0)
        self._gripper: float | None = None
        self._replies: list[Frame] = []
        self._due_ns = 0
        self._cycles = 0
        self._late: deque[tuple[int, list[Frame]]] = deque()
        self._frozen: list[Frame] = []
        self.faults: set[str] = set()
        self.drops = 0
        """How often torque was taken off the arm."""

    def receive(self, frame: Frame, now_ns: int) -> None:
        """Take a frame as the arm does; what it does not know it ignores."""
        message = decode(frame.can_id, frame.data)
        if isinstance(message, JointPair) and frame.can_id < CanId.FAST:
            self._aim(frame.can_id - CanId.TARGET, message, now_ns)
        elif isinstance(message, GripperTarget):
            self._gripper = message.opening_m / self._model.gripper_stroke_m
        elif isinstance(message, Mode):
            self._control, self._move = message.control, message.move
        elif isinstance(message, Enable):
            self._enable(message)
        elif isinstance(message, StopCommand):
            self._stop(message.stop)
        elif isinstance(message, Query):
            self._answer(message)
        elif isinstance(message, Linkage):
            self._control = Control.LINKAGE if message.role == LEADER else Control.STANDBY
        elif isinstance(message, Firmware) and message.asks:
            self._replies.append(Frame(CanId.FIRMWARE, Firmware(self._firmware()).pack()))

    def step(self, now_ns: int) -> list[Frame]:
        """Return what the arm sends by now: answers at once, feedback once a cycle."""
        if "torque-lost" in self.faults:
            self._disable()
        if "control-lost" in self.faults:
            self._control = Control.LINKAGE
        if now_ns >= self._due_ns:
            self._due_ns = max(self._due_ns + CYCLE_NS, now_ns - CYCLE_NS)
            cycle = self._cycle()
            if cycle:
                self._late.append((now_ns + LATENCY_NS, cycle))
        frames, self._replies = self._replies, []
        while self._late and self._late[0][0] <= now_ns:
            frames += self._late.popleft()[1]
        return frames

    def _aim(self, index: int, pair: JointPair, now_ns: int) -> None:
        """Gather the three pairs of a target; a whole one inside the limits that it keeps moves the arm."""
        joints = self._aimed.take(index, pair, now_ns)
        if joints is None:
            return
        limits = zip(joints, self._model.position_min, self._model.position_max, strict=False)
        beyond = not all(low - MILLIDEGREE < rad < high + MILLIDEGREE for rad, low, high in limits)
        if self._arm in {ArmStatus.NORMAL, ArmStatus.OUT_OF_LIMITS}:
            self._arm = ArmStatus.OUT_OF_LIMITS if beyond else ArmStatus.NORMAL
        if beyond:
            return
        gripper = self._gripper if self._gripper is not None else self._measured()[ARM_GRIPPER]
        self._target = [*joints, gripper]
        heeded = self._control == Control.CAN and self._move == Move.JOINTS
        if all(self._enabled) and heeded and self._arm != ArmStatus.EMERGENCY_STOP:
            self._behind.command(np.array(self._target), now_ns)

    def _enable(self, message: Enable) -> None:
        motors = range(ARM_JOINTS) if message.motor in (7, 255) else [message.motor - 1]
        if not message.on:
            self._disable(list(motors))
            return
        # After a stop the first request is not enough.
        self._enables_due -= 1
        if self._enables_due <= 0:
            for motor in motors:
                if 0 <= motor < ARM_JOINTS:
                    self._enabled[motor] = True

    def _disable(self, motors: list[int] | None = None) -> None:
        self.drops += any(self._enabled)
        for motor in range(ARM_JOINTS) if motors is None else motors:
            if 0 <= motor < ARM_JOINTS:
                self._enabled[motor] = False

    def _stop(self, stop: int) -> None:
        if stop == Stop.EMERGENCY:
            self._arm = ArmStatus.EMERGENCY_STOP
        elif stop == Stop.RESET:
            self._arm, self._control = ArmStatus.NORMAL, Control.STANDBY
            self._enables_due = ENABLES_AFTER_STOP
            self._disable()

    def _answer(self, query: Query) -> None:
        joint = query.motor - 1
        if not 0 <= joint < ARM_JOINTS:
            return
        model = self._model
        if query.what == 1:
            high = model.position_max[joint] - (0.3 if "wrong-limits" in self.faults and joint == 2 else 0.0)
            limit = Limit(query.motor, high, model.position_min[joint], model.velocity_max[joint])
            self._replies.append(Frame(CanId.LIMIT, limit.pack()))
        elif query.what == 2:
            most = model.acceleration_max[joint] * (2.0 if "wrong-acceleration" in self.faults else 1.0)
            self._replies.append(Frame(CanId.ACCELERATION, Acceleration(query.motor, most).pack()))

    def _firmware(self) -> bytes:
        return OLD_FIRMWARE if "old-firmware" in self.faults else FIRMWARE

    def _measured(self) -> list[float]:
        state = self._behind.state()
        return [0.0] * ARM_DOF if state is None else state["position"].tolist()

    def _cycle(self) -> list[Frame]:
        """Return one cycle's frames as of the arm's present state; none before the arm has one."""
        state = self._behind.state()
        self._cycles += 1
        if state is None or "silent" in self.faults:
            return []
        if "frozen" in self.faults and self._frozen:
            return self._frozen
        frames = [Frame(CanId.STATUS, self._status().pack()), *self._joints(state)]
        frames += self._motors(state)
        if self._cycles % SLOW_EVERY == 0:
            frames += [Frame(CanId.SLOW + i, self._slow(i).pack()) for i in range(ARM_JOINTS)]
        if "short-frames" in self.faults:
            frames = [Frame(frame.can_id, frame.data[:5]) for frame in frames]
        if "leader" in self.faults:
            frames += [Frame(CanId.TARGET + i, pair.pack()) for i, pair in enumerate(split([0.0] * ARM_JOINTS))]
        self._frozen = frames
        return frames

    def _status(self) -> Status:
        arm = next((status for name, status in _ARM_FAULTS.items() if name in self.faults), self._arm)
        return Status(int(self._control), int(arm), int(self._move))

    def _joints(self, state: Any) -> list[Frame]:
        position = np.array(state["position"])
        position[:ARM_JOINTS] += self._rng.normal(0.0, NOISE_RAD, ARM_JOINTS)
        if "all-zero" in self.faults:
            position[:] = 0.0
        frames = [Frame(CanId.JOINTS + i, pair.pack()) for i, pair in enumerate(split(position.tolist()))]
        if "torn" in self.faults:
            frames.pop(self._cycles % 3)
        # A gripper whose zero has been found sets the bit that is a motor's for having stalled.
        status = Motor.ENABLED | Motor.STALLED
        for name, bit in _GRIPPER_FAULTS.items():
            status |= bit if name in self.faults else Motor(0)
        gripper = Gripper(position[ARM_GRIPPER] * self._model.gripper_stroke_m, 0.0, int(status))
        return [*frames, Frame(CanId.GRIPPER, gripper.pack())]

    def _motors(self, state: Any) -> list[Frame]:
        still = 0.0 if "all-zero" in self.faults else 1.0
        velocity, effort = np.array(state["velocity"]) * still, np.array(state["effort"]) * still
        current = np.clip(effort[:ARM_JOINTS] / TORQUE_NM_PER_A, -32.0, 32.0)
        velocity = np.clip(velocity, -32.0, 32.0)
        return [Frame(CanId.FAST + i, Fast(velocity[i], current[i]).pack()) for i in range(ARM_JOINTS)]

    def _slow(self, joint: int) -> Slow:
        status = Motor.ENABLED if self._enabled[joint] else Motor(0)
        hot = "over-temperature" in self.faults
        for name, bit in _MOTOR_FAULTS.items():
            status |= bit if name in self.faults and joint == 1 else Motor(0)
        return Slow(24.0, 45, 90 if hot and joint == 1 else 40, int(status), 0.3)


class PiperEmulator:
    """A device on its bus, with faults from outside; implements `ArmEmulator`."""

    def __init__(self, model: ArmModel, behind: Behind, bus: str, seed: int = 0) -> None:
        self.device = PiperDevice(model, behind, seed)
        self._bus = bus
        self._hub: CanHub | None = None
        self._injections: Injections | None = None

    def open(self) -> None:
        """Bring the bus up."""
        self._hub = CanHub(self._bus)
        self._injections = Injections(self._bus)

    def step(self, now_ns: int) -> None:
        """Take what was sent and send what the arm says."""
        if self._hub is None or self._injections is None:
            raise DriverError(f"emulated CAN bus {self._bus} is not open")
        self._injections.poll()
        self.device.faults = self._injections.faults
        for frame in self._hub.receive():
            self.device.receive(frame, now_ns)
        frames = self.device.step(now_ns)
        if "bus-off" in self.device.faults:
            self._hub.cut()
        else:
            self._hub.send(frames)

    def close(self) -> None:
        """Take the bus down."""
        if self._hub is not None and self._injections is not None:
            self._hub.close()
            self._injections.close()
