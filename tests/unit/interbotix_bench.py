"""An Interbotix driver or leader on emulated servos, in virtual time over real ptys."""

from __future__ import annotations

import fcntl
import itertools
import os
import sys
import tempfile
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

from runtime.arms import VX300S
from runtime.drivers.emulators.dynamixel import DynamixelEmulator, GripperJoint
from runtime.drivers.interbotix.arm import InterbotixArm
from runtime.drivers.interbotix.port import SerialPort
from runtime.drivers.interbotix.table import VX300S_SERVOS, ServoSpec
from tests.fake_arm import KinematicArm, SteppedClock

_NUMBERS = itertools.count()
PATIENCE_S = 1.0


def _waiting(fd: int) -> int:
    """How many bytes a descriptor has to read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def _await_bytes(fd: int, count: int) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while _waiting(fd) < count and time.monotonic() < until_s:
        time.sleep(0)


class CountedPort(SerialPort):
    """A port that tells its bench how many bytes were sent."""

    def __init__(self, bench: DynamixelBench) -> None:
        super().__init__(str(bench.path), 1_000_000)
        self._bench = bench

    def send(self, data: bytes) -> None:
        super().send(data)
        self._bench.sent_bytes += len(data)


@dataclass
class DynamixelBench:
    """One emulated arm on its port; `arm()` makes drivers for it."""

    behind: KinematicArm = field(default_factory=lambda: KinematicArm(VX300S))
    specs: tuple[ServoSpec, ...] = VX300S_SERVOS
    gripper: GripperJoint | None = None
    name: str = field(default_factory=lambda: f"leadtime-test-{os.getpid()}-{next(_NUMBERS)}")

    def __post_init__(self) -> None:
        self.path = Path(tempfile.mkdtemp()) / "port"
        self.emulator = DynamixelEmulator(self.specs, self.behind, self.path, self.name, self.gripper)
        self.emulator.open()
        self.device = self.emulator.device
        self.sent_bytes = 0
        self.clock = SteppedClock(self.behind.step, self._step)
        self.run(2_000_000)

    def _step(self, now_ns: int) -> None:
        """Step the emulator; virtual time stands still until the kernel has handed the bytes over, both ways."""
        pty = self.emulator._pty
        if pty is not None:
            _await_bytes(pty._master, self.sent_bytes)
        self.sent_bytes = 0
        if pty is None:
            self.emulator.step(now_ns)
            return
        there, sent = _waiting(pty._slave), pty.sent_bytes
        self.emulator.step(now_ns)
        if self.emulator._pty is pty:
            _await_bytes(pty._slave, there + pty.sent_bytes - sent)

    @property
    def faults(self) -> set[str]:
        """The faults of the device, to be changed in place."""
        if self.emulator._injections is None:
            raise LookupError("closed")
        return self.emulator._injections.faults

    def arm(self) -> InterbotixArm:
        return InterbotixArm(VX300S, VX300S_SERVOS, self.connect, "ttyDXL", self.clock)

    def connect(self) -> SerialPort:
        return CountedPort(self)

    def run(self, span_ns: int) -> None:
        self.clock.sleep_until_ns(self.clock.now_ns() + span_ns)

    def close(self) -> None:
        self.emulator.close()
        self.path.parent.rmdir()
