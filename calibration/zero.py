"""Joint zeros: an arm held in a jig, or at a stop, of known angles; what its feedback is off by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.recorded import ArmHistory
from runtime.errors import LeadtimeError
from runtime.layout import ARM_JOINTS

Array = NDArray[np.float64]

STILL_RAD: Final = 0.01
"""An arm whose joints wander by more than this was not held still."""
FAR_RAD: Final = 0.2
"""An offset beyond this is no zero but another pose, or an arm that was assembled wrongly."""
SAMPLES_MIN: Final = 20


@dataclass(frozen=True)
class ZeroOffsets:
    """`offset_rad` (6,) to add to the feedback, from `samples` that are at most `spread_rad` from their median."""

    offset_rad: Array
    spread_rad: float
    samples: int


def estimate(history: ArmHistory, jig_rad: Array) -> ZeroOffsets:
    """Compare an arm's feedback with the jig's angles (6,).

    Raises:
        LeadtimeError: too little feedback, an arm that moved, or one that was somewhere else.
    """
    joints = history.measured[:, :ARM_JOINTS]
    if len(joints) < SAMPLES_MIN:
        raise LeadtimeError(f"{len(joints)} feedbacks of the arm; it takes {SAMPLES_MIN} in the jig")
    middle = np.median(joints, axis=0)
    spread = np.abs(joints - middle).max(axis=0)
    if spread.max() > STILL_RAD:
        i = int(spread.argmax())
        raise LeadtimeError(f"joint{i + 1} moved by {spread[i]:.3f} rad; hold the arm still in the jig")
    offset = jig_rad - middle
    if np.abs(offset).max() > FAR_RAD:
        i = int(np.abs(offset).argmax())
        raise LeadtimeError(f"joint{i + 1} is {offset[i]:+.2f} rad from the jig's angle; is the arm in this pose?")
    return ZeroOffsets(offset, float(spread.max()), len(joints))
