"""What the experts share: a phase and two goals chosen from what is seen, then one smooth step towards them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.experts.guide import ArmGuide, Goal, Pace
from runtime.drivers.sim.experts.picking import OPEN
from runtime.drivers.sim.experts.view import View, Watcher
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks.cube import Cube
from runtime.errors import LeadtimeError
from runtime.layout import ARM_SLICE, SIDES, Side


@dataclass(frozen=True)
class Intent:
    """What to do now: a phase for people to read, and a goal for each arm that has one (the others go home)."""

    phase: str
    goals: dict[Side, Goal]


class ScriptedExpert(ABC):
    """An expert that decides anew at every tick from the present state, so that it mends what noise has spoilt."""

    def __init__(self, cube: Cube, pace: Pace) -> None:
        self.phase = "start"
        self._cube = cube
        self._pace = pace
        self._guides: dict[Side, ArmGuide] = {}
        self._watcher: Watcher | None = None

    @property
    def commanded(self) -> NDArray[np.float64]:
        """The last target, shape (14,)."""
        return np.concatenate([self._guides[side].commanded for side in SIDES])

    def reset(self, plant: Plant) -> None:
        """Start an episode from the plant's present state; a plant of another model may follow another."""
        self.phase = "start"
        self._watcher = Watcher(plant, self._cube)
        self._guides = {side: ArmGuide(plant, side, self._pace) for side in SIDES}

    def adopt(self, position: NDArray[np.float64], velocity: NDArray[np.float64]) -> None:
        """Go on from what was commanded instead of the last target: rad and rad/s, shapes (14,)."""
        for side, guide in self._guides.items():
            guide.adopt(position[ARM_SLICE[side]], velocity[ARM_SLICE[side]])

    def act(self, plant: Plant) -> NDArray[np.float64]:
        """Position target for the next 20 ms, shape (14,)."""
        if self._watcher is None:
            raise LeadtimeError("the expert must be reset with the plant before it acts")
        view = self._watcher.look(plant)
        intent = self.decide(view)
        self.phase = intent.phase
        home = Goal(None, OPEN)
        return np.concatenate(
            [self._guides[side].follow(intent.goals.get(side, home), view.hands[side].measured) for side in SIDES]
        )

    @abstractmethod
    def decide(self, view: View) -> Intent:
        """Choose the phase and the goals."""
