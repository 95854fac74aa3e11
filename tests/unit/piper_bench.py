"""A Piper driver on an emulated Piper, in virtual time over real sockets."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field

from runtime.arms import PIPER
from runtime.drivers.emulators.piper import PiperEmulator
from runtime.drivers.piper.arm import PiperArm
from runtime.drivers.piper.bus import SocketBus, join_emulated
from tests.fake_arm import KinematicArm, SteppedClock

_NUMBERS = itertools.count()


@dataclass
class PiperBench:
    """One emulated arm on its bus; `arm()` makes drivers for it."""

    behind: KinematicArm = field(default_factory=lambda: KinematicArm(PIPER))
    name: str = field(default_factory=lambda: f"leadtime-test-{os.getpid()}-{next(_NUMBERS)}")

    def __post_init__(self) -> None:
        self.emulator = PiperEmulator(PIPER, self.behind, self.name)
        self.emulator.open()
        self._buses: list[SocketBus] = []
        self.clock = SteppedClock(self.behind.step, self.emulator.step)

    @property
    def faults(self) -> set[str]:
        """The faults of the device, to be changed in place."""
        if self.emulator._injections is None:
            raise LookupError("closed")
        return self.emulator._injections.faults

    def arm(self, rest_rad: tuple[float, ...] = ()) -> PiperArm:
        return PiperArm(PIPER, self.connect, "can0", self.clock, rest_rad)

    def connect(self) -> SocketBus:
        bus = join_emulated(self.name)
        self._buses.append(bus)
        self.clock.sleep_until_ns(self.clock.now_ns() + 2_000_000)
        return bus

    def run(self, span_ns: int) -> None:
        self.clock.sleep_until_ns(self.clock.now_ns() + span_ns)

    def close(self) -> None:
        for bus in self._buses:
            bus.close()
        self.emulator.close()
