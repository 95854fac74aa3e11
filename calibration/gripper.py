"""A gripper's range: moved by hand, or by commands, from closed to open; where its readings really end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from calibration.recorded import ArmHistory
from runtime.errors import LeadtimeError
from runtime.layout import ARM_GRIPPER

STROKE_MIN: Final = 0.7
"""A movement over less of the stroke did not reach both ends."""
DWELL: Final = 0.01
"""The share of the readings that must lie at either end: a single wild reading is no end."""
STEADY: Final = 0.01
"""Where the readings at an end are farther apart, the gripper was on its way there and not at it for long enough."""


@dataclass(frozen=True)
class GripperRange:
    """Readings, as fractions of the nominal stroke, at the ends of the real one."""

    closed: float
    open: float
    samples: int

    def fraction(self, reading: float) -> float:
        """Return the real opening, 0 to 1, at a reading."""
        return float(np.clip((reading - self.closed) / (self.open - self.closed), 0.0, 1.0))


def estimate(history: ArmHistory) -> GripperRange:
    """Find the ends of a gripper's range; LeadtimeError where it did not go from one to the other and stay there."""
    readings = history.measured[:, ARM_GRIPPER]
    if not len(readings):
        raise LeadtimeError("no feedback of the gripper")
    ends = (DWELL / 2.0, DWELL, 1.0 - DWELL, 1.0 - DWELL / 2.0)
    below, closed, opened, above = (float(value) for value in np.quantile(readings, ends))
    if opened - closed < STROKE_MIN:
        raise LeadtimeError(f"the gripper went from {closed:.2f} to {opened:.2f}; move it from closed to fully open")
    if max(closed - below, above - opened) > STEADY:
        raise LeadtimeError(
            f"the gripper was at an end for less than {DWELL:.0%} of the run; leave it closed, and fully open, longer"
        )
    return GripperRange(closed, opened, len(readings))
