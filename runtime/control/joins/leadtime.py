"""Our join: committed steps stay, and whatever step is left at the seam is taken out of position and velocity."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.control.joins.quintic import Motion, quintic
from runtime.control.joins.timed import from_tick
from runtime.control.plan import PAST_TICKS, Chunk, Joined, Plan
from runtime.layout import GRIPPER_INDEX, RIG_DOF

Array = NDArray[np.float64]

BLEND_TICKS: Final = 10
"""200 ms at 50 Hz. A step of D over n ticks costs 60 D / n^3 of jerk: in 10 ticks 0.18 rad are within what an X5 may
do, and an execution horizon is rarely shorter, so that one offset is gone before the next seam."""
LED_BACK_TICKS: Final = 6
"""Steps that tell where a chunk came from: enough to average its noise, few enough for a parabola."""
_GRIPPERS: Final = list(GRIPPER_INDEX)
_STILL: Final = np.zeros(RIG_DOF)
_REST: Final = Motion(_STILL, _STILL, _STILL)


class Leadtime:
    """In time, the plan stays until the end of the conditioned prefix; later than that, the chunk acts at once.

    A late chunk loses what has elapsed, and no action is moved in time. At either seam the plan's last two actions
    are compared with what the chunk has for the same ticks. How far apart they are, in position and velocity, is an
    offset that the chunk carries on from there and that comes to rest at zero within `BLEND_TICKS`; where the two
    agree there is none. Before that the chunk's sampling noise is smoothed. Grippers are the chunk's own.
    """

    def join(self, plan: Plan, chunk: Chunk) -> Joined | None:
        """Return the chunk after its prefix, or what has not elapsed of a late one, led on from the plan."""
        joined = from_tick(plan, chunk, chunk.start_tick + chunk.prefix_len)
        if joined is None:
            return None
        steps = smoothed(chunk)
        seam = joined.first_tick - chunk.start_tick
        executed = np.concatenate((plan.past, plan.actions))
        last = joined.first_tick - plan.first_tick + PAST_TICKS - 1
        before, here = executed[last - 1 : last + 1] - leading_to(steps, seam, min(chunk.prefix_len, seam))
        offset = quintic(Motion(here, here - before, _STILL), _REST, BLEND_TICKS)[1:-1]
        actions = steps[seam:]
        actions[: len(offset)] += offset[: len(actions)]
        actions[:, _GRIPPERS] = joined.actions[:, _GRIPPERS]
        return Joined(joined.first_tick, actions)


def smoothed(chunk: Chunk) -> Array:
    """Return a chunk's actions (H, 14) with half of their noise; the prefix, and the first and last step, are kept.

    The weights (1, 4, 1) / 6 of the uniform cubic B-spline (de Boor 1978): symmetric, so that nothing comes later
    than it did, and a straight line stays one.
    """
    steps = chunk.actions.copy()
    sampled = chunk.actions[chunk.prefix_len :]
    here = sampled[1:-1]
    steps[chunk.prefix_len + 1 : -1] += ((sampled[:-2] - here) + (sampled[2:] - here)) / 6.0
    return steps


def leading_to(steps: Array, seam: int, first: int) -> Array:
    """Return what a chunk's steps (H, 14) from `first` <= `seam` on have for the two ticks before `seam`, (2, 14).

    Before its first step a chunk is led back along the parabola through the next `LED_BACK_TICKS`. A prefix says
    nothing: it is the plan's own, and a policy may part from it with a step.
    """
    near = steps[first : first + LED_BACK_TICKS]
    rows = [steps[i] if i >= first else _led_back(near, first - i) for i in (seam - 2, seam - 1)]
    return np.stack(rows)


def _led_back(rows: Array, ticks: int) -> Array:
    """Return the least-squares parabola through rows (n, 14), so many ticks before the first.

    By discrete orthogonal polynomials; a straight line through two rows, the row itself where there is one.
    """
    count = len(rows)
    x = np.arange(count) - 0.5 * (count - 1)
    at = -0.5 * (count - 1) - ticks
    weights = np.full(count, 1.0 / count)
    if count > 1:
        weights += at * x / (x**2).sum()
    if count > 2:
        bowl = x**2 - (x**2).mean()
        weights += (at**2 - (x**2).mean()) * bowl / (bowl**2).sum()
    led: Array = (weights[:, None] * rows).sum(axis=0)
    return led
