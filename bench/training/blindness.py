"""Bursts in which an expert of balance does not look: without them its commands would tell where the ball is."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.training.disturbance import Disturbance
from runtime.drivers.sim.experts.balance import LEAN_MAX_RAD, BalanceExpert
from runtime.drivers.sim.experts.expert import Expert
from runtime.drivers.sim.plant import Plant

CALM_TICKS: Final = (10, 50)
BLIND_TICKS: Final = (6, 30)
BLIND_SHARE: Final = 0.7
LEAN_RAD: Final = 0.6 * LEAN_MAX_RAD
OTHER_LEAN_SHARE: Final = 0.1


class Blindness(Disturbance):
    """A disturbance most of whose bursts lean the tray at random and carry it on, whatever the ball does.

    A prefix of the expert's own commands is its answer to the ball: a policy would learn to copy it and not to look.
    """

    def __init__(self, rng: np.random.Generator, *, enabled: bool) -> None:
        super().__init__(rng, enabled=enabled, calm_ticks=CALM_TICKS)

    def _begin(self, expert: Expert) -> None:
        if isinstance(expert, BalanceExpert) and self._rng.random() < BLIND_SHARE:
            expert.blind_rad = self._rng.normal(0.0, LEAN_RAD, 2)
            self._left = self._draw(BLIND_TICKS)
        else:
            super()._begin(expert)

    def _burst(self, expert: Expert, plant: Plant) -> NDArray[np.float64]:
        if not isinstance(expert, BalanceExpert) or expert.blind_rad is None:
            return super()._burst(expert, plant)
        if self._rng.random() < OTHER_LEAN_SHARE:
            expert.blind_rad = self._rng.normal(0.0, LEAN_RAD, 2)
        return expert.act(plant)
