"""What an expert is: a scripted demonstrator in joint space."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.plant import Plant


class Expert(Protocol):
    """Looks at the simulation's true state and commands joint positions, 50 times a second.

    `phase` names what it is doing, for people; `commanded` is its last target, shape (14,), as `act` returned it.
    """

    phase: str

    @property
    def commanded(self) -> NDArray[np.float64]: ...

    def reset(self, plant: Plant) -> None:
        """Start an episode from the plant's present state."""

    def adopt(self, position: NDArray[np.float64], velocity: NDArray[np.float64]) -> None:
        """Go on from what was commanded instead of the last target: rad and rad/s, shapes (14,)."""

    def act(self, plant: Plant) -> NDArray[np.float64]:
        """Position target for the next 20 ms, shape (14,), `runtime.layout` order."""
        ...
