"""Latency profiles: how long a policy server takes from receipt to reply, as published, as measured or as imagined."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from runtime.errors import UsageError
from runtime.inference.server.delays import (
    LATENCY_MS_MAX,
    BurstLatency,
    ConstantLatency,
    DriftLatency,
    DropLatency,
    LognormalLatency,
    SwitchLatency,
    TraceLatency,
)

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


class LatencyModel(Protocol):
    """A delay process; `median_ms` is its typical value."""

    @property
    def median_ms(self) -> float:
        """The median latency in milliseconds."""

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int | None:
        """Return the next latency in nanoseconds, 0 to 60 s, or None for an answer that is lost.

        `elapsed_ns` is the time since the server started. All chance comes from `rng`.
        """


@dataclass(frozen=True)
class Number:
    """One number of a form: its name, its range, and its unit."""

    name: str
    low: float
    high: float
    unit: str = ""

    def read(self, text: str, where: str, example: str) -> float:
        """Return the number, or raise UsageError that names what stands in its place."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:
            raise UsageError(
                f"{where}: {self.name} {text.strip()!r} is not a number{self.unit and ' of ' + self.unit} "
                f"from {self.low:g} to {self.high:g}; write for instance {example}"
            )
        return value


@dataclass(frozen=True)
class Form:
    """A form of `--latency`: its numbers in order, an example, and what is made of them."""

    numbers: tuple[Number, ...]
    example: str
    make: Callable[..., LatencyModel]

    @property
    def signature(self) -> str:
        """Return the names of the numbers as one writes them."""
        return ",".join(number.name for number in self.numbers)

    def read(self, text: str, rest: str) -> LatencyModel:
        """Return the delay process that the numbers in `rest` describe; `text` is the whole of what was given."""
        where, parts = f"latency {text!r}", rest.split(",")
        if len(parts) != len(self.numbers):
            raise UsageError(
                f"{where}: {len(parts)} given where {len(self.numbers)} belong ({self.signature}); "
                f"write for instance {self.example}"
            )
        named = zip(self.numbers, parts, strict=True)
        values = [number.read(part, where, self.example) for number, part in named]
        try:
            return self.make(*values)
        except ValueError as error:
            raise UsageError(f"{where}: {error}; write for instance {self.example}") from None


def parse_latency(text: str) -> LatencyModel:
    """Return the delay process that a profile name or a form such as `constant:120` describes.

    Raises:
        UsageError: an unknown name, a number that is missing or out of range, or a trace that cannot be read.
    """
    if text in LATENCY_PROFILES:
        return ConstantLatency(LATENCY_PROFILES[text])
    kind, colon, rest = text.partition(":")
    if colon and kind == "trace":
        return _trace(text, rest)
    if not colon or kind not in _FORMS:
        raise UsageError(f"unknown latency profile {text!r}; valid: {', '.join(LATENCY_PROFILES)}, or {FORMS}")
    return _FORMS[kind].read(text, rest)


def _drift(low_ms: float, high_ms: float, period_s: float) -> LatencyModel:
    if low_ms > high_ms:
        raise ValueError(f"LOW_MS {low_ms:g} is above HIGH_MS {high_ms:g}")
    return DriftLatency(low_ms, high_ms, period_s)


def _burst(median_ms: float, factor: float, every_s: float, length_s: float) -> LatencyModel:
    if length_s > every_s:
        raise ValueError(f"LENGTH_S {length_s:g} is longer than EVERY_S {every_s:g}")
    return BurstLatency(median_ms, factor, every_s, length_s)


def _trace(text: str, rest: str) -> LatencyModel:
    path = Path(rest)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        raise UsageError(
            f"latency {text!r}: cannot read {rest!r}; give a text file with one latency in ms a line"
        ) from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UsageError(f"latency {text!r}: {rest} is empty; give one latency in ms a line")
    return TraceLatency(
        [_ms("latency").read(line, f"{rest}, line {i}", "360") for i, line in enumerate(lines, start=1)]
    )


def _ms(name: str) -> Number:
    return Number(name, 0.0, LATENCY_MS_MAX, "ms")


def _s(name: str) -> Number:
    return Number(name, 0.01, 3600.0, "s")


_FORMS: Final[dict[str, Form]] = {
    "constant": Form((_ms("MS"),), "constant:120", ConstantLatency),
    "lognormal": Form((_ms("MEDIAN_MS"), Number("SIGMA", 0.0, 3.0)), "lognormal:190,0.3", LognormalLatency),
    "drift": Form((_ms("LOW_MS"), _ms("HIGH_MS"), _s("PERIOD_S")), "drift:240,480,8", _drift),
    "burst": Form(
        (_ms("MEDIAN_MS"), Number("FACTOR", 1.0, 100.0), _s("EVERY_S"), _s("LENGTH_S")), "burst:360,3,5,0.4", _burst
    ),
    "switch": Form((_ms("A_MS"), _ms("B_MS"), _s("PERIOD_S")), "switch:120,360,3", SwitchLatency),
    "drop": Form((_ms("MS"), Number("PERCENT", 0.0, 100.0)), "drop:190,5", DropLatency),
}
FORMS: Final = ", ".join([*(f"{kind}:{form.signature}" for kind, form in _FORMS.items()), "trace:FILE"])
