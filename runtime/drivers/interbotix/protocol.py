"""Dynamixel protocol 2.0: packets, their checksum, byte stuffing, and a parser that takes bytes as they come. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HEADER: Final = b"\xff\xff\xfd\x00"
_PATTERN: Final = b"\xff\xff\xfd"
BROADCAST: Final = 0xFE
OVERHEAD_BYTES: Final = 10
"""Header, id, length, instruction and checksum."""
LENGTH_MAX: Final = 1024
ALERT: Final = 0x80
"""In a status' error: the servo has a hardware error."""
_POLYNOMIAL: Final = 0x8005


class Instruction(IntEnum):
    """Instructions, and the one that marks an answer."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93


class Refusal(IntEnum):
    """Errors in a status packet."""

    NONE = 0
    RESULT = 1
    INSTRUCTION = 2
    CHECKSUM = 3
    RANGE = 4
    LENGTH = 5
    LIMIT = 6
    ACCESS = 7


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet without its stuffing; of a status the error is the first parameter."""

    servo_id: int
    instruction: int
    parameters: bytes = b""

    @property
    def error(self) -> int:
        """A status' error."""
        return self.parameters[0] if self.parameters else 0

    @property
    def data(self) -> bytes:
        """A status' data."""
        return self.parameters[1:]

    def pack(self) -> bytes:
        """Return the packet's bytes."""
        body = stuff(bytes([self.instruction]) + self.parameters)
        head = HEADER + bytes([self.servo_id]) + (len(body) + 2).to_bytes(2, "little") + body
        return head + crc(head).to_bytes(2, "little")


def _crc_of(byte: int) -> int:
    value = byte << 8
    for _ in range(8):
        value = ((value << 1) ^ _POLYNOMIAL if value & 0x8000 else value << 1) & 0xFFFF
    return value


_CRC: Final = tuple(map(_crc_of, range(256)))


def crc(data: bytes) -> int:
    """Return the CRC-16 (polynomial 0x8005, from 0) of the bytes."""
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFF) ^ _CRC[(value >> 8) ^ byte]
    return value


def stuff(body: bytes) -> bytes:
    """Return instruction and parameters so that no header is in them: 0xFD after each FF FF FD."""
    return body.replace(_PATTERN, _PATTERN + b"\xfd")


def unstuff(body: bytes) -> bytes:
    """Undo `stuff`."""
    return body.replace(_PATTERN + b"\xfd", _PATTERN)


class Parser:
    """Finds packets in a stream; what is no packet, or has a wrong checksum, is skipped and counted."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.corrupt = 0

    def reset(self) -> None:
        """Forget a packet that has begun."""
        self._bytes.clear()

    def feed(self, data: bytes) -> Iterable[Packet]:
        """Take bytes; return the packets that they complete."""
        self._bytes += data
        packets = []
        while (packet := self._next()) is not None:
            packets.append(packet)
        return packets

    def _next(self) -> Packet | None:
        buffer = self._bytes
        while True:
            start = buffer.find(HEADER)
            if start < 0:
                # The last bytes may be the beginning of a header.
                del buffer[: max(len(buffer) - len(HEADER) + 1, 0)]
                return None
            del buffer[:start]
            if len(buffer) < 7:
                return None
            length = int.from_bytes(buffer[5:7], "little")
            if not 3 <= length <= LENGTH_MAX:
                self._skip()
                continue
            if len(buffer) < 7 + length:
                return None
            raw = bytes(buffer[: 7 + length])
            if crc(raw[:-2]) != int.from_bytes(raw[-2:], "little"):
                self._skip()
                continue
            del buffer[: 7 + length]
            body = unstuff(raw[7:-2])
            return Packet(raw[4], body[0], body[1:])

    def _skip(self) -> None:
        self.corrupt += 1
        del self._bytes[: len(HEADER)]


def sync_read(ids: Iterable[int], address: int, size: int) -> bytes:
    """Return the request for the same bytes of several servos, who answer one after the other."""
    where = address.to_bytes(2, "little") + size.to_bytes(2, "little")
    return Packet(BROADCAST, Instruction.SYNC_READ, where + bytes(ids)).pack()


def sync_write(address: int, data: dict[int, bytes]) -> bytes:
    """Return the request that writes at the same address of several servos; none answers. All data are of a size."""
    size = len(next(iter(data.values())))
    where = address.to_bytes(2, "little") + size.to_bytes(2, "little")
    body = b"".join(bytes([servo_id]) + value for servo_id, value in data.items())
    return Packet(BROADCAST, Instruction.SYNC_WRITE, where + body).pack()
