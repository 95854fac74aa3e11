"""Which chunks are fit to be merged: the checks on receipt, and the merge itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.control.merge import Chunk, MergeFn, Plan
from runtime.control.timeline import Timeline
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import CHUNK_STEPS_MAX
from runtime.states import Verdict

JUMPS_MAX: Final = 3
"""Chunks in a row that may start far from the target before the arms brake."""
_JOINTS: Final = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]


@dataclass(frozen=True)
class Seam:
    """A change of chunk: the tick it comes to act at, and its jump (rad, joints only) on the target."""

    tick: int
    jump_rad: float


@dataclass(frozen=True)
class Now:
    """The moment of a tick: its servo tick, its policy tick, the time."""

    servo_tick: int
    tick: int
    t_ns: int


class Intake:
    """Takes chunks into a timeline, or says why not. `jump_rad` is the largest seam that is believed."""

    def __init__(self, timeline: Timeline, merge: MergeFn, jump_rad: float) -> None:
        self._timeline = timeline
        self._merge = merge
        self._jump_rad = jump_rad
        self._seams: list[Seam] = []
        self._newest_ns = 0
        self._jumps = 0
        self.chunk_id = 0
        """The newest chunk accepted."""

    def open(self, now_ns: int) -> None:
        """Begin an epoch: nothing that was observed before it counts, whatever epoch it says it is of."""
        self._seams.clear()
        self._newest_ns = now_ns - 1
        self._jumps = 0

    @property
    def astray(self) -> bool:
        """Whether chunk after chunk started far from the target."""
        return self._jumps >= JUMPS_MAX

    def take(self, record: NDArray[Any], epoch: int, now: Now, *, started: bool) -> Verdict:
        """Judge a CHUNK record and merge it where it is fit; `started` says whether the epoch's plan runs."""
        if int(record["epoch"]) != epoch or int(record["t_obs_ns"]) <= self._newest_ns:
            return Verdict.STALE
        # The epoch's first chunk was asked for at standstill, and only that one.
        if bool(record["cold"]) is started:
            return Verdict.STALE
        start_tick, chunk_id = int(record["start_tick"]), int(record["chunk_id"])
        horizon, prefix_len = int(record["horizon"]), int(record["prefix_len"])
        if start_tick > now.tick + 1 or int(record["t_obs_ns"]) > now.t_ns:
            return Verdict.INVALID
        if not (1 <= horizon <= CHUNK_STEPS_MAX and 0 <= prefix_len <= horizon):
            return Verdict.INVALID
        actions = np.array(record["actions"][:horizon])
        if not np.isfinite(actions).all():
            return Verdict.INVALID
        if started:
            verdict = self._join(Chunk(start_tick, prefix_len, actions), chunk_id, now)
        else:
            verdict = self._begin(actions, chunk_id, now)
        if verdict is Verdict.USED:
            self._newest_ns = int(record["t_obs_ns"])
            self.chunk_id = chunk_id
            self._jumps = 0
        return verdict

    def seam(self, tick: int) -> Seam | None:
        """Return the newest seam that has come to act by a tick; each is returned once."""
        reached = [seam for seam in self._seams if seam.tick <= tick]
        self._seams = [seam for seam in self._seams if seam.tick > tick]
        return reached[-1] if reached else None

    def _begin(self, actions: NDArray[np.float64], chunk_id: int, now: Now) -> Verdict:
        """Start a plan with a cold chunk: the arms stood still, so its first action is due at the next tick."""
        if _distance(actions[0], self._timeline.expected(now.tick)) > self._jump_rad:
            return self._reject_jump()
        self._timeline.begin(now.tick)
        self._timeline.replace(now.tick + 1, actions, chunk_id, now.servo_tick)
        return Verdict.USED

    def _join(self, chunk: Chunk, chunk_id: int, now: Now) -> Verdict:
        timeline = self._timeline
        merged = self._merge(Plan(now.tick, timeline.rows(now.tick, timeline.end_tick - now.tick)), chunk)
        if merged is None:
            return Verdict.LATE
        jump_rad = _distance(merged.actions[0], timeline.expected(merged.first_tick))
        if jump_rad > self._jump_rad:
            return self._reject_jump()
        timeline.replace(merged.first_tick, merged.actions, chunk_id, now.servo_tick)
        self._seams = [seam for seam in self._seams if seam.tick < merged.first_tick]
        self._seams.append(Seam(merged.first_tick, jump_rad))
        return Verdict.USED

    def _reject_jump(self) -> Verdict:
        self._jumps += 1
        return Verdict.JUMP


def _distance(action: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.abs(action - expected)[_JOINTS].max())
