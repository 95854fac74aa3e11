"""Two simulated X5 arms as an embodiment, for the systems that move hands."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.embodiment import RigKinematics
from runtime.kinematics.pose import Pose
from runtime.layout import SIDES, Side


@lru_cache(maxsize=1)
def x5_hands() -> RigKinematics:
    return RigKinematics("x5")


def followed(start: NDArray[Any], moves_m: Mapping[Side, NDArray[Any]], openings: NDArray[Any]) -> NDArray[Any]:
    """Return rig rows (n, 14) that take each hand from `start` (14,) along its displacements (n, 3), turning nothing.

    `openings` (n, 2) are the grippers.
    """
    hands, here = x5_hands(), np.asarray(start, dtype=np.float64)
    first = hands.forward(here)
    rows = []
    for i, opening in enumerate(openings):
        goal = {side: Pose(first[side].position + moves_m[side][i], first[side].rotation) for side in SIDES}
        here = hands.joints(goal, here)
        here[[6, 13]] = opening
        rows.append(here)
    return np.array(rows)
