"""A Dynamixel X servo: its control table with the rules for reading and writing it, and where it goes."""

from __future__ import annotations

from typing import Final

from runtime.clock import NS_PER_MS
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.conversions import (
    A_PER_UNIT,
    RAD_PER_TICK,
    RAD_S_PER_UNIT,
    ZERO_TICKS,
)
from runtime.drivers.interbotix.protocol import Refusal
from runtime.drivers.interbotix.table import NO_SHADOW, TABLE, TABLE_BYTES, Entry, Operating, ServoSpec

WATCHDOG_UNIT_NS: Final = 20 * NS_PER_MS
FIRMWARE: Final = 48
GRIPPER_CURRENT: Final = 200
_GOALS: Final = range(100, 120)
"""Entries that a servo takes nothing for after its watchdog has stopped it; profiles are among the addresses, free."""
_PROFILES: Final = range(table.PROFILE_ACCELERATION.address, table.GOAL_POSITION.address)
_FIXED: Final = frozenset(
    address for entry in TABLE if not entry.writable for address in range(entry.address, entry.address + entry.size)
)
_KEPT_BELOW: Final = table.TORQUE.address


class Servo:
    """One servo; angles in rad as an unreversed build would read them."""

    def __init__(self, spec: ServoSpec) -> None:
        self.spec = spec
        self.table = bytearray(TABLE_BYTES)
        self.registered: tuple[int, bytes] | None = None
        self.goal_rad = 0.0
        self.heard_ns = 0
        """When an instruction was last on the bus."""
        for entry, value in (
            (table.MODEL_NUMBER, spec.model),
            (table.FIRMWARE, FIRMWARE),
            (table.SERVO_ID, spec.servo_id),
            (table.BAUD, 3),
            (table.RETURN_DELAY, 0),
            (table.DRIVE_MODE, int(spec.reversed)),
            (table.OPERATING_MODE, spec.mode),
            (table.SHADOW_ID, spec.shadows),
            (table.TEMPERATURE_LIMIT, 80),
            (table.CURRENT_LIMIT, GRIPPER_CURRENT if spec.mode is Operating.CURRENT_POSITION else 2047),
            (table.VELOCITY_LIMIT, 131),
            (table.POSITION_MAX, spec.position_max),
            (table.POSITION_MIN, spec.position_min),
            (table.SHUTDOWN, 0x34),
        ):
            self.set(entry, value)
        self._reset_memory()

    def get(self, entry: Entry) -> int:
        """Return an entry's value."""
        return entry.unpack(bytes(self.table[entry.address : entry.address + entry.size]))

    def set(self, entry: Entry, value: int) -> None:
        """Set an entry from inside, without the rules."""
        self.table[entry.address : entry.address + entry.size] = entry.pack(value)

    @property
    def torque(self) -> bool:
        """Whether the motor holds."""
        return bool(self.get(table.TORQUE))

    @property
    def shadow_of(self) -> int | None:
        """The id whose writes it takes too."""
        shadow = self.get(table.SHADOW_ID)
        return None if shadow >= NO_SHADOW - 2 else shadow

    def read(self, address: int, size: int) -> tuple[Refusal, bytes]:
        """Return bytes of the table, zeros where it has none; refuse beyond its end."""
        if address + size > TABLE_BYTES or not size:
            return Refusal.ACCESS, b""
        return Refusal.NONE, bytes(self.table[address : address + size])

    def write(self, address: int, data: bytes) -> Refusal:
        """Write bytes by the servo's rules; a refused write changes nothing."""
        refusal = self._refusal(address, data)
        if refusal is Refusal.NONE:
            held = self.torque
            self.table[address : address + len(data)] = data
            if self.torque and not held:
                self.goal_rad = self.angle_rad(self.get(table.GOAL_POSITION))
        return refusal

    def _refusal(self, address: int, data: bytes) -> Refusal:
        end = address + len(data)
        if not data or end > TABLE_BYTES or not _FIXED.isdisjoint(range(address, end)):
            return Refusal.ACCESS
        if self.torque and address < _KEPT_BELOW:
            return Refusal.ACCESS
        tripped = self.get(table.BUS_WATCHDOG) < 0
        if tripped and any(byte in _GOALS and byte not in _PROFILES for byte in range(address, end)):
            return Refusal.RANGE
        for entry in TABLE:
            if address <= entry.address and entry.address + entry.size <= end:
                value = entry.unpack(data, address)
                if not entry.least <= value <= entry.most:
                    return Refusal.RANGE
                if entry is table.TORQUE and value and self.get(table.HARDWARE_ERROR) & self.get(table.SHUTDOWN):
                    return Refusal.RESULT
                if entry is table.GOAL_POSITION and not self._reaches(value):
                    return Refusal.LIMIT
        return Refusal.NONE

    def _reaches(self, ticks: int) -> bool:
        if self.get(table.OPERATING_MODE) != Operating.POSITION:
            return True
        return self.get(table.POSITION_MIN) <= ticks <= self.get(table.POSITION_MAX)

    def angle_rad(self, ticks: int) -> float:
        """Return the angle that a position of this servo is, by the direction that its drive mode has."""
        return self._sign * (ticks - ZERO_TICKS) * RAD_PER_TICK

    @property
    def _sign(self) -> int:
        turned = bool(self.get(table.DRIVE_MODE) & table.REVERSED) != self.spec.reversed
        return -1 if turned else 1

    def be_at(self, angle_rad: float, velocity_rad_s: float, current_a: float) -> None:
        """Take the measured motion into the table."""
        sign = self._sign
        self.set(table.POSITION, round(sign * angle_rad / RAD_PER_TICK) + ZERO_TICKS)
        self.set(table.VELOCITY, round(sign * velocity_rad_s / RAD_S_PER_UNIT))
        self.set(table.CURRENT, max(min(round(sign * current_a / A_PER_UNIT), 2047), -2047))

    def advance(self, span_s: float, angle_rad: float) -> bool:
        """Move towards the goal by the profile; return whether it is still under way."""
        if not self.torque:
            self.goal_rad = angle_rad
            return False
        if self.get(table.BUS_WATCHDOG) < 0:
            return False
        goal_rad, most = self.angle_rad(self.get(table.GOAL_POSITION)), self.get(table.PROFILE_VELOCITY)
        step_rad = goal_rad - self.goal_rad
        if most:
            by_time = self.get(table.DRIVE_MODE) & table.BY_TIME
            bound = (abs(step_rad) * 1e3 / most if by_time else most * RAD_S_PER_UNIT) * span_s
            step_rad = min(max(step_rad, -bound), bound)
        self.goal_rad += step_rad
        return bool(most) and self.goal_rad != goal_rad

    def overdue(self, now_ns: int) -> bool:
        """Whether the host has been silent for longer than the watchdog allows."""
        units = self.table[table.BUS_WATCHDOG.address]
        return 0 < units < 128 and now_ns - self.heard_ns > units * WATCHDOG_UNIT_NS

    def stop(self, angle_rad: float) -> None:
        """Stop where it is, as its watchdog does; profiles are none from then on."""
        self.set(table.BUS_WATCHDOG, -1)
        self.set(table.PROFILE_ACCELERATION, 0)
        self.set(table.PROFILE_VELOCITY, 0)
        self.goal_rad = angle_rad

    def fail(self, error: int) -> None:
        """Set the hardware error status; one that shuts down takes the torque."""
        self.set(table.HARDWARE_ERROR, error)
        if error & self.get(table.SHUTDOWN):
            self.set(table.TORQUE, 0)

    def reboot(self) -> None:
        """Come up as from power-on: no torque, no error."""
        position = self.get(table.POSITION)
        self._reset_memory()
        self.set(table.POSITION, position)

    def _reset_memory(self) -> None:
        self.table[_KEPT_BELOW:] = bytes(TABLE_BYTES - _KEPT_BELOW)
        self.registered = None
        for entry, value in (
            (table.STATUS_RETURN, 2),
            (table.GAIN_P, 800),
            (table.GOAL_CURRENT, self.get(table.CURRENT_LIMIT)),
            (table.GOAL_POSITION, ZERO_TICKS),
            (table.POSITION, ZERO_TICKS),
            (table.VOLTAGE, 120),
            (table.TEMPERATURE, 38),
        ):
            self.set(entry, value)
