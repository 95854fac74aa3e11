"""Which chunks are fit to be merged: the checks on receipt, and the merge itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.control.merge import Merge
from runtime.control.plan import PAST_TICKS, Chunk, Joined, Plan
from runtime.control.timeline import PLAN_TICKS, Timeline
from runtime.faults import BIT
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import CHUNK_STEPS_MAX
from runtime.states import Verdict

JUMPS_MAX: Final = 3
LATES_MAX: Final = 3
"""Chunks in a row that may start far from the target, or come wholly late, before the arms brake."""
_JOINTS: Final = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]

Verdicts = tuple[tuple[int, Verdict], ...]
"""What became of chunks, by their ids."""
_VERDICT_FAULTS: Final = {
    Verdict.STALE: BIT["chunk_stale"],
    Verdict.INVALID: BIT["chunk_invalid"],
    Verdict.JUMP: BIT["chunk_jump"],
    Verdict.LATE: BIT["chunk_late"],
}


def verdict_faults(verdicts: Verdicts) -> int:
    """Return what the verdicts on a tick's chunks say about the server."""
    faults = 0
    for _, verdict in verdicts:
        faults |= _VERDICT_FAULTS.get(verdict, 0)
    return faults


@dataclass(frozen=True)
class Seam:
    """A change of chunk: the tick it comes to act at, and its jump (rad, joints only) on the target."""

    tick: int
    jump_rad: float


class Now(NamedTuple):
    """The moment of a tick: its servo tick, its policy tick, the time."""

    servo_tick: int
    tick: int
    t_ns: int


class Intake:
    """Takes chunks into a timeline, or says why not. `jump_rad` is the largest seam that is believed."""

    def __init__(self, timeline: Timeline, merge: Merge, jump_rad: float) -> None:
        self._timeline = timeline
        self._merge = merge
        self._joiner = merge.joiner()
        self._jump_rad = jump_rad
        self._seams: list[Seam] = []
        self._newest = (0, 0)
        self._first_tick = 0
        self._jumps = 0
        self._lates = 0
        self.chunk_id = 0
        """The newest chunk accepted."""
        self.halts = False
        """Whether the plan ends in a standstill from which the next chunk is asked for."""

    def open(self, now: Now) -> None:
        """Begin an epoch: nothing that was observed before it counts, whatever epoch it says it is of."""
        self._seams.clear()
        self._joiner = self._merge.joiner()
        self._newest = (now.t_ns, 0)
        self._first_tick = now.tick
        self._jumps = self._lates = 0

    def faults(self, *, waiting: bool) -> int:
        """Return whether chunk after chunk is unfit; `waiting`: one that comes late is waited for, and no fault."""
        faults = BIT["chunks_jump"] if self._jumps >= JUMPS_MAX else 0
        return faults | (BIT["chunks_late"] if self._lates >= LATES_MAX and not waiting else 0)

    def take(self, record: NDArray[Any], epoch: int, now: Now, *, started: bool) -> Verdict:
        """Judge a CHUNK record and merge it where it is fit; `started` says whether the epoch's plan runs."""
        # About a moment that was answered before, only what reaches further is news.
        reach = int(record["t_obs_ns"]), int(record["start_tick"]) + int(record["horizon"])
        if int(record["epoch"]) != epoch or reach <= self._newest:
            return Verdict.STALE
        # The epoch's first chunk was asked for at standstill, and only that one.
        if bool(record["cold"]) is started:
            return Verdict.STALE
        start_tick, chunk_id = int(record["start_tick"]), int(record["chunk_id"])
        horizon, prefix_len = int(record["horizon"]), int(record["prefix_len"])
        # No action is due before what it answers was observed, nor that before the epoch.
        if not self._first_tick <= start_tick <= max(now.tick + 1, self._timeline.end_tick):
            return Verdict.INVALID
        if int(record["t_obs_ns"]) > now.t_ns:
            return Verdict.INVALID
        if not (1 <= horizon <= CHUNK_STEPS_MAX and 0 <= prefix_len <= horizon):
            return Verdict.INVALID
        # What lies further than a plan reaches is left out.
        planned = min(horizon, now.tick + PLAN_TICKS - start_tick)
        actions = np.array(record["actions"][:planned])
        if planned < 1 or not np.isfinite(record["actions"][:horizon]).all():
            return Verdict.INVALID
        if started:
            verdict = self._join(Chunk(start_tick, min(prefix_len, planned), actions), chunk_id, now)
        else:
            verdict = self._begin(actions, chunk_id, now)
        if verdict is Verdict.USED:
            self._newest = reach
            self.chunk_id = chunk_id
            self.halts = bool(record["halts"])
            self._jumps = self._lates = 0
        elif verdict is Verdict.LATE:
            self._lates += 1
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
        rows = timeline.rows(now.tick - PAST_TICKS, timeline.end_tick - now.tick + PAST_TICKS)
        stop_tick = timeline.chunks_end_tick if timeline.chunks_end_tick < timeline.end_tick else None
        joined = self._joiner.join(Plan(now.tick, rows[PAST_TICKS:], rows[:PAST_TICKS], stop_tick), chunk)
        if joined is None:
            return Verdict.LATE
        expected = timeline.expected(joined.first_tick)
        # What the plan was amended by since the chunk was asked for, its policy does not know of.
        known = expected, expected - timeline.amended(joined.first_tick)
        if min(_distance(_own_action(chunk, joined), each) for each in known) > self._jump_rad:
            return self._reject_jump()
        seam = Seam(joined.first_tick, _distance(joined.actions[0], expected))
        timeline.replace(joined.first_tick, joined.actions, chunk_id, now.servo_tick)
        self._seams = [*(seam for seam in self._seams if seam.tick < joined.first_tick), seam]
        return Verdict.USED

    def _reject_jump(self) -> Verdict:
        self._jumps += 1
        return Verdict.JUMP


def _own_action(chunk: Chunk, joined: Joined) -> NDArray[np.float64]:
    """Return the chunk's own action at the seam: however well a join hides a jump, a chunk far off is not believed."""
    index = joined.first_tick - chunk.start_tick
    own: NDArray[np.float64] = chunk.actions[index] if 0 <= index < len(chunk.actions) else joined.actions[0]
    return own


def _distance(action: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.abs(action - expected)[_JOINTS].max())
