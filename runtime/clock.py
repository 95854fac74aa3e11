"""The robot host's monotonic clock, and its virtual twin for everything that is tested or replayed."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import Final, Protocol

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
NS_PER_US: Final = 1_000

_CLOCK_MONOTONIC: Final = 1
_TIMER_ABSTIME: Final = 1
_EINTR: Final = 4


class Timespec(ctypes.Structure):
    """A time as the C library takes it."""

    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


libc: Final = ctypes.CDLL(None, use_errno=True)
"""The C library, for what Python has no call of."""


class Clock(Protocol):
    """Reads and waits for a time; implemented by the monotonic and the virtual clock."""

    def now_ns(self) -> int:
        """Return the time in nanoseconds."""

    def sleep_until_ns(self, t_ns: int) -> None:
        """Return at `t_ns`, or at once when it has passed."""


class MonotonicClock:
    """CLOCK_MONOTONIC with absolute sleep and a short spin before the due time; any thread may use it.

    `spin_ns` trades processor time for punctuality: the sleep ends that much early and the rest is spun.
    """

    def __init__(self, spin_ns: int = 0) -> None:
        self._spin_ns = spin_ns

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def sleep_until_ns(self, t_ns: int) -> None:
        """Sleep with an absolute deadline (clock_nanosleep), then spin for at most `spin_ns`."""
        wake_ns = t_ns - self._spin_ns
        if wake_ns > time.monotonic_ns():
            # Of this call alone: threads that share a clock sleep at the same time.
            until = ctypes.byref(Timespec(*divmod(wake_ns, NS_PER_S)))
            while (
                libc.clock_nanosleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, until, None) == _EINTR
                and time.monotonic_ns() < wake_ns
            ):
                pass
        while time.monotonic_ns() < t_ns:
            pass


class VirtualClock:
    """A clock that moves only when told to or slept on; the same calls give the same times on any machine."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the virtual time in nanoseconds."""
        return self._now_ns

    def sleep_until_ns(self, t_ns: int) -> None:
        """Move to `t_ns` at once; never backwards."""
        self._now_ns = max(self._now_ns, t_ns)

    def advance_ns(self, duration_ns: int) -> None:
        """Move forward by a duration; a negative one is refused with ValueError."""
        if duration_ns < 0:
            raise ValueError(f"a clock cannot go back: {duration_ns} ns")
        self._now_ns += duration_ns


@dataclass(frozen=True)
class TickBase:
    """The two tick grids of a run: servo ticks, and policy ticks of `ratio` servo ticks each, from `t0_ns`."""

    t0_ns: int
    servo_hz: int
    policy_hz: int

    @property
    def ratio(self) -> int:
        """Servo ticks in a policy tick."""
        return self.servo_hz // self.policy_hz

    @property
    def servo_period_ns(self) -> int:
        """Length of a servo tick."""
        return NS_PER_S // self.servo_hz

    @property
    def policy_period_ns(self) -> int:
        """Length of a policy tick."""
        return self.servo_period_ns * self.ratio

    def servo_tick(self, t_ns: int) -> int:
        """Return the servo tick under way at a time."""
        return (t_ns - self.t0_ns) // self.servo_period_ns

    def servo_time_ns(self, servo_tick: int) -> int:
        """Return the time at which a servo tick is due."""
        return self.t0_ns + servo_tick * self.servo_period_ns

    def tick(self, t_ns: int) -> int:
        """Return the policy tick under way at a time."""
        return (t_ns - self.t0_ns) // self.policy_period_ns

    def time_ns(self, tick: int) -> int:
        """Return the time at which a policy tick begins."""
        return self.t0_ns + tick * self.policy_period_ns
