"""The delay processes that the forecasts are compared on, and the requests that meet them, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from bench.decoupling.profiles import TICK_MS
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.control.forecast import COVERAGE_TARGET
from runtime.inference.server.delays import JITTER_SIGMA, BurstLatency, LognormalLatency, SwitchLatency, TraceLatency
from runtime.inference.server.latency import LatencyModel, parse_latency

TICK_NS: Final = TICK_MS * NS_PER_MS
SOONEST_TICKS: Final = 10
LATEST_TICKS: Final = 25
"""A request follows the last one when that is answered, no sooner and no later than this many ticks after it."""
STANDSTILL_TICKS: Final = 250
"""An answer that takes longer, like the first one of all, is waited for: the server stands still."""
PHASE_S: Final = 100.0
"""A run begins at a random time within this many seconds of the process."""
OUTLIER_MS: Final = 10_000.0
TRACE_ANSWERS: Final = 1000


class OneOutlier:
    """Lognormal around 190 ms, but the k-th answer takes 10 s."""

    def __init__(self, k: int) -> None:
        self._base = LognormalLatency(190.0, JITTER_SIGMA)
        self._left = k

    @property
    def median_ms(self) -> float:
        """The median latency in milliseconds."""
        return self._base.median_ms

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int:
        """Return the next latency in nanoseconds."""
        self._left -= 1
        drawn_ns = self._base.sample(rng, elapsed_ns)
        return round(OUTLIER_MS * NS_PER_MS) if self._left == -1 else drawn_ns

    def level_ms(self, elapsed_ns: int) -> float:  # noqa: ARG002
        """Return the level of the answer drawn last in milliseconds."""
        return OUTLIER_MS if self._left == -1 else self._base.median_ms


def bursty_trace_ms(rng: np.random.Generator, answers: int) -> list[float]:
    """Return latencies in ms of a server that is now idle, now busy, with a heavy tail in both states.

    A two-state Markov chain over the answers (idle to busy with 2 %, back with 15 %) around 190 and 420 ms, times one
    plus half a Lomax variable of shape 4 and 3; 5 s at most.
    """
    latencies_ms, busy = [], False
    for _ in range(answers):
        busy = bool(rng.random() < (0.85 if busy else 0.02))
        level_ms, shape = (420.0, 3.0) if busy else (190.0, 4.0)
        latencies_ms.append(min(level_ms * (1.0 + float(rng.pareto(shape)) / 2.0), 5000.0))
    return latencies_ms


@dataclass(frozen=True)
class Process:
    """A delay process: what it is, and a fresh one for a run."""

    about: str
    make: Callable[[np.random.Generator], LatencyModel]


def _named(latency: str) -> Process:
    return Process(latency, lambda _rng: parse_latency(latency))


PROCESSES: Final[dict[str, Process]] = {
    "constant": _named("constant:190"),
    "light tail": _named("lognormal:360,0.25"),
    "heavy tail": _named("lognormal:190,0.6"),
    "drift": _named("drift:240,480,20"),
    "fast drift": _named("drift:240,480,8"),
    "short bursts": _named("burst:360,3,5,0.4"),
    "long bursts": _named("burst:120,3,3,1"),
    "rare bursts": _named("burst:190,3,30,3"),
    "switch": _named("switch:120,360,40"),
    "fast switch": _named("switch:120,360,3"),
    "cold start": Process("lognormal:190,0.1, the first answer takes 10 s", lambda _rng: OneOutlier(0)),
    "stall": Process("lognormal:190,0.1, one answer takes 10 s", lambda rng: OneOutlier(int(rng.integers(100, 200)))),
    "drop": _named("drop:190,5"),
    "trace": Process(
        "a server now idle (190 ms), now busy (420 ms), heavy tails",
        lambda rng: TraceLatency(bursty_trace_ms(rng, TRACE_ANSWERS)),
    ),
}


@dataclass(frozen=True)
class Request:
    """A request of a run: when it is made, how long its answer takes (None: it is lost), whether it is cold.

    `ideal_ticks` is the quantile at the coverage target of what its process is just then; None where that is not known.
    """

    tick: int
    delay_ticks: int | None
    cold: bool
    ideal_ticks: int | None


def requests_of(process: Process, seed: tuple[int, ...], count: int) -> list[Request]:
    """Return the requests of a run. When they are made depends on the delays alone, not on any forecast."""
    rng = np.random.default_rng(seed)
    model = process.make(rng)
    begun_ns = round(float(rng.uniform(0.0, PHASE_S)) * NS_PER_S)
    tick, requests = 0, []
    for i in range(count):
        elapsed_ns = begun_ns + tick * TICK_NS
        latency_ns = model.sample(rng, elapsed_ns)
        delay_ticks = None if latency_ns is None else max(-(-latency_ns // TICK_NS), 1)
        requests.append(Request(tick, delay_ticks, i == 0, _ideal_ticks(model, elapsed_ns)))
        if delay_ticks is not None and (i == 0 or delay_ticks > STANDSTILL_TICKS):
            tick += max(delay_ticks, SOONEST_TICKS)
        else:
            tick += min(max(delay_ticks or LATEST_TICKS, SOONEST_TICKS), LATEST_TICKS)
    return requests


def _ideal_ticks(model: LatencyModel, elapsed_ns: int) -> int | None:
    if not isinstance(model, BurstLatency | SwitchLatency | OneOutlier):
        return None
    above = math.exp(JITTER_SIGMA * NormalDist().inv_cdf(COVERAGE_TARGET))
    return math.ceil(model.level_ms(elapsed_ns) * above / TICK_MS)
