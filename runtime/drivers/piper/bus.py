"""A CAN bus as a socket of frames: SocketCAN and the emulated bus alike, and python-can for every other adapter."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final, Protocol

from runtime.drivers.base import DriverError

BITRATE: Final = 1_000_000
"""The arms'; python-can's adapters have another by default, most of them half of it."""
FRAME: Final = struct.Struct("=IB3x8s")
"""`struct can_frame` of linux/can.h: identifier, length, data."""
_ID_MASK: Final = 0x7FF
_SPECIAL: Final = 0xE0000000
"""Flags of extended, remote and error frames."""
FRAMES_MAX: Final = 4096
"""Frames taken at once; a second of a full bus has about 8000."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: an 11-bit identifier and up to 8 bytes."""

    can_id: int
    data: bytes


class BusError(DriverError):
    """The bus did not take a frame or is gone."""


class Bus(Protocol):
    """Where frames go to and come from; neither call waits."""

    def send(self, frame: Frame) -> None:
        """Send a frame; BusError where the bus does not take it."""

    def receive(self) -> list[Frame]:
        """Return the frames that have come; BusError where the bus is gone."""

    def close(self) -> None:
        """Let the bus go."""


class SocketBus:
    """A bus that is a socket with one `struct can_frame` a message."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._socket, self._name = sock, name
        sock.setblocking(False)

    def send(self, frame: Frame) -> None:
        """Send a frame; BusError where the bus does not take it: its queue is full, or it is off or down."""
        try:
            self._socket.send(FRAME.pack(frame.can_id, len(frame.data), frame.data.ljust(8, b"\0")))
        except OSError as error:
            raise BusError(f"CAN bus {self._name} takes no frames: {_reason(error)}") from None

    def receive(self) -> list[Frame]:
        """Return the frames that have come; BusError where the bus is gone."""
        frames: list[Frame] = []
        while len(frames) < FRAMES_MAX:
            try:
                raw = self._socket.recv(FRAME.size)
            except BlockingIOError:
                break
            except OSError as error:
                raise BusError(f"CAN bus {self._name} is gone: {_reason(error)}") from None
            if not raw:
                raise BusError(f"CAN bus {self._name} is gone: its other end closed")
            if len(raw) == FRAME.size:
                can_id, length, data = FRAME.unpack(raw)
                if not can_id & _SPECIAL and length <= 8:
                    frames.append(Frame(can_id & _ID_MASK, data[:length]))
        return frames

    def fileno(self) -> int:
        """Return the socket's descriptor, to wait for frames with."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let the bus go."""
        self._socket.close()


class PythonCanBus:
    """Any adapter that python-can knows (slcan, pcan, gs_usb ...)."""

    def __init__(self, bus: Any, name: str) -> None:
        import can  # noqa: PLC0415

        self._bus, self._name, self._can = bus, name, can

    def send(self, frame: Frame) -> None:
        """Send a frame; BusError where the bus does not take it."""
        message = self._can.Message(arbitration_id=frame.can_id, data=frame.data, is_extended_id=False)
        try:
            self._bus.send(message, timeout=0)
        except self._can.CanError as error:
            raise BusError(f"CAN bus {self._name} takes no frames: {error}") from None

    def receive(self) -> list[Frame]:
        """Return the frames that have come; BusError where the bus is gone."""
        frames: list[Frame] = []
        try:
            while len(frames) < FRAMES_MAX and (message := self._bus.recv(timeout=0)) is not None:
                # gs_usb hands back what was sent through it, which would be another master's.
                if message.is_rx and not (message.is_extended_id or message.is_error_frame or message.is_remote_frame):
                    frames.append(Frame(message.arbitration_id, bytes(message.data)))
        except self._can.CanError as error:
            raise BusError(f"CAN bus {self._name} is gone: {error}") from None
        return frames

    def close(self) -> None:
        """Let the bus go."""
        self._bus.shutdown()


def open_bus(channel: str, interface: str) -> Bus:
    """Open a bus by python-can's names of interface and channel; DriverError says what to do where it cannot be."""
    if interface == "socketcan":
        try:
            sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        except OSError as error:
            raise DriverError(f"CAN bus {channel}: this kernel has no SocketCAN ({_reason(error)})") from None
        try:
            sock.bind((channel,))
            # An interface that is down is bound all the same, and the socket has its error from the start (raw_bind).
            if down := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(down, os.strerror(down))
        except OSError as error:
            sock.close()
            raise DriverError(
                f"CAN bus {channel}: {_reason(error)};"
                f" `ip link set {channel} up type can bitrate {BITRATE} restart-ms 100` brings it up"
            ) from None
        return SocketBus(sock, channel)
    try:
        import can  # noqa: PLC0415
    except ImportError:
        raise DriverError(f"CAN interface {interface} needs python-can: pip install 'leadtime[piper]'") from None
    try:
        return PythonCanBus(can.Bus(channel=channel, interface=interface, bitrate=BITRATE), channel)
    except (can.CanError, OSError, ValueError, NotImplementedError) as error:
        raise DriverError(f"CAN bus {channel} on interface {interface}: {error}") from None


def join_emulated(name: str) -> SocketBus:
    """Join the emulated bus of a name; DriverError where nobody emulates it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect("\0" + name)
    except OSError as error:
        sock.close()
        raise DriverError(f"emulated CAN bus {name}: {_reason(error)}; the run's emulator provides it") from None
    return SocketBus(sock, name)


def _reason(error: OSError) -> str:
    return str(error) if error.errno is None else os.strerror(error.errno)
