"""A serial port that is never waited for, and the latency timer of the USB adapter behind it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import termios
from pathlib import Path
from typing import Any, Final, Protocol

from runtime.drivers.base import DriverError
from runtime.drivers.bus import bus_name
from runtime.layout import Side

LATENCY_MS: Final = 1
BAUDS: Final = (57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)
_TIOCGSERIAL: Final = 0x541E
_TIOCSSERIAL: Final = 0x541F
_ASYNC_LOW_LATENCY: Final = 1 << 13
_SERIAL_WORDS: Final = 32
_FLAGS_WORD: Final = 4
"""`struct serial_struct` of linux/serial.h, with room to spare."""
READ_BYTES: Final = 4096


class PortError(DriverError):
    """The port does not take bytes or is gone."""


class Port(Protocol):
    """Where bytes go to and come from; neither call waits."""

    def send(self, data: bytes) -> None:
        """Send bytes; PortError where the port does not take them."""

    def receive(self) -> bytes:
        """Return what has come; PortError where the port is gone."""

    def close(self) -> None:
        """Let the port go."""


class SerialPort:
    """A serial device, raw, eight bits, no parity; held alone while it is open."""

    def __init__(self, path: str, baud: int) -> None:
        self._path = path
        if baud not in BAUDS:
            raise DriverError(f"port {path}: no baud rate {baud}; give one of {', '.join(map(str, BAUDS))}")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise DriverError(f"port {path}: {_reason(error)}; {_remedy(error)}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _make_raw(self._fd, getattr(termios, f"B{baud}"))
        except BlockingIOError:
            os.close(self._fd)
            raise DriverError(f"port {path} is in use by another program: end it") from None
        except (OSError, termios.error):
            os.close(self._fd)
            raise DriverError(f"port {path} is no serial device") from None
        _be_quick(self._fd)

    def send(self, data: bytes) -> None:
        """Send bytes; PortError where the port does not take them at once."""
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise PortError(f"port {self._path} is gone: {_reason(error)}") from None
        if sent != len(data):
            raise PortError(f"port {self._path} takes no bytes: its queue is full")

    def receive(self) -> bytes:
        """Return what has come; PortError where the port is gone."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PortError(f"port {self._path} is gone: {_reason(error)}; plug it in again") from None
        if not data:
            raise PortError(f"port {self._path} is gone: its other end closed; plug it in again")
        return data

    def close(self) -> None:
        """Let the port go."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def _make_raw(fd: int, speed: int) -> None:
    settings: list[Any] = termios.tcgetattr(fd)
    settings[0] = settings[1] = settings[3] = 0
    settings[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
    settings[4] = settings[5] = speed
    settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    termios.tcflush(fd, termios.TCIOFLUSH)


def _be_quick(fd: int) -> None:
    """Ask the adapter to hand bytes over as they come (FTDI: after 1 ms); one that cannot is left as it is."""
    with contextlib.suppress(OSError):
        words = array.array("i", [0] * _SERIAL_WORDS)
        fcntl.ioctl(fd, _TIOCGSERIAL, words)
        words[_FLAGS_WORD] |= _ASYNC_LOW_LATENCY
        fcntl.ioctl(fd, _TIOCSSERIAL, words)


def require_quick(path: str, root: Path = Path("/")) -> None:
    """Raise DriverError where a port is an FTDI's that gathers bytes for longer than 1 ms; `root` has /sys and /dev."""
    device = (root / path.lstrip("/")).resolve().name
    timer = root / "sys/bus/usb-serial/devices" / device / "latency_timer"
    try:
        latency_ms = int(timer.read_text())
    except (OSError, ValueError):
        return
    if latency_ms > LATENCY_MS:
        raise DriverError(
            f"port {path}: latency timer of {latency_ms} ms, which the arm's rate cannot bear:"
            f" echo {LATENCY_MS} > /{timer.relative_to(root)}"
        )


def open_port(path: str, baud: int) -> SerialPort:
    """Open a port that is quick enough for an arm; DriverError says what to do where there is none."""
    port = SerialPort(path, baud)
    try:
        require_quick(path)
    except DriverError:
        port.close()
        raise
    return port


def emulated_port(run_dir: str, side: Side) -> Path:
    """Return where a run's emulator puts the port of an arm."""
    return Path(run_dir) / bus_name(run_dir, side)


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "usermod -aG dialout $USER, then log in again"
    return "plug it in; its stable name is under /dev/serial/by-id"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno is not None else str(error)
