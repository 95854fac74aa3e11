"""The Piper's CAN messages: frozen nouns in SI units to and from 8 bytes. Pure.

1 Mbit/s, 11-bit identifiers, big-endian (AgileX's protocol V2 as piper_sdk 0.6.2 speaks it). What does not fit its
field is refused, never wrapped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from math import radians
from typing import ClassVar, Final

FRAME_BYTES: Final = 8
MILLIDEGREE: Final = radians(0.001)
DECIDEGREE: Final = radians(0.1)
MICROMETRE: Final = 1e-6
MILLI: Final = 1e-3
TORQUE_NM_PER_A: Final = (1.18125, 1.18125, 1.18125, 0.95844, 0.95844, 0.95844)
"""Joint torque by motor current, joints 1 to 6 (piper_sdk, msg_v2/feedback/arm_feedback_high_spd)."""


class CanId(IntEnum):
    """Identifiers of messages; a pair or a motor adds its index to the first of its kind."""

    STOP = 0x150
    MODE = 0x151
    TARGET = 0x155
    GRIPPER_TARGET = 0x159
    FAST = 0x251
    SLOW = 0x261
    STATUS = 0x2A1
    JOINTS = 0x2A5
    GRIPPER = 0x2A8
    LINKAGE = 0x470
    ENABLE = 0x471
    QUERY = 0x472
    LIMIT = 0x473
    ACCELERATION = 0x47C
    FIRMWARE = 0x4AF


class Control(IntEnum):
    """Who controls the arm (STATUS and MODE byte 0)."""

    STANDBY = 0
    CAN = 1
    TEACHING = 2
    LINKAGE = 6


class Move(IntEnum):
    """How the arm takes targets (STATUS byte 2 and MODE byte 1), as far as it matters here."""

    POSE = 0
    JOINTS = 1


class ArmStatus(IntEnum):
    """What the arm says of itself (STATUS byte 1), as far as it matters here."""

    NORMAL = 0
    EMERGENCY_STOP = 1
    OUT_OF_LIMITS = 4
    JOINT_SILENT = 5
    COLLISION = 7
    JOINT_ERROR = 9
    CONTROLLER_HOT = 14
    RESISTOR_HOT = 15


class Stop(IntEnum):
    """What STOP asks for. RESET drops the arm at once."""

    EMERGENCY = 1
    RESET = 2


class Motor(IntFlag):
    """Status bits of a motor's driver (SLOW byte 5)."""

    VOLTAGE_LOW = 1
    MOTOR_HOT = 2
    OVER_CURRENT = 4
    DRIVER_HOT = 8
    COLLISION = 16
    DRIVER_ERROR = 32
    ENABLED = 64
    STALLED = 128


def _fit(value: float, unit: float, low: int, high: int, what: str) -> int:
    """Return a value in whole units. Raises ValueError where it does not fit its field."""
    scaled = value / unit
    if not low - 0.5 <= scaled <= high + 0.5:
        raise ValueError(f"{what} {value:g} does not fit its field, {low * unit:g} to {high * unit:g}")
    return min(max(round(scaled), low), high)


_I32: Final = (-(1 << 31), (1 << 31) - 1)
_I16: Final = (-(1 << 15), (1 << 15) - 1)
_U16: Final = (0, (1 << 16) - 1)
_U8: Final = (0, 255)


@dataclass(frozen=True, slots=True)
class JointPair:
    """Two neighbouring joints, targets or measured, rad."""

    layout: ClassVar[struct.Struct] = struct.Struct(">ii")
    first_rad: float
    second_rad: float

    def pack(self) -> bytes:
        """Return the frame's bytes; ValueError for an angle that does not fit."""
        return self.layout.pack(*(_fit(rad, MILLIDEGREE, *_I32, "angle") for rad in (self.first_rad, self.second_rad)))

    @classmethod
    def unpack(cls, data: bytes) -> JointPair:
        """Return the message of a frame's bytes."""
        first, second = cls.layout.unpack(data)
        return cls(first * MILLIDEGREE, second * MILLIDEGREE)


@dataclass(frozen=True, slots=True)
class Mode:
    """Who controls the arm and how: `move` as in `Move`, `speed_percent` of its top speed."""

    layout: ClassVar[struct.Struct] = struct.Struct(">BBBBBB2x")
    control: int
    move: int = Move.JOINTS
    speed_percent: int = 100
    follow: int = 0
    dwell: int = 0
    mounting: int = 0

    def pack(self) -> bytes:
        """Return the frame's bytes."""
        return self.layout.pack(self.control, self.move, self.speed_percent, self.follow, self.dwell, self.mounting)

    @classmethod
    def unpack(cls, data: bytes) -> Mode:
        """Return the message of a frame's bytes."""
        return cls(*cls.layout.unpack(data))


@dataclass(frozen=True, slots=True)
class GripperTarget:
    """Opening in m and force as the torque that drives it, N.m; `code` 1 is on, 0 off, 3 on with errors cleared."""

    layout: ClassVar[struct.Struct] = struct.Struct(">iHBB")
    opening_m: float
    torque_nm: float = 1.0
    code: int = 1
    set_zero: int = 0

    def pack(self) -> bytes:
        """Return the frame's bytes; ValueError for an opening or a torque that does not fit."""
        return self.layout.pack(
            _fit(self.opening_m, MICROMETRE, *_I32, "opening"),
            _fit(self.torque_nm, MILLI, 0, 5000, "torque"),
            self.code,
            self.set_zero,
        )

    @classmethod
    def unpack(cls, data: bytes) -> GripperTarget:
        """Return the message of a frame's bytes."""
        opening, torque, code, set_zero = cls.layout.unpack(data)
        return cls(opening * MICROMETRE, torque * MILLI, code, set_zero)


@dataclass(frozen=True, slots=True)
class Enable:
    """Torque of a motor, 1 to 6, or of all (7 or 255)."""

    layout: ClassVar[struct.Struct] = struct.Struct(">BB6x")
    motor: int
    on: bool

    def pack(self) -> bytes:
        """Return the frame's bytes."""
        return self.layout.pack(self.motor, 2 if self.on else 1)

    @classmethod
    def unpack(cls, data: bytes) -> Enable:
        """Return the message of a frame's bytes."""
        motor, flag = cls.layout.unpack(data)
        return cls(motor, flag == 2)


@dataclass(frozen=True, slots=True)
class StopCommand:
    """A `Stop`."""

    layout: ClassVar[struct.Struct] = struct.Struct(">B7x")
    stop: int

    def pack(self) -> bytes:
        """Return the frame's bytes."""
        return self.layout.pack(self.stop)

    @classmethod
    def unpack(cls, data: bytes) -> StopCommand:
        """Return the message of a frame's bytes."""
        return cls(*cls.layout.unpack(data))


@dataclass(frozen=True, slots=True)
class Query:
    """A question about motor 1 to 6: `what` 1 for its angles and speed, 2 for its acceleration."""

    layout: ClassVar[struct.Struct] = struct.Struct(">BB6x")
    motor: int
    what: int

    def pack(self) -> bytes:
        """Return the frame's bytes."""
        return self.layout.pack(self.motor, self.what)

    @classmethod
    def unpack(cls, data: bytes) -> Query:
        """Return the message of a frame's bytes."""
        return cls(*cls.layout.unpack(data))


@dataclass(frozen=True, slots=True)
class Status:
    """The arm's own state; `errors` are bits: joint limits in the high byte, joints that are silent in the low."""

    layout: ClassVar[struct.Struct] = struct.Struct(">BBBBBBH")
    control: int
    arm: int
    move: int = Move.JOINTS
    teach: int = 0
    motion: int = 0
    trajectory: int = 0
    errors: int = 0

    def pack(self) -> bytes:
        """Return the frame's bytes."""
        return self.layout.pack(
            self.control, self.arm, self.move, self.teach, self.motion, self.trajectory, self.errors
        )

    @classmethod
    def unpack(cls, data: bytes) -> Status:
        """Return the message of a frame's bytes."""
        return cls(*cls.layout.unpack(data))


@dataclass(frozen=True, slots=True)
class Gripper:
    """Measured opening, m, and torque, N.m; `status` are `Motor` bits of its driver.

    Two bits differ: COLLISION is a fault of its sensor here, and STALLED says that its zero has been found.
    """

    layout: ClassVar[struct.Struct] = struct.Struct(">ihBx")
    opening_m: float
    torque_nm: float
    status: int

    def pack(self) -> bytes:
        """Return the frame's bytes; ValueError for a number that does not fit."""
        return self.layout.pack(
            _fit(self.opening_m, MICROMETRE, *_I32, "opening"),
            _fit(self.torque_nm, MILLI, *_I16, "torque"),
            self.status,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Gripper:
        """Return the message of a frame's bytes."""
        opening, torque, status = cls.layout.unpack(data)
        return cls(opening * MICROMETRE, torque * MILLI, status)


@dataclass(frozen=True, slots=True)
class Fast:
    """A motor's speed, rad/s, and current, A; `position` is the driver's own count."""

    layout: ClassVar[struct.Struct] = struct.Struct(">hhi")
    velocity_rad_s: float
    current_a: float
    position: int = 0

    def pack(self) -> bytes:
        """Return the frame's bytes; ValueError for a number that does not fit."""
        return self.layout.pack(
            _fit(self.velocity_rad_s, MILLI, *_I16, "speed"),
            _fit(self.current_a, MILLI, *_I16, "current"),
            self.position,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Fast:
        """Return the message of a frame's bytes."""
        velocity, current, position = cls.layout.unpack(data)
        return cls(velocity * MILLI, current * MILLI, position)


@dataclass(frozen=True, slots=True)
class Slow:
    """A motor driver's supply, V, temperatures, degrees Celsius, `Motor` bits, and supply current, A."""

    layout: ClassVar[struct.Struct] = struct.Struct(">HhbBH")
    supply_v: float
    driver_c: int
    motor_c: int
    status: int
    supply_a: float

    def pack(self) -> bytes:
        """Return the frame's bytes; ValueError for a number that does not fit."""
        return self.layout.pack(
            _fit(self.supply_v, 0.1, *_U16, "voltage"),
            self.driver_c,
            self.motor_c,
            self.status,
            _fit(self.supply_a, MILLI, *_U16, "current"),
        )

    @classmethod
    def unpack(cls, data: bytes) -> Slow:
        """Return the message of a frame's bytes."""
        volts, driver, motor, status, current = cls.layout.unpack(data)
        return cls(volts * 0.1, driver, motor, status, current * MILLI)


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits that a motor's firmware keeps: angles in rad, speed in rad/s."""

    layout: ClassVar[struct.Struct] = struct.Struct(">BhhHx")
    motor: int
    high_rad: float
    low_rad: float
    velocity_rad_s: float

    def pack(self) -> bytes:
        """Return the frame's bytes; ValueError for a number that does not fit."""
        return self.layout.pack(
            self.motor,
            _fit(self.high_rad, DECIDEGREE, *_I16, "angle"),
            _fit(self.low_rad, DECIDEGREE, *_I16, "angle"),
            _fit(self.velocity_rad_s, MILLI, *_U16, "speed"),
        )

    @classmethod
    def unpack(cls, data: bytes) -> Limit:
        """Return the message of a frame's bytes."""
        motor, high, low, velocity = cls.layout.unpack(data)
        return cls(motor, high * DECIDEGREE, low * DECIDEGREE, velocity * MILLI)


@dataclass(frozen=True, slots=True)
class Acceleration:
    """The acceleration that a motor's firmware keeps, rad/s^2."""

    layout: ClassVar[struct.Struct] = struct.Struct(">BH5x")
    motor: int
    acceleration_rad_s2: float

    def pack(self) -> bytes:
        """Return the frame's bytes; ValueError for a number that does not fit."""
        return self.layout.pack(self.motor, _fit(self.acceleration_rad_s2, 0.01, *_U16, "acceleration"))

    @classmethod
    def unpack(cls, data: bytes) -> Acceleration:
        """Return the message of a frame's bytes."""
        motor, acceleration = cls.layout.unpack(data)
        return cls(motor, acceleration * 0.01)


@dataclass(frozen=True, slots=True)
class Linkage:
    """Role of an arm that shares its bus: 0xFA leader, 0xFC follower, and by how much its identifiers are moved."""

    layout: ClassVar[struct.Struct] = struct.Struct(">BBBB4x")
    role: int
    feedback_offset: int = 0
    control_offset: int = 0
    linkage_offset: int = 0

    def pack(self) -> bytes:
        """Return the frame's bytes."""
        return self.layout.pack(self.role, self.feedback_offset, self.control_offset, self.linkage_offset)

    @classmethod
    def unpack(cls, data: bytes) -> Linkage:
        """Return the message of a frame's bytes."""
        return cls(*cls.layout.unpack(data))


@dataclass(frozen=True, slots=True)
class Firmware:
    """Eight characters of the firmware's name, or the question for it (a one and seven zeros)."""

    text: bytes

    def pack(self) -> bytes:
        """Return the frame's bytes."""
        return self.text.ljust(FRAME_BYTES, b"\0")[:FRAME_BYTES]

    @classmethod
    def unpack(cls, data: bytes) -> Firmware:
        """Return the message of a frame's bytes."""
        return cls(data)

    @property
    def asks(self) -> bool:
        """Whether this is the question."""
        return self.text == FIRMWARE_QUERY.text


FIRMWARE_QUERY: Final = Firmware(b"\x01" + bytes(7))

Message = (
    JointPair | Mode | GripperTarget | Enable | StopCommand | Query | Status | Gripper | Fast | Slow | Limit
    | Acceleration | Linkage | Firmware
)  # fmt: skip

KINDS: Final[dict[int, type[Message]]] = {
    CanId.STOP: StopCommand,
    CanId.MODE: Mode,
    **{CanId.TARGET + i: JointPair for i in range(3)},
    CanId.GRIPPER_TARGET: GripperTarget,
    **{CanId.FAST + i: Fast for i in range(6)},
    **{CanId.SLOW + i: Slow for i in range(6)},
    CanId.STATUS: Status,
    **{CanId.JOINTS + i: JointPair for i in range(3)},
    CanId.GRIPPER: Gripper,
    CanId.LINKAGE: Linkage,
    CanId.ENABLE: Enable,
    CanId.QUERY: Query,
    CanId.LIMIT: Limit,
    CanId.ACCELERATION: Acceleration,
    CanId.FIRMWARE: Firmware,
}
"""What each identifier carries; others, the end pose among them, are not read."""


def decode(can_id: int, data: bytes) -> Message | None:
    """Return a frame's message, None for an identifier that is not read or a frame that is not whole."""
    kind = KINDS.get(can_id)
    return kind.unpack(data) if kind is not None and len(data) == FRAME_BYTES else None
