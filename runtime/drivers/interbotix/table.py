"""The control table of Dynamixel X servos and the servos of each build, as data.

Addresses and units: ROBOTIS e-Manual (XM430, XM540); servos and their settings: Interbotix' motor configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


@dataclass(frozen=True)
class Entry:
    """One entry: where it lies, how many bytes it has, and what a servo takes for it.

    `kept`: in EEPROM, and written only while the torque is off. `least` and `most` are inclusive.
    """

    name: str
    address: int
    size: int
    signed: bool = False
    kept: bool = False
    writable: bool = True
    least: int = 0
    most: int = 2**31 - 1

    def pack(self, value: int) -> bytes:
        """Return a value as the servo's bytes."""
        return value.to_bytes(self.size, "little", signed=value < 0)

    def unpack(self, data: bytes, base: int | None = None) -> int:
        """Return the value in a block of bytes that begins at the address `base`, by default the entry's own."""
        start = self.address - (self.address if base is None else base)
        return int.from_bytes(data[start : start + self.size], "little", signed=self.signed)


def _kept(name: str, address: int, size: int, most: int, *, signed: bool = False) -> Entry:
    return Entry(name, address, size, signed, kept=True, least=-most if signed else 0, most=most)


def _seen(name: str, address: int, size: int, *, signed: bool = False, kept: bool = False) -> Entry:
    return Entry(name, address, size, signed, kept, writable=False)


MODEL_NUMBER: Final = _seen("model number", 0, 2, kept=True)
FIRMWARE: Final = _seen("firmware", 6, 1, kept=True)
SERVO_ID: Final = _kept("id", 7, 1, 252)
BAUD: Final = _kept("baud rate", 8, 1, 7)
RETURN_DELAY: Final = _kept("return delay time", 9, 1, 254)
"""2 us a unit."""
DRIVE_MODE: Final = _kept("drive mode", 10, 1, 0x0D)
"""Bit 0 reversed, bit 2 profiles by time, bit 3 a goal switches the torque on."""
OPERATING_MODE: Final = _kept("operating mode", 11, 1, 16)
SHADOW_ID: Final = _kept("secondary id", 12, 1, 255)
HOMING_OFFSET: Final = _kept("homing offset", 20, 4, 1_044_479, signed=True)
TEMPERATURE_LIMIT: Final = _kept("temperature limit", 31, 1, 100)
CURRENT_LIMIT: Final = _kept("current limit", 38, 2, 2047)
VELOCITY_LIMIT: Final = _kept("velocity limit", 44, 4, 1023)
POSITION_MAX: Final = _kept("max position limit", 48, 4, 4095)
POSITION_MIN: Final = _kept("min position limit", 52, 4, 4095)
SHUTDOWN: Final = _kept("shutdown", 63, 1, 255)
TORQUE: Final = Entry("torque enable", 64, 1, most=1)
LED: Final = Entry("led", 65, 1, most=1)
STATUS_RETURN: Final = Entry("status return level", 68, 1, most=2)
REGISTERED: Final = _seen("registered instruction", 69, 1)
HARDWARE_ERROR: Final = _seen("hardware error status", 70, 1)
GAIN_D: Final = Entry("position D gain", 80, 2, most=16383)
GAIN_I: Final = Entry("position I gain", 82, 2, most=16383)
GAIN_P: Final = Entry("position P gain", 84, 2, most=16383)
BUS_WATCHDOG: Final = Entry("bus watchdog", 98, 1, signed=True, most=127)
"""20 ms a unit, 0 off; -1 after it has stopped the servo, which then takes no goals until 0 is written."""
GOAL_CURRENT: Final = Entry("goal current", 102, 2, signed=True, least=-2047, most=2047)
PROFILE_ACCELERATION: Final = Entry("profile acceleration", 108, 4, most=32767)
PROFILE_VELOCITY: Final = Entry("profile velocity", 112, 4, most=32767)
"""In the unit of velocity, by time in ms; 0 is none: a goal is gone to at once."""
GOAL_POSITION: Final = Entry("goal position", 116, 4, signed=True, least=-1_048_575, most=1_048_575)
MOVING: Final = _seen("moving", 122, 1)
CURRENT: Final = _seen("present current", 126, 2, signed=True)
VELOCITY: Final = _seen("present velocity", 128, 4, signed=True)
POSITION: Final = _seen("present position", 132, 4, signed=True)
VOLTAGE: Final = _seen("present input voltage", 144, 2)
"""0.1 V a unit."""
TEMPERATURE: Final = _seen("present temperature", 146, 1)
"""Degrees Celsius."""
TABLE: Final = (
    *(MODEL_NUMBER, FIRMWARE, SERVO_ID, BAUD, RETURN_DELAY, DRIVE_MODE, OPERATING_MODE, SHADOW_ID, HOMING_OFFSET),
    *(TEMPERATURE_LIMIT, CURRENT_LIMIT, VELOCITY_LIMIT, POSITION_MAX, POSITION_MIN, SHUTDOWN, TORQUE, LED),
    *(STATUS_RETURN, REGISTERED, HARDWARE_ERROR, GAIN_D, GAIN_I, GAIN_P, BUS_WATCHDOG, GOAL_CURRENT),
    *(PROFILE_ACCELERATION, PROFILE_VELOCITY, GOAL_POSITION, MOVING, CURRENT, VELOCITY, POSITION, VOLTAGE, TEMPERATURE),
)
TABLE_BYTES: Final = TEMPERATURE.address + TEMPERATURE.size
BLOCK_TORQUE: Final = (TORQUE.address, HARDWARE_ERROR.address + 1 - TORQUE.address)
BLOCK_SETTINGS: Final = (GAIN_D.address, GOAL_POSITION.address - GAIN_D.address)
BLOCK_MOTION: Final = (CURRENT.address, POSITION.address + POSITION.size - CURRENT.address)
BLOCK_HEALTH: Final = (VOLTAGE.address, VOLTAGE.size + TEMPERATURE.size)
"""Address and bytes of what is read at once."""
REVERSED: Final = 0x01
BY_TIME: Final = 0x04
TORQUE_BY_GOAL: Final = 0x08
NO_SHADOW: Final = 255


class Operating(IntEnum):
    """Operating modes used here."""

    POSITION = 3
    CURRENT_POSITION = 5


class Model(IntEnum):
    """Model numbers."""

    XM430_W350 = 1020
    XL430_W250 = 1060
    XM540_W270 = 1120
    XL330_M288 = 1200


TORQUE_NM_PER_A: Final = {Model.XM540_W270: 2.41, Model.XM430_W350: 1.78, Model.XL430_W250: 1.0, Model.XL330_M288: 0.35}
"""Stall torque over stall current at 12 V (5 V for XL330), from ROBOTIS' data sheets; XL430 has no current sensor."""


@dataclass(frozen=True)
class ServoSpec:
    """One servo of a build as Interbotix delivers it; positions in ticks. `shadows` is the id that it follows."""

    servo_id: int
    name: str
    model: Model
    reversed: bool = False
    shadows: int = NO_SHADOW
    mode: Operating = Operating.POSITION
    position_min: int = 0
    position_max: int = 4095

    @property
    def label(self) -> str:
        """The servo as errors call it."""
        return f"servo {self.servo_id} ({self.name})"


_BIG, _SMALL, _LIGHT = Model.XM540_W270, Model.XM430_W350, Model.XL430_W250
VX300S_SERVOS: Final = (
    ServoSpec(1, "waist", _BIG),
    ServoSpec(2, "shoulder", _BIG, reversed=True, position_min=841, position_max=2867),
    ServoSpec(3, "shoulder shadow", _BIG, shadows=2, position_min=841, position_max=2867),
    ServoSpec(4, "elbow", _BIG, reversed=True, position_min=898, position_max=3094),
    ServoSpec(5, "elbow shadow", _BIG, shadows=4, position_min=898, position_max=3094),
    ServoSpec(6, "forearm roll", _BIG),
    ServoSpec(7, "wrist angle", _BIG, reversed=True, position_min=830, position_max=3504),
    ServoSpec(8, "wrist rotate", _SMALL),
    ServoSpec(9, "gripper", _SMALL, mode=Operating.CURRENT_POSITION),
)
WX250S_SERVOS: Final = (
    ServoSpec(1, "waist", _SMALL),
    ServoSpec(2, "shoulder", _SMALL, position_min=819, position_max=3345),
    ServoSpec(3, "shoulder shadow", _SMALL, reversed=True, shadows=2, position_min=819, position_max=3345),
    ServoSpec(4, "elbow", _SMALL, position_min=648, position_max=3094),
    ServoSpec(5, "elbow shadow", _SMALL, reversed=True, shadows=4, position_min=648, position_max=3094),
    ServoSpec(6, "forearm roll", _SMALL),
    ServoSpec(7, "wrist angle", _SMALL, reversed=True, position_min=910, position_max=3447),
    ServoSpec(8, "wrist rotate", _LIGHT),
    ServoSpec(9, "gripper", _LIGHT),
)
GELLO_SERVOS: Final = tuple(ServoSpec(i, "gripper" if i == 7 else f"joint {i}", Model.XL330_M288) for i in range(1, 8))


def joint_servos(servos: tuple[ServoSpec, ...]) -> tuple[ServoSpec, ...]:
    """Return the servos of the six joints and of the gripper, in the order of `runtime.layout`, without shadows."""
    return tuple(servo for servo in servos if servo.shadows == NO_SHADOW)
