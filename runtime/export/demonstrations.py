"""The episodes of a recorded run as rows at the policy rate: what was measured, what was commanded, who commanded."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.blackbox import Run, StoredFrame
from runtime.clock import NS_PER_S
from runtime.layout import RIG_DOF
from runtime.outcomes import episodes
from runtime.states import Mode

ACTING: Final = (Mode.POLICY, Mode.TELEOP, Mode.HANDOVER)
"""Modes in which a policy or a person moves the arms; an episode goes from the first such tick to the last."""
BY_A_PERSON: Final = (Mode.TELEOP,)
"""Modes whose rows are an intervention: a person's actions in place of the policy's."""


@dataclass(frozen=True)
class Demonstration:
    """One episode. `state` (n, 14) is measured and `action` (n, 14) commanded, in rad and gripper fractions.

    Row i is that of `i / policy_hz` seconds. `intervention` (n,) says which rows a person commanded; `success` is None
    where nothing judged. `frames` holds for each camera the newest frame of each row.
    """

    task: str
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    intervention: NDArray[np.bool_]
    success: bool | None
    frames: dict[str, list[StoredFrame]]


def demonstrations(run: Run) -> list[Demonstration]:
    """Return the episodes of a run in order; without a judge, one from each start of the arms to where they park."""
    rows = _rows(run.ticks["servo_tick"], run.spec.rig.servo_hz // run.spec.rig.policy_hz)
    found = []
    for part, success in _parts(run, rows):
        acting = np.flatnonzero(np.isin(run.ticks["mode"][part], ACTING))
        if len(acting):
            found.append(_demonstration(run, part[acting[0] : acting[-1] + 1], success))
    return found


def _rows(servo_ticks: NDArray[np.int64], ratio: int) -> NDArray[np.intp]:
    """Return for each policy tick the index of the newest of the servo ticks: its own, or where that was skipped the
    last before it.
    """
    if not len(servo_ticks):
        return np.zeros(0, np.intp)
    due = np.arange(-(-int(servo_ticks[0]) // ratio), int(servo_ticks[-1]) // ratio + 1) * ratio
    return np.searchsorted(servo_ticks, due, side="right") - 1


def _parts(run: Run, rows: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], bool | None]]:
    """Cut a run's rows into episodes: where one was laid out, or else where the arms parked or were disarmed."""
    known = episodes(run)
    if known:
        starts = [run.t0_ns + round(episode.t_s * NS_PER_S) for episode in known]
        cuts = np.searchsorted(run.ticks["now_ns"][rows], starts).tolist()
        return [
            (rows[start:end], episode.success)
            for start, end, episode in zip(cuts, [*cuts[1:], len(rows)], known, strict=True)
        ]
    away = np.isin(run.ticks["mode"][rows], (Mode.PARK, Mode.DISARMED))
    cuts = np.flatnonzero(np.diff(away)) + 1
    return [(part, None) for part in np.split(rows, cuts)]


def _demonstration(run: Run, rows: NDArray[np.intp], success: bool | None) -> Demonstration:
    ticks = run.ticks
    times_ns = ticks["now_ns"][rows].tolist()
    return Demonstration(
        task=run.spec.prompt,
        state=ticks["arm"]["position"][rows].reshape(-1, RIG_DOF).astype(np.float32),
        action=ticks["command"]["position"][rows].astype(np.float32),
        intervention=np.isin(ticks["mode"][rows], BY_A_PERSON),
        success=success,
        frames={name: _newest(frames, times_ns) for name, frames in run.frames.items() if frames},
    )


def _newest(frames: list[StoredFrame], times_ns: list[int]) -> list[StoredFrame]:
    """Return for each time the last frame captured until then; before the first, the first."""
    frames = sorted(frames, key=lambda frame: frame.t_ns)
    captured = [frame.t_ns for frame in frames]
    return [frames[max(bisect_right(captured, t_ns) - 1, 0)] for t_ns in times_ns]
