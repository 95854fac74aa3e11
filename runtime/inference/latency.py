"""Latency profiles: how long a policy server takes from receipt to reply, as published or as measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from runtime.clock import NS_PER_MS
from runtime.errors import UsageError

LATENCY_PROFILES: Final[dict[str, float]] = {
    "none": 0.0,
    "pi0": 73.0,
    "fast-wam": 190.0,
    "gigaworld": 360.0,
    "cosmos-policy": 390.0,
    "lingbot-va": 480.0,
    "motus": 1175.0,
}
"""Published latency of one chunk in ms, each on its authors' hardware (not like for like)."""

FORMS: Final = "constant:MS, lognormal:MEDIAN_MS,SIGMA, trace:FILE"
LATENCY_MS_MAX: Final = 60_000.0
SIGMA_MAX: Final = 3.0


class LatencyModel(Protocol):
    """A delay process; `median_ms` is its typical value."""

    @property
    def median_ms(self) -> float:
        """The median latency in milliseconds."""

    def sample(self, rng: np.random.Generator) -> int:
        """Return the next latency in nanoseconds, 0 to 60 s."""


@dataclass(frozen=True)
class ConstantLatency:
    """The same latency for every request."""

    median_ms: float

    def sample(self, rng: np.random.Generator) -> int:  # noqa: ARG002
        """Return the latency in nanoseconds."""
        return round(self.median_ms * NS_PER_MS)


@dataclass(frozen=True)
class LognormalLatency:
    """Independent latencies, median * exp(sigma * N(0, 1)), capped at 60 s."""

    median_ms: float
    sigma: float

    def sample(self, rng: np.random.Generator) -> int:
        """Return a latency in nanoseconds."""
        drawn_ms = self.median_ms * math.exp(self.sigma * float(rng.standard_normal()))
        return round(min(drawn_ms, LATENCY_MS_MAX) * NS_PER_MS)


class TraceLatency:
    """Recorded latencies, played in order and from the start again after the last."""

    def __init__(self, latencies_ms: list[float]) -> None:
        self._latencies_ms = latencies_ms
        self._next = 0

    @property
    def median_ms(self) -> float:
        """The median of the recorded latencies in milliseconds."""
        return float(np.median(self._latencies_ms))

    def sample(self, rng: np.random.Generator) -> int:  # noqa: ARG002
        """Return the next recorded latency in nanoseconds."""
        latency_ms = self._latencies_ms[self._next]
        self._next = (self._next + 1) % len(self._latencies_ms)
        return round(latency_ms * NS_PER_MS)


def parse_latency(text: str) -> LatencyModel:
    """Return the delay process that a profile name or a form such as `constant:120` describes.

    Raises:
        UsageError: an unknown name, a number that is missing or out of range, or a trace that cannot be read.
    """
    if text in LATENCY_PROFILES:
        return ConstantLatency(LATENCY_PROFILES[text])
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _FORMS:
        raise UsageError(f"unknown latency profile {text!r}; valid: {', '.join(LATENCY_PROFILES)}, or {FORMS}")
    return _FORMS[kind](text, rest)


def _constant(text: str, rest: str) -> LatencyModel:
    return ConstantLatency(_milliseconds(rest, f"latency {text!r}", "constant:120"))


def _lognormal(text: str, rest: str) -> LatencyModel:
    where, example = f"latency {text!r}", "lognormal:190,0.3"
    median, comma, sigma = rest.partition(",")
    if not comma:
        raise UsageError(f"{where}: the sigma is missing; write for instance {example}")
    median_ms = _milliseconds(median, where, example)
    try:
        value = float(sigma)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= SIGMA_MAX:
        raise UsageError(f"{where}: sigma {sigma!r} is not a number from 0 to {SIGMA_MAX:g}")
    return LognormalLatency(median_ms, value)


def _trace(text: str, rest: str) -> LatencyModel:
    path = Path(rest)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"latency {text!r}: cannot read {rest!r}; give a text file with one latency in ms a line"
        ) from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UsageError(f"latency {text!r}: {rest} is empty; give one latency in ms a line")
    return TraceLatency([_milliseconds(line, f"{rest}, line {i}", "360") for i, line in enumerate(lines, start=1)])


def _milliseconds(text: str, where: str, example: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= LATENCY_MS_MAX:
        raise UsageError(
            f"{where}: {text.strip()!r} is not a number of ms from 0 to {LATENCY_MS_MAX:g}; "
            f"write for instance {example}"
        )
    return value


_FORMS: Final[dict[str, Callable[[str, str], LatencyModel]]] = {
    "constant": _constant,
    "lognormal": _lognormal,
    "trace": _trace,
}
