"""Between the steps of a policy and the ticks of a rig, where a step lasts more than a tick."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.control.strategy import FULL_SPEED, stretched_span
from runtime.layout import GRIPPER_INDEX

Array = NDArray[np.float64]

_GRIPPERS: Final = list(GRIPPER_INDEX)


@dataclass(frozen=True)
class Pacing:
    """Step j of the policy is due `stretch` * j ticks after the observation; rows are (n, 14), row 0 at offset 0.

    Between two rows joints follow a cubic Hermite spline through them, as on the timeline, and grippers jump to the
    nearer row: a half-closed gripper that nobody asked for would drop what it holds. With a stretch of 1 everything is
    passed on as it is.
    """

    stretch: Fraction = FULL_SPEED

    def to_ticks(self, chunk: Array) -> Array:
        """Return a policy's chunk (H, 14) as actions at ticks (H', 14), its last step not exceeded.

        H' is at most CHUNK_STEPS_MAX, the longest chunk that a run takes: what would lie beyond is cut.
        """
        return resample(chunk, 1 / self.stretch, stretched_span(len(chunk), self.stretch))

    def to_policy(self, rows: Array) -> Array:
        """Return actions at ticks (n, 14), such as a prefix, as the policy's steps within the same time."""
        return resample(rows, self.stretch, self.to_steps(len(rows)))

    def to_steps(self, ticks: int) -> int:
        """Return how many steps are due within so many ticks, the first included."""
        return (ticks - 1) * self.stretch.denominator // self.stretch.numerator + 1

    def velocity(self, measured: Array) -> Array:
        """Return a measured velocity as the policy knows it, at its own pace: a slowed arm looks as fast as ever."""
        return measured if self.stretch == FULL_SPEED else measured * float(self.stretch)


def ticks_of(steps: int, pace: Fraction) -> int:
    """Return how many ticks lie within the time from the first to the last of some steps of `pace` ticks."""
    return int((steps - 1) * pace) + 1 if steps else 0


def resample(rows: Array, ratio: Fraction, count: int) -> Array:
    """Return what is at the places `ratio` * i of the rows (n, 14), for i < `count`; none lies beyond the last."""
    if ratio == FULL_SPEED or len(rows) < 2:
        return rows[:count]
    before, part = np.divmod(np.arange(count) * ratio.numerator, ratio.denominator)
    after = np.minimum(before + 1, len(rows) - 1)
    x = (part / ratio.denominator)[:, None]
    slopes = np.gradient(rows, axis=0)
    start, rise = rows[before], rows[after] - rows[before]
    leaving, arriving = slopes[before], slopes[after]
    between = x * (leaving + x * (3.0 * rise - 2.0 * leaving - arriving + x * (leaving + arriving - 2.0 * rise)))
    sampled: Array = start + between
    nearer = np.where(2 * part <= ratio.denominator, before, after)
    sampled[:, _GRIPPERS] = rows[nearer][:, _GRIPPERS]
    return sampled
