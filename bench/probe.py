"""One way of waiting for the next tick, run as a process of its own; prints its wake-up latenesses in ns.

`python -m bench.probe WAY SECONDS CPU`, with WAY one of `WAYS`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from runtime import realtime
from runtime.clock import NS_PER_S, MonotonicClock

PERIOD_NS: Final = 5_000_000
"""200 Hz, the servo rate."""


def plain_sleep(ticks: int) -> list[int]:
    """The loop most robot code has: do the work, sleep what is left of the period."""
    lateness = []
    due_ns = time.monotonic_ns()
    for _ in range(ticks):
        due_ns += PERIOD_NS
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / NS_PER_S)
        lateness.append(time.monotonic_ns() - due_ns)
    return lateness


def _absolute(ticks: int, clock: MonotonicClock) -> list[int]:
    lateness = []
    due_ns = clock.now_ns()
    for _ in range(ticks):
        due_ns += PERIOD_NS
        clock.sleep_until_ns(due_ns)
        lateness.append(clock.now_ns() - due_ns)
    return lateness


def absolute_fifo(ticks: int) -> list[int]:
    """Absolute sleep under SCHED_FIFO with memory locked and garbage frozen, no spin."""
    realtime.enter("control")
    return _absolute(ticks, MonotonicClock())


def leadtime(ticks: int) -> list[int]:
    """What the control process does: the same, with its spin before the tick."""
    realtime.enter("control")
    return _absolute(ticks, MonotonicClock(realtime.SPIN_NS))


def busy(ticks: int) -> list[int]:
    """Not a wait at all: ordinary processor load beside the others, for as long."""
    end_ns = time.monotonic_ns() + ticks * PERIOD_NS
    while time.monotonic_ns() < end_ns:
        pass
    return []


WAYS: Final[dict[str, Callable[[int], list[int]]]] = {
    "sleep": plain_sleep,
    "absolute-fifo": absolute_fifo,
    "leadtime": leadtime,
    "busy": busy,
}

if __name__ == "__main__":
    # Ctrl-C reaches it beside the benchmark, which ends in silence.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    way, seconds, cpu = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {cpu})
    found = WAYS[way](round(seconds * NS_PER_S / PERIOD_NS))
    sys.stdout.buffer.write(np.array(found, dtype="<i8").tobytes())
