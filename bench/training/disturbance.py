"""Bursts of disturbance on an expert's commands, smooth enough to be somebody's executed actions."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.experts.expert import Expert
from runtime.drivers.sim.plant import Plant
from runtime.layout import ARM_JOINTS, ARM_SLICE, RIG_DOF, SIDES

TICK_S: Final = 0.02
PUSH_RAD: Final = 0.05
"""Standard deviation of a push in each joint: two to three centimetres at the hand."""
CALM_TICKS: Final = (35, 110)
PUSH_TICKS: Final = (8, 25)
FREEZE_TICKS: Final = (6, 30)
FREEZE_SHARE: Final = 0.3
WAIT_TICKS: Final = 30
WAIT_SHARE: Final = 0.4
DECAY: Final = 0.7
"""A freeze brakes: each tick keeps this share of the last tick's velocity."""


class Disturbance:
    """Alternates calm ticks (the expert's commands) with bursts: a push of the joints, or a freeze."""

    def __init__(self, rng: np.random.Generator, *, enabled: bool, calm_ticks: tuple[int, int] = CALM_TICKS) -> None:
        self.enabled = enabled
        self._rng = rng
        self._calm_ticks = calm_ticks
        self._calm = self._draw((2, calm_ticks[1]))
        # Some episodes begin with a wait: a policy's first answer takes its time while the scene goes on.
        self._left = self._draw((1, WAIT_TICKS)) if enabled and rng.random() < WAIT_SHARE else 0
        self._length = 1
        self._push: NDArray[np.float64] | None = None
        self._last: NDArray[np.float64] | None = None
        self._velocity = np.zeros(RIG_DOF)

    def next(self, expert: Expert, plant: Plant) -> tuple[NDArray[np.float64], bool]:
        """The command (14,) for this tick and whether it is not the expert's own."""
        if self._left > 0:
            command = self._burst(expert, plant)
            self._left -= 1
            self._remember(command)
            if self._left == 0:
                self._push = None
                self._calm = self._draw(self._calm_ticks)
                expert.adopt(command, self._velocity)
            return command, True
        command = expert.act(plant)
        self._remember(command)
        self._calm -= 1
        if self._calm <= 0 and self.enabled:
            self._begin(expert)
        return command, False

    def _begin(self, expert: Expert) -> None:  # noqa: ARG002
        if self._rng.random() < FREEZE_SHARE:
            self._push, self._length = None, self._draw(FREEZE_TICKS)
        else:
            self._push, self._length = np.zeros(RIG_DOF), self._draw(PUSH_TICKS)
            sides = SIDES if self._rng.random() < 0.3 else (SIDES[self._rng.integers(len(SIDES))],)
            for side in sides:
                joints = ARM_SLICE[side].start + np.arange(ARM_JOINTS)
                self._push[joints] = self._rng.normal(0.0, PUSH_RAD, ARM_JOINTS)
        self._left = self._length

    def _burst(self, expert: Expert, plant: Plant) -> NDArray[np.float64]:
        if self._push is None or self._last is None:
            start = plant.position() if self._last is None else self._last
            return start + self._velocity * DECAY * TICK_S
        phase = (self._length - self._left + 1) / self._length
        return expert.act(plant) + self._push * phase**3 * (10 - 15 * phase + 6 * phase**2)

    def _remember(self, command: NDArray[np.float64]) -> None:
        if self._last is not None:
            self._velocity = (command - self._last) / TICK_S
        self._last = command

    def _draw(self, bounds: tuple[int, int]) -> int:
        return int(self._rng.integers(*bounds, endpoint=True))
