"""Ways to forecast the inference delay: what others do and what this runtime does, behind one interface."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.control.forecast import DelayForecast

OURS: Final = "leadtime"
Rule = Callable[[Sequence[int]], float]


class Estimator(Protocol):
    """Forecasts the next delay in whole ticks from those before it."""

    @property
    def forecast_ticks(self) -> int:
        """The forecast for a request made now."""

    def observe(self, delay_ticks: int, forecast_ticks: int | None = None, *, cold: bool = False) -> None:
        """Learn from an answer; `cold` is one that waited for a warm-up."""

    def overdue(self, waited_ticks: int) -> None:
        """Learn from a request that is still out."""

    def lost(self, waited_ticks: int) -> None:
        """Learn from a request that is given up."""


class OfAnswers:
    """What the estimators of others have in common: they learn from answers alone."""

    def __init__(self) -> None:
        self._forecast = 1.0

    @property
    def forecast_ticks(self) -> int:
        """The forecast for a request made now: what was computed, in whole ticks upward."""
        return max(math.ceil(self._forecast - 1e-9), 1)

    def overdue(self, waited_ticks: int) -> None:
        """Learn nothing."""

    def lost(self, waited_ticks: int) -> None:
        """Learn nothing."""


class Windowed(OfAnswers):
    """A rule over the last `window` delays (None: all of them)."""

    def __init__(self, rule: Rule, window: int | None, *, warm: bool = False) -> None:
        super().__init__()
        self._rule = rule
        self._warm = warm
        self._delays: deque[int] = deque(maxlen=window)

    def observe(self, delay_ticks: int, forecast_ticks: int | None = None, *, cold: bool = False) -> None:  # noqa: ARG002
        """Learn from an answer, `warm`: unless it is cold."""
        if not (cold and self._warm):
            self._delays.append(delay_ticks)
            self._forecast = self._rule(self._delays)


class RetransmissionTimeout(OfAnswers):
    """Smoothed delay and four times its smoothed deviation, one tick at least: RFC 6298, rules 2.2 and 2.3."""

    def __init__(self) -> None:
        super().__init__()
        self._smoothed = math.nan
        self._deviation = 0.0

    def observe(self, delay_ticks: int, forecast_ticks: int | None = None, *, cold: bool = False) -> None:  # noqa: ARG002
        """Learn from an answer."""
        if math.isnan(self._smoothed):
            self._smoothed, self._deviation = float(delay_ticks), delay_ticks / 2.0
        else:
            self._deviation += (abs(self._smoothed - delay_ticks) - self._deviation) / 4.0
            self._smoothed += (delay_ticks - self._smoothed) / 8.0
        self._forecast = self._smoothed + max(1.0, 4.0 * self._deviation)


class AdaptiveConformal(OfAnswers):
    """Quantile of the last 64 delays at a level corrected online: Gibbs & Candes 2021, eq. 2, gain 0.02."""

    def __init__(self, miss_target: float = 0.02, window: int = 64, gain: float = 0.02) -> None:
        super().__init__()
        self._miss_target = self._miss = miss_target
        self._gain = gain
        self._delays: deque[int] = deque(maxlen=window)

    def observe(self, delay_ticks: int, forecast_ticks: int | None = None, *, cold: bool = False) -> None:
        """Learn from an answer, unless it is cold."""
        if cold:
            return
        if self._delays and forecast_ticks is not None:
            miss = self._miss + self._gain * (self._miss_target - (delay_ticks > forecast_ticks))
            self._miss = min(max(miss, -self._gain), 1.0)
        self._delays.append(delay_ticks)
        ranked = sorted(self._delays)
        rank = math.ceil((1.0 - self._miss) * len(ranked))
        # Eq. 2 asks for an unbounded set below a miss level of zero; a tick above the worst has to do.
        self._forecast = ranked[-1] + 1.0 if self._miss < 0.0 else float(ranked[max(rank, 1) - 1])


@dataclass(frozen=True)
class Way:
    """A way to forecast: where it comes from, and how one is made."""

    source: str
    make: Callable[[], Estimator]


def _quantile(share: float) -> Rule:
    return lambda delays: float(sorted(delays)[math.ceil(share * len(delays)) - 1])


def _interpolated(share: float) -> Rule:
    def rule(delays: Sequence[int]) -> float:
        ranked, place = sorted(delays), share * (len(delays) - 1)
        low, high = ranked[math.floor(place)], ranked[math.ceil(place)]
        return low + (place - math.floor(place)) * (high - low)

    return rule


def _two_sigma(delays: Sequence[int]) -> float:
    mean = sum(delays) / len(delays)
    return mean + 2.0 * math.sqrt(sum((delay - mean) ** 2 for delay in delays) / len(delays))


ESTIMATORS: Final[dict[str, Way]] = {
    "max of 10": Way("real-time chunking, arXiv 2506.07339: the largest of the last 10", lambda: Windowed(max, 10)),
    "max of all": Way("LeRobot at first (issue 2541, PR 4223): the largest ever", lambda: Windowed(max, None)),
    "p95": Way(
        "LeRobot later: 95 % quantile of the last 100, cold start left out",
        lambda: Windowed(_interpolated(0.95), 100, warm=True),
    ),
    "2 sigma": Way("mean and two standard deviations of the last 64", lambda: Windowed(_two_sigma, 64)),
    "tcp": Way("TCP's retransmission timeout, RFC 6298", RetransmissionTimeout),
    "p98 of 64": Way("Dreamscale: 98 % quantile of the last 64", lambda: Windowed(_quantile(0.98), 64)),
    "conformal": Way("adaptive conformal inference, Gibbs & Candes 2021, on the last 64", AdaptiveConformal),
    OURS: Way("this runtime: runtime/control/forecast.py", DelayForecast),
}
