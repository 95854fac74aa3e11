"""What the numbers of a step of LingBot-VA move: two hands, as it was released, or the joints of both arms."""

from __future__ import annotations

from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.answers import Refuse
from runtime.layout import RIG_DOF, SIDES

HAND: Final = 8
"""Numbers of one hand: x, y, z in m, a quaternion, the gripper."""
HANDS: Final = HAND * len(SIDES)
Rotations = Literal["robotwin", "wxyz", "xyzw"]
"""How the quaternion of a hand is written, see `lingbot_hands`."""


class Moves(Protocol):
    """Rows of the rig (14,) in rad and fractions <-> steps of the model (`channels`,)."""

    channels: int

    def begin(self, start: NDArray[np.float64], /) -> None:
        """Begin an episode with the arms at `start` (14,)."""

    def rows(self, steps: NDArray[np.float64], start: NDArray[np.float64], refuse: Refuse, /) -> NDArray[np.float64]:
        """Return the rows that steps (n, channels) mean, from arms at `start`; raises what `refuse` makes of others."""

    def steps(self, rows: NDArray[np.float64], near: NDArray[np.float64] | None, /) -> NDArray[np.float64]:
        """Return the steps that say what rows (n, 14) are, going on from the step `near`."""


class JointMoves:
    """The 14 numbers of the rig, each times `scale` (14,)."""

    channels = RIG_DOF

    def __init__(self, scale: NDArray[np.float64]) -> None:
        self._scale = scale

    def begin(self, _start: NDArray[np.float64]) -> None:
        """Nothing is relative to it."""

    def rows(self, steps: NDArray[np.float64], _start: NDArray[np.float64], _refuse: Refuse) -> NDArray[np.float64]:
        """See Moves."""
        return steps / self._scale

    def steps(self, rows: NDArray[np.float64], _near: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """See Moves."""
        return rows * self._scale
