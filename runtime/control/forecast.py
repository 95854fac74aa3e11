"""The forecast of the inference delay: an upper quantile, in policy ticks, with a coverage that is held."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

COVERAGE_TARGET: Final = 0.98
WINDOW: Final = 64
"""Answers remembered: the worst one is forgotten after as many more."""
GAIN: Final = 0.02
"""Step of the online correction of the quantile level per answer."""


class DelayForecast:
    """Adaptive conformal upper quantile of the delay of the last `window` answers.

    Gibbs & Candes, "Adaptive conformal inference under distribution shift" (2021), eq. 2: the miss level used,
    alpha, moves by gain * (target miss rate - missed) with each answer, so the long-run miss rate is the target
    under any drift. Delays are whole ticks from an observation's tick to the first tick at which its answer
    could act. `initial_ticks` is the forecast before the first answer.
    """

    def __init__(
        self,
        initial_ticks: int = 1,
        coverage_target: float = COVERAGE_TARGET,
        window: int = WINDOW,
        gain: float = GAIN,
    ) -> None:
        self.coverage_target = coverage_target
        self._gain = gain
        self._alpha = 1.0 - coverage_target
        self._delays: deque[int] = deque(maxlen=window)
        self._forecast = max(initial_ticks, 1)
        self._count = 0
        self._covered = 0
        self._surplus = 0

    def observe(self, delay_ticks: int, forecast_ticks: int | None = None, *, cold: bool = False) -> None:
        """Learn from an answer: its delay, and the forecast of its request (None: no answer came since).

        A cold answer (the first of an epoch, which may wait for a warm-up) teaches nothing.
        """
        if cold:
            return
        forecast_ticks = self._forecast if forecast_ticks is None else forecast_ticks
        covered = delay_ticks <= forecast_ticks
        # With no delays to rank yet, a forecast was only the initial guess: it is no hit and no miss.
        if self._delays:
            self._count += 1
            self._covered += covered
            self._surplus += max(forecast_ticks - delay_ticks, 0)
            miss_target = 1.0 - self.coverage_target
            alpha = self._alpha + self._gain * (miss_target - (not covered))
            self._alpha = min(max(alpha, -self._gain), 1.0)
        self._delays.append(delay_ticks)
        self._forecast = self._quantile()

    def _quantile(self) -> int:
        ranked = sorted(self._delays)
        if self._alpha < 0.0:
            # Even the worst delay remembered is missed too often: one tick more, and no unbounded set.
            return ranked[-1] + 1
        rank = math.ceil((1.0 - self._alpha) * len(ranked))
        return max(ranked[max(rank, 1) - 1], 1)

    @property
    def forecast_ticks(self) -> int:
        """The forecast for a request made now."""
        return self._forecast

    @property
    def count(self) -> int:
        """Forecasts that have met their answer."""
        return self._count

    @property
    def covered(self) -> int:
        """How many of them were at least the delay."""
        return self._covered

    @property
    def coverage(self) -> float:
        """The share of them that was at least the delay; NaN before the first."""
        return self._covered / self._count if self._count else math.nan

    @property
    def overprovision_ticks(self) -> int:
        """Sum over the covered forecasts of forecast minus delay."""
        return self._surplus
