"""Amendments: the next few actions of the plan, put right from what was seen just now."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.control.intake import Now
from runtime.control.joins.quintic import Motion, quintic
from runtime.control.timeline import Timeline
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import AMENDMENT_STEPS_MAX
from runtime.states import Verdict

Array = NDArray[np.float64]

AMEND_RAD_MAX: Final = 0.2
"""Further from the plan a corrector is not believed: that is for the policy to decide."""
FADE_TICKS: Final = 10
"""200 ms at 50 Hz, in which the plan is come back to: what is corrected says little about later."""
_GRIPPERS: Final = list(GRIPPER_INDEX)
_STILL: Final = np.zeros(RIG_DOF)
_REST: Final = Motion(_STILL, _STILL, _STILL)


class Amendments:
    """Takes AMENDMENT records into a timeline, or says why not.

    An amendment is about the plan that it was made for: one that comes after a change of chunk is dropped, as the next
    is a tick away. It writes over actions of chunks only, and never moves the end of a plan; the offset that it leaves
    off with comes to rest at zero within `FADE_TICKS`. Grippers are the plan's own.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._newest_ns = 0

    def open(self, now_ns: int) -> None:
        """Begin an epoch: nothing that was observed before it counts."""
        self._newest_ns = now_ns

    def take(self, record: NDArray[Any], epoch: int, chunk_id: int, now: Now) -> Verdict:
        """Judge an AMENDMENT for the plan of `chunk_id` and write it in where it is fit."""
        t_obs_ns, count = int(record["t_obs_ns"]), int(record["count"])
        if int(record["epoch"]) != epoch or int(record["chunk_id"]) != chunk_id or t_obs_ns <= self._newest_ns:
            return Verdict.STALE
        actions = np.array(record["actions"][: max(count, 0)])
        if t_obs_ns > now.t_ns or not 1 <= count <= AMENDMENT_STEPS_MAX or not np.isfinite(actions).all():
            return Verdict.INVALID
        elapsed = max(now.tick + 1 - int(record["first_tick"]), 0)
        first_tick = int(record["first_tick"]) + elapsed
        actions = actions[elapsed : max(self._timeline.chunks_end_tick - first_tick + elapsed, 0)]
        if not len(actions):
            return Verdict.LATE
        planned = self._timeline.rows(first_tick, self._timeline.end_tick - first_tick)
        offset = actions - planned[: len(actions)]
        offset[:, _GRIPPERS] = 0.0
        if np.abs(offset).max() > AMEND_RAD_MAX:
            return Verdict.JUMP
        self._newest_ns = t_obs_ns
        offset = np.concatenate((offset, _fading(offset)))[: len(planned)]
        self._timeline.amend(first_tick, planned[: len(offset)] + offset, now.servo_tick)
        return Verdict.USED


def _fading(offset: Array) -> Array:
    """Return how an offset (n, 14) goes on until it rests at zero, (FADE_TICKS - 1, 14)."""
    velocity = offset[-1] - offset[-2] if len(offset) > 1 else _STILL
    return quintic(Motion(offset[-1], velocity, _STILL), _REST, FADE_TICKS)[1:-1]
