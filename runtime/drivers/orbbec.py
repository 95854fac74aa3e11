"""Orbbec cameras: pyorbbecsdk needs an environment of its own, so it runs in a process of that environment."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.devices import OrbbecCamera
from runtime.drivers.base import DriverError, Frame
from runtime.drivers.orbbec_host import ERROR, FRAME, FRAME_KIND, HEADER, READY
from runtime.drivers.stamps import Stamper

HOST: Final = Path(__file__).parent / "orbbec_host.py"
START_NS: Final = 20 * NS_PER_S
"""Well within the time after which the camera process takes its driver for hung and starts anew, with every camera."""
END_S: Final = 1.0
TEXT_BYTES_MAX: Final = 1000
READ_BYTES: Final = 1 << 20
NS_PER_US: Final = 1000


class Orbbec:
    """The colour pictures of one camera through its host process; implements `CameraDriver`."""

    def __init__(self, name: str, config: OrbbecCamera, clock: Clock) -> None:
        self._name, self._config, self._clock = name, config, clock
        self._host: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._stamper = Stamper(NS_PER_S // config.rate_hz, round(config.delay_ms * NS_PER_MS))
        self._frame_bytes = FRAME.size + 3 * config.width_px * config.height_px

    def open(self) -> None:
        """Start the host process and wait until its camera streams.

        Raises:
            DriverError: there is no such interpreter, package, camera or mode.
        """
        config = self._config
        mode = [str(value) for value in (config.width_px, config.height_px, config.rate_hz)]
        python = Path(shutil.which(config.python) or config.python).absolute()
        try:
            self._host = subprocess.Popen(
                [python, str(HOST), config.serial, *mode],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # The package leaves a folder of logs where it runs.
                cwd=tempfile.gettempdir(),
                env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            )
        except OSError as error:
            raise DriverError(f"{self._what}: python {config.python}: {error.strerror}") from None
        deadline_ns = self._clock.now_ns() + START_NS
        while (message := self._message()) is None:
            if self._clock.now_ns() > deadline_ns:
                raise DriverError(f"{self._what}: did not start within {START_NS // NS_PER_S} s")
            self._receive(100 * NS_PER_MS)
        if message[0] != READY:
            raise DriverError(f"{self._what}: its host does not keep the protocol")

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        """Return the frames that arrived, oldest first; DriverError when the host or the camera is gone."""
        deadline_ns = self._clock.now_ns() + timeout_ns
        while not (frames := self._frames()):
            wait_ns = deadline_ns - self._clock.now_ns()
            self._receive(max(wait_ns, 0))
            if wait_ns <= 0:
                return self._frames()
        return frames

    def close(self) -> None:
        """End the host process."""
        if self._host is None:
            return
        host, self._host = self._host, None
        host.terminate()
        if host.stdout is not None:
            host.stdout.close()
        try:
            host.wait(END_S)
        except subprocess.TimeoutExpired:
            host.kill()
            host.wait()
        self._buffer.clear()

    @property
    def _what(self) -> str:
        return f"Orbbec {self._config.serial}"

    def _receive(self, timeout_ns: int) -> None:
        """Take what the host has written, waiting for it; DriverError when it has ended."""
        if self._host is None or self._host.stdout is None:
            raise DriverError(f"{self._what} is not open")
        fd = self._host.stdout.fileno()
        if not select.select([fd], [], [], timeout_ns / NS_PER_S)[0]:
            return
        data = os.read(fd, READ_BYTES)
        if not data:
            raise DriverError(f"{self._what}: its host process has ended")
        self._buffer += data

    def _message(self) -> tuple[bytes, bytes] | None:
        """Return the next whole message."""
        if len(self._buffer) < HEADER.size:
            return None
        length, kind = HEADER.unpack_from(self._buffer)
        bound = {READY: 0, FRAME_KIND: self._frame_bytes, ERROR: TEXT_BYTES_MAX}.get(kind, -1)
        if length > bound or (kind == FRAME_KIND and length != bound):
            raise DriverError(f"{self._what}: its host does not keep the protocol")
        if len(self._buffer) < HEADER.size + length:
            return None
        body = bytes(self._buffer[HEADER.size : HEADER.size + length])
        del self._buffer[: HEADER.size + length]
        if kind == ERROR:
            raise DriverError(f"{self._what} {' '.join(body.decode(errors='replace').split())}")
        return kind, body

    def _frames(self) -> tuple[Frame, ...]:
        frames = []
        while (message := self._message()) is not None:
            frame = self._frame(message[1])
            if frame is not None:
                frames.append(frame)
        return tuple(frames)

    def _frame(self, body: bytes) -> Frame | None:
        device_us, _, arrival_ns = FRAME.unpack_from(body)
        # Both processes read the same monotonic clock; a host that says otherwise is not believed.
        arrival_ns = min(arrival_ns, self._clock.now_ns())
        stamp = self._stamper.take("the camera's", device_us * NS_PER_US if device_us >= 0 else None, arrival_ns)
        if stamp is None:
            return None
        shape = (self._config.height_px, self._config.width_px, 3)
        return Frame(self._name, stamp.t_ns, np.frombuffer(body, np.uint8, offset=FRAME.size).reshape(shape))
