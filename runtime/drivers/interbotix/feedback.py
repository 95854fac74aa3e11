"""What an Interbotix arm says of itself, put together from its servos' answers, every fault a named bit. Pure."""

from __future__ import annotations

import struct
from enum import IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.conversions import (
    A_PER_UNIT,
    RAD_S_PER_UNIT,
    SPAN_M,
    V_PER_UNIT,
    finger_m_per_rad,
    gripper_fraction,
    ticks_to_rad,
)
from runtime.drivers.interbotix.servos import Reading
from runtime.drivers.interbotix.table import NO_SHADOW, TORQUE_NM_PER_A, ServoSpec, joint_servos
from runtime.layout import ARM_GRIPPER
from runtime.shm import blank

MOTION: Final = struct.Struct("<hii")
"""Present current, velocity, position."""
HOT_DEGC: Final = 70
"""Ten degrees below the limit at which the servos of these arms let go."""
VOLTAGE_MIN_V: Final = 10.0
SHADOW_APART_RAD: Final = 0.1


class Fault(IntFlag):
    """The bits of ARM_STATE.fault of an Interbotix arm."""

    VOLTAGE = 1 << 0
    """A servo found its supply out of range, or it is below 10 V."""
    TOO_HOT = 1 << 1
    """A servo let go of its torque because of its temperature, or is near it."""
    ENCODER = 1 << 2
    """A servo's encoder fails."""
    ELECTRICAL = 1 << 3
    """A servo had an electrical shock, or too little power to move."""
    OVERLOAD = 1 << 4
    """A servo was loaded beyond its strength for too long and let go."""
    SHADOW_APART = 1 << 5
    """Two servos of one joint read different angles: they work against each other."""
    TORQUE_LOST = 1 << 6
    """A servo is without torque."""
    WATCHDOG = 1 << 7
    """The servos stopped by themselves, because the host was silent."""


_OF_ERROR: Final = {
    1 << 0: Fault.VOLTAGE,
    1 << 2: Fault.TOO_HOT,
    1 << 3: Fault.ENCODER,
    1 << 4: Fault.ELECTRICAL,
    1 << 5: Fault.OVERLOAD,
}


def hardware_faults(error: int) -> Fault:
    """Return the faults of a servo's hardware error status."""
    fault = Fault(0)
    for bit, meaning in _OF_ERROR.items():
        fault |= meaning if error & bit else Fault(0)
    return fault


class Feedback:
    """Takes readings, gives ARM_STATE."""

    def __init__(self, servos: tuple[ServoSpec, ...]) -> None:
        self._joints = joint_servos(servos)
        self._shadows = tuple(servo for servo in servos if servo.shadows != NO_SHADOW)
        self._seq = 0
        self._lasting = dict.fromkeys(
            (table.TORQUE.address, table.VOLTAGE.address, table.BUS_WATCHDOG.address), Fault(0)
        )
        self.state: NDArray[Any] | None = None
        self.ticks: dict[int, int] = {}
        """Present position of every servo."""
        self.loose: tuple[int, ...] = tuple(servo.servo_id for servo in servos)
        """Servos without torque."""
        self.errors: dict[int, int] = {}
        """Hardware error status of the servos that have one."""
        self.by_time: frozenset[int] = frozenset()
        """Servos whose profiles are by time: Interbotix' own driver leaves them so."""
        self.tripped = False
        """The bus watchdog has stopped a servo."""

    @property
    def fault(self) -> Fault:
        """What stands now."""
        fault = Fault(0)
        for lasting in self._lasting.values():
            fault |= lasting
        for servo in self._shadows:
            apart = abs(self.ticks.get(servo.servo_id, 0) - self.ticks.get(servo.shadows, 0))
            if ticks_to_rad(apart) - ticks_to_rad(0) > SHADOW_APART_RAD:
                fault |= Fault.SHADOW_APART
        return fault

    def take(self, reading: Reading, *, holding: bool) -> None:
        """Take a reading; `holding` says whether the arm should be under torque."""
        if reading.address == table.CURRENT.address:
            self._publish(reading)
        elif reading.address == table.TORQUE.address:
            self._take_torque(reading, holding)
        elif reading.address == table.VOLTAGE.address:
            self._take_health(reading)
        elif reading.address == table.MODEL_NUMBER.address:
            modes = {i: table.DRIVE_MODE.unpack(data, reading.address) for i, data in reading.data.items()}
            self.by_time = frozenset(i for i, mode in modes.items() if mode & table.BY_TIME)
        elif reading.address in {table.BUS_WATCHDOG.address, table.GAIN_D.address}:
            base = reading.address
            self.tripped = any(table.BUS_WATCHDOG.unpack(data, base) < 0 for data in reading.data.values())
            # Before the arm is held it is no fault: holding it is what clears the watchdog.
            self._lasting[table.BUS_WATCHDOG.address] = Fault.WATCHDOG if self.tripped and holding else Fault(0)

    def _take_torque(self, reading: Reading, holding: bool) -> None:
        base = reading.address
        self.loose = tuple(i for i, data in reading.data.items() if not table.TORQUE.unpack(data, base))
        errors = {i: table.HARDWARE_ERROR.unpack(data, base) for i, data in reading.data.items()}
        self.errors = {i: error for i, error in errors.items() if error}
        fault = Fault.TORQUE_LOST if holding and self.loose else Fault(0)
        for error in self.errors.values():
            fault |= hardware_faults(error)
        self._lasting[base] = fault

    def _take_health(self, reading: Reading) -> None:
        base, fault = reading.address, Fault(0)
        for data in reading.data.values():
            if table.TEMPERATURE.unpack(data, base) >= HOT_DEGC:
                fault |= Fault.TOO_HOT
            if table.VOLTAGE.unpack(data, base) * V_PER_UNIT < VOLTAGE_MIN_V:
                fault |= Fault.VOLTAGE
        self._lasting[base] = fault

    def _publish(self, reading: Reading) -> None:
        motion = {i: MOTION.unpack(data) for i, data in reading.data.items()}
        self.ticks = {i: position for i, (_, _, position) in motion.items()}
        state: Any = blank(records.ARM_STATE)
        self._seq += 1
        state["seq"], state["t_ns"] = self._seq, reading.t_ns
        for joint, servo in enumerate(self._joints):
            current, velocity, position = motion[servo.servo_id]
            torque_nm = current * A_PER_UNIT * TORQUE_NM_PER_A[servo.model]
            state["position"][joint] = ticks_to_rad(position)
            state["velocity"][joint] = velocity * RAD_S_PER_UNIT
            state["effort"][joint] = torque_nm
        for servo in self._shadows:
            joint = [joint.servo_id for joint in self._joints].index(servo.shadows)
            state["effort"][joint] += motion[servo.servo_id][0] * A_PER_UNIT * TORQUE_NM_PER_A[servo.model]
        # The gripper's joint becomes its opening, and its torque the force of each of two fingers.
        angle = float(state["position"][ARM_GRIPPER])
        lever_m = finger_m_per_rad(angle)
        state["position"][ARM_GRIPPER] = gripper_fraction(angle)
        state["velocity"][ARM_GRIPPER] *= lever_m / SPAN_M
        state["effort"][ARM_GRIPPER] *= 0.5 / lever_m if lever_m > 1e-3 else 0.0
        state["fault"] = self.fault
        self.state = np.array(state)
