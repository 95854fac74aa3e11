"""What a Piper says of itself, put together from its frames: whole cycles only, every fault a named bit. Pure."""

from __future__ import annotations

from enum import IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS
from runtime.drivers.piper.bus import Frame
from runtime.drivers.piper.codec import (
    TORQUE_NM_PER_A,
    Acceleration,
    ArmStatus,
    CanId,
    Control,
    Fast,
    Firmware,
    Gripper,
    JointPair,
    Limit,
    Motor,
    Move,
    Slow,
    Status,
    decode,
)
from runtime.drivers.piper.cycle import Cycle
from runtime.layout import ARM_GRIPPER, ARM_JOINTS
from runtime.shm import blank

GRIPPER_STALE_NS: Final = 50 * NS_PER_MS
FIRMWARE_BYTES_MAX: Final = 256


class Fault(IntFlag):
    """The bits of ARM_STATE.fault of a Piper."""

    EMERGENCY_STOP = 1 << 0
    LIMIT_REACHED = 1 << 1
    JOINT_SILENT = 1 << 2
    COLLISION = 1 << 3
    JOINT_ERROR = 1 << 4
    TOO_HOT = 1 << 5
    OVER_CURRENT = 1 << 6
    VOLTAGE_LOW = 1 << 7
    DRIVER_ERROR = 1 << 8
    STALLED = 1 << 9
    TORQUE_LOST = 1 << 10
    CONTROL_LOST = 1 << 11


_OF_ARM: Final = {
    ArmStatus.EMERGENCY_STOP: Fault.EMERGENCY_STOP,
    ArmStatus.OUT_OF_LIMITS: Fault.LIMIT_REACHED,
    ArmStatus.JOINT_SILENT: Fault.JOINT_SILENT,
    ArmStatus.COLLISION: Fault.COLLISION,
    ArmStatus.JOINT_ERROR: Fault.JOINT_ERROR,
    ArmStatus.CONTROLLER_HOT: Fault.TOO_HOT,
    ArmStatus.RESISTOR_HOT: Fault.TOO_HOT,
}
_OF_MOTOR: Final = {
    Motor.VOLTAGE_LOW: Fault.VOLTAGE_LOW,
    Motor.MOTOR_HOT: Fault.TOO_HOT,
    Motor.DRIVER_HOT: Fault.TOO_HOT,
    Motor.OVER_CURRENT: Fault.OVER_CURRENT,
    Motor.COLLISION: Fault.COLLISION,
    Motor.DRIVER_ERROR: Fault.DRIVER_ERROR,
    Motor.STALLED: Fault.STALLED,
}
_MOTOR_BITS: Final = sum(int(bit) for bit in _OF_MOTOR)
_GRIPPER_BITS: Final = _MOTOR_BITS & ~int(Motor.COLLISION | Motor.STALLED)
_ENABLED: Final = int(Motor.ENABLED)
"""Plain numbers: with a flag's own arithmetic a driver's turn took 404 us in place of 153, at every servo tick."""
_LIMIT_BITS: Final = 0x3F00
_SILENT_BITS: Final = 0x003F


class Feedback:
    """The newest of everything that an arm has said. `commanded`: torque and control are expected to be there."""

    def __init__(self, model: ArmModel) -> None:
        self._stroke_m = model.gripper_stroke_m
        self._cycle = Cycle()
        self._gripper: Gripper | None = None
        self._gripper_ns = 0
        self._fast: dict[int, Fast] = {}
        self._slow: dict[int, Slow] = {}
        self._seq = 0
        self.commanded = False
        self.state: NDArray[Any] | None = None
        self.status: Status | None = None
        self.limits: dict[int, Limit] = {}
        self.accelerations: dict[int, Acceleration] = {}
        self.firmware = b""
        self.foreign = 0

    @property
    def torn(self) -> int:
        """How many cycles were torn."""
        return self._cycle.torn

    @property
    def whole(self) -> bool:
        """Whether every message that a healthy arm sends by itself has been there."""
        alive = self.status is not None and len(self._slow) == len(self._fast) == ARM_JOINTS
        return alive and self.state is not None

    @property
    def enabled(self) -> bool:
        """Whether every motor says that its torque is on."""
        return len(self._slow) == ARM_JOINTS and all(slow.status & _ENABLED for slow in self._slow.values())

    @property
    def loose(self) -> list[int]:
        """Which joints' motors say that they have no torque."""
        return [joint for joint, slow in self._slow.items() if not slow.status & _ENABLED]

    @property
    def controlled(self) -> bool:
        """Whether the arm follows joint targets from the bus."""
        status = self.status
        return status is not None and status.control == Control.CAN and status.move == Move.JOINTS

    @property
    def fault(self) -> Fault:
        """What is wrong with the arm."""
        fault = Fault(0)
        if self.status is not None:
            fault |= (
                _OF_ARM.get(ArmStatus(self.status.arm), Fault(0)) if self.status.arm in _KNOWN else Fault.JOINT_ERROR
            )
            fault |= Fault.LIMIT_REACHED if self.status.errors & _LIMIT_BITS else Fault(0)
            fault |= Fault.JOINT_SILENT if self.status.errors & _SILENT_BITS else Fault(0)
        union = 0 if self._gripper is None else self._gripper.status & _GRIPPER_BITS
        for slow in self._slow.values():
            union |= slow.status
        if union & _MOTOR_BITS:
            for bit, meaning in _OF_MOTOR.items():
                fault |= meaning if union & bit else Fault(0)
        if self.commanded:
            fault |= Fault(0) if self.enabled else Fault.TORQUE_LOST
            fault |= Fault(0) if self.controlled else Fault.CONTROL_LOST
        return fault

    def take(self, frame: Frame, now_ns: int) -> None:
        """Take a frame in; one that is not whole or not known changes nothing."""
        message = decode(frame.can_id, frame.data)
        if isinstance(message, JointPair):
            if frame.can_id < CanId.FAST:
                self.foreign += 1
            else:
                joints = self._cycle.take(frame.can_id - CanId.JOINTS, message, now_ns)
                if joints is not None:
                    self._publish(joints, self._cycle.began_ns)
        elif isinstance(message, Gripper):
            self._gripper, self._gripper_ns = message, now_ns
        elif isinstance(message, Fast):
            self._fast[frame.can_id - CanId.FAST] = message
        elif isinstance(message, Slow):
            self._slow[frame.can_id - CanId.SLOW] = message
        elif isinstance(message, Status):
            self.status = message
        elif isinstance(message, Limit):
            self.limits[message.motor] = message
        elif isinstance(message, Acceleration):
            self.accelerations[message.motor] = message
        elif isinstance(message, Firmware) and not message.asks:
            self.firmware = (self.firmware + message.text)[-FIRMWARE_BYTES_MAX:]

    def _publish(self, joints: list[float], t_ns: int) -> None:
        if self._gripper is None or t_ns - self._gripper_ns > GRIPPER_STALE_NS:
            return
        state: Any = blank(records.ARM_STATE)
        self._seq += 1
        state["seq"], state["t_ns"] = self._seq, t_ns
        state["position"][:ARM_JOINTS] = joints
        state["position"][ARM_GRIPPER] = self._gripper.opening_m / self._stroke_m
        for i, fast in self._fast.items():
            state["velocity"][i] = fast.velocity_rad_s
            state["effort"][i] = fast.current_a * TORQUE_NM_PER_A[i]
        state["effort"][ARM_GRIPPER] = self._gripper.torque_nm
        if self.state is not None:
            span_s = (t_ns - int(self.state["t_ns"])) * 1e-9
            moved = state["position"][ARM_GRIPPER] - self.state["position"][ARM_GRIPPER]
            state["velocity"][ARM_GRIPPER] = moved / span_s if span_s > 0 else 0.0
        state["fault"] = self.fault
        self.state = np.array(state)


_KNOWN: Final = frozenset(int(status) for status in ArmStatus) | {2, 3, 6, 8, 11, 12, 13}
"""Statuses that the protocol has; of those that are not in `ArmStatus` none stops an arm that is moved by joints."""
