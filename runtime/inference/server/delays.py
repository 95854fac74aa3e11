"""Delay processes: how long each answer of a policy server takes, by chance and by the time that has passed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.clock import NS_PER_MS, NS_PER_S

LATENCY_MS_MAX: Final = 60_000.0
JITTER_SIGMA: Final = 0.1
"""Spread of the answers around a process whose level moves: lognormal, this sigma of the logarithm."""


@dataclass(frozen=True)
class ConstantLatency:
    """The same latency for every request."""

    median_ms: float

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int:  # noqa: ARG002
        """Return the latency in nanoseconds."""
        return round(self.median_ms * NS_PER_MS)


@dataclass(frozen=True)
class LognormalLatency:
    """Independent latencies, median * exp(sigma * N(0, 1)), capped at 60 s."""

    median_ms: float
    sigma: float

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int:  # noqa: ARG002
        """Return a latency in nanoseconds."""
        return _jittered_ns(rng, self.median_ms, self.sigma)


class TraceLatency:
    """Recorded latencies, played in order and from the start again after the last."""

    def __init__(self, latencies_ms: list[float]) -> None:
        self._latencies_ms = latencies_ms
        self._next = 0

    @property
    def median_ms(self) -> float:
        """The median of the recorded latencies in milliseconds."""
        return float(np.median(self._latencies_ms))

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int:  # noqa: ARG002
        """Return the next recorded latency in nanoseconds."""
        latency_ms = self._latencies_ms[self._next]
        self._next = (self._next + 1) % len(self._latencies_ms)
        return round(latency_ms * NS_PER_MS)


@dataclass(frozen=True)
class DriftLatency:
    """A level that swings as a sinusoid from `low_ms` (at the start) to `high_ms` and back in `period_s`; jitter."""

    low_ms: float
    high_ms: float
    period_s: float

    @property
    def median_ms(self) -> float:
        """The middle of the swing in milliseconds."""
        return (self.low_ms + self.high_ms) / 2.0

    def level_ms(self, elapsed_ns: int) -> float:
        """Return the level at a time in milliseconds."""
        phase_rad = 2.0 * math.pi * (elapsed_ns / NS_PER_S) / self.period_s
        return self.median_ms - (self.high_ms - self.low_ms) / 2.0 * math.cos(phase_rad)

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int:
        """Return a latency in nanoseconds."""
        return _jittered_ns(rng, self.level_ms(elapsed_ns))


@dataclass(frozen=True)
class BurstLatency:
    """`factor` times the latency during the last `length_s` of every `every_s`; jitter."""

    median_ms: float
    factor: float
    every_s: float
    length_s: float

    def level_ms(self, elapsed_ns: int) -> float:
        """Return the level at a time in milliseconds."""
        in_burst = (elapsed_ns / NS_PER_S) % self.every_s >= self.every_s - self.length_s
        return self.median_ms * self.factor if in_burst else self.median_ms

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int:
        """Return a latency in nanoseconds."""
        return _jittered_ns(rng, self.level_ms(elapsed_ns))


@dataclass(frozen=True)
class SwitchLatency:
    """A square wave: `first_ms` for the first half of every `period_s`, `second_ms` for the other; jitter."""

    first_ms: float
    second_ms: float
    period_s: float

    @property
    def median_ms(self) -> float:
        """The middle between the two levels in milliseconds."""
        return (self.first_ms + self.second_ms) / 2.0

    def level_ms(self, elapsed_ns: int) -> float:
        """Return the level at a time in milliseconds."""
        in_first = (elapsed_ns / NS_PER_S) % self.period_s < self.period_s / 2.0
        return self.first_ms if in_first else self.second_ms

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int:
        """Return a latency in nanoseconds."""
        return _jittered_ns(rng, self.level_ms(elapsed_ns))


@dataclass(frozen=True)
class DropLatency:
    """The same latency for every request; `percent` of the answers, each independently, are lost."""

    median_ms: float
    percent: float

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int | None:  # noqa: ARG002
        """Return the latency in nanoseconds, None for a lost answer."""
        lost = 100.0 * float(rng.random()) < self.percent
        return None if lost else round(self.median_ms * NS_PER_MS)


def _jittered_ns(rng: np.random.Generator, level_ms: float, sigma: float = JITTER_SIGMA) -> int:
    drawn_ms = level_ms * math.exp(sigma * float(rng.standard_normal()))
    return round(min(drawn_ms, LATENCY_MS_MAX) * NS_PER_MS)
