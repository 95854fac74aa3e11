"""Faults put into an emulated device from outside its process, by datagram."""

from __future__ import annotations

import socket
from typing import Any, Final

import msgpack

from runtime.drivers.base import DriverError

MESSAGE_BYTES_MAX: Final = 256
TIMEOUT_S: Final = 2.0


def inject(bus: str, fault: str, *, on: bool = True) -> None:
    """Switch a fault of the emulator of a bus on or off; DriverError where there is no such emulator."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        try:
            sock.sendto(msgpack.packb({"fault": fault, "on": on}), _address(bus))
        except OSError as error:
            raise DriverError(f"no emulator of bus {bus} takes faults: {error.strerror or error}") from None


class Injections:
    """The receiving end, in the emulator of a bus: `faults` are the names of those that stand."""

    def __init__(self, bus: str) -> None:
        self.faults: set[str] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(_address(bus))

    def poll(self) -> None:
        """Take what was sent since the last call; what is not understood changes nothing."""
        while True:
            try:
                raw = self._socket.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            message = _understood(raw)
            if message is not None:
                fault, on = message
                (self.faults.add if on else self.faults.discard)(fault)

    def close(self) -> None:
        """Take no more."""
        self._socket.close()


def _understood(raw: bytes) -> tuple[str, bool] | None:
    try:
        message: Any = msgpack.unpackb(raw, max_map_len=2, max_str_len=64)
    except (ValueError, msgpack.UnpackException):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("fault"), str):
        return None
    return message["fault"], bool(message.get("on"))


def _address(bus: str) -> str:
    return f"\0{bus}-inject"
