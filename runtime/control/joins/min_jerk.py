"""The join along a minimum-jerk path, whatever the chunk's own first steps are."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.control.joins.quintic import Motion, quintic
from runtime.control.joins.timed import from_tick
from runtime.control.plan import Chunk, Joined, Plan
from runtime.layout import GRIPPER_INDEX

Array = NDArray[np.float64]

BLEND_TICKS: Final = 10
"""Ticks from the plan's last action to the chunk's own, as in LiPo (arXiv 2506.05165)."""
_GRIPPERS: Final = list(GRIPPER_INDEX)


class MinJerk:
    """Aligned, and the joints reach the chunk by a minimum-jerk path from the plan's motion to the chunk's.

    Motion is that of the parabola through three actions: the plan's last before the seam, and the chunk's around
    the end of the blend. A chunk that is shorter than the blend is reached at its last action.
    """

    def join(self, plan: Plan, chunk: Chunk) -> Joined | None:
        """Return the chunk from the next tick on, its first actions replaced by the path."""
        aligned = from_tick(plan, chunk, plan.first_tick + 1)
        if aligned is None:
            return None
        ticks = min(BLEND_TICKS, len(aligned.actions))
        executed = np.concatenate((plan.past, plan.actions))
        start = _motion(executed, aligned.first_tick - plan.first_tick + len(plan.past) - 1, last=True)
        end = _motion(chunk.actions, aligned.first_tick - chunk.start_tick + ticks - 1)
        actions = aligned.actions.copy()
        actions[: ticks - 1] = quintic(start, end, ticks)[1:-1]
        actions[:, _GRIPPERS] = aligned.actions[:, _GRIPPERS]
        return Joined(aligned.first_tick, actions)


def _motion(rows: Array, index: int, *, last: bool = False) -> Motion:
    """Return the motion at a row by the parabola through it and its neighbours; `last`: through those before it."""
    middle = index - 1 if last else max(min(index, len(rows) - 2), 1)
    before, here, after = rows[np.clip([middle - 1, middle, middle + 1], 0, len(rows) - 1)]
    acceleration = after - 2.0 * here + before
    return Motion(rows[index], 0.5 * (after - before) + (index - middle) * acceleration, acceleration)
