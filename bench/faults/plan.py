"""Random fault schedules: which faults stand at which servo tick, and what the operator does, from a seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from runtime.control.merge import MERGES
from runtime.records import AMENDMENT_STEPS_MAX, CHUNK_STEPS_MAX
from runtime.states import Mode

RIGS: Final = ("sim-x5", "sim-piper", "sim-vx300s")
TICKS: Final = (160, 360)
"""Servo ticks of an episode: 0.8 to 1.8 s at 200 Hz."""
FAULTS_MAX: Final = 6
HORIZONS: Final = (16, 50, 96, CHUNK_STEPS_MAX)
"""Policy ticks of a chunk: shorter than some delays, as the field's policies have them, and the longest there are."""
CLUTCHED: Final = 0.1
FAR_RAD: Final = 1.5
"""How far off what a client that has gone wrong hands on is."""
WRONG_FIELDS: Final[Sequence[tuple[str, Any]]] = (
    ("horizon", 0),
    ("horizon", CHUNK_STEPS_MAX + 1),
    ("horizon", -3),
    ("prefix_len", -1),
    ("start_tick", 1 << 40),
    ("start_tick", -(1 << 40)),
    ("epoch", 99),
    ("t_obs_ns", 1 << 60),
    ("t_obs_ns", 0),
    ("cold", 1),
)
"""And a prefix longer than its chunk, which depends on that."""
WRONG_AMENDMENTS: Final[Sequence[tuple[str, Any]]] = (
    ("count", 0),
    ("count", -1),
    ("count", AMENDMENT_STEPS_MAX + 1),
    ("first_tick", 1 << 40),
    ("first_tick", -(1 << 40)),
    ("epoch", 99),
    ("chunk_id", 0),
    ("t_obs_ns", 1 << 60),
)


class Kind(StrEnum):
    """What can go wrong, or be done, from one servo tick to another."""

    ANSWER_LOST = "answers do not come"
    ANSWER_LATE = "answers come 0.1 to 1.5 s later"
    ANSWER_TWICE = "answers come twice"
    ANSWER_NAN = "answers hold a NaN"
    ANSWER_SHORT = "answers have another shape"
    SERVER_LOST = "the connection to the server is lost"
    CLIENT_SILENT = "the client stands still"
    CLIENT_KILLED = "the client is killed and restarted"
    CHUNK_NAN = "the client hands on an infinite number"
    CHUNK_FAR = "the client hands on a chunk far from the target"
    CHUNK_WRONG = "the client hands on a chunk with a field out of range"
    CHUNK_LATER = "the client hands on chunks that begin where the plan ends"
    CHUNK_TWICE = "the client hands on each chunk twice"
    CHUNK_REORDERED = "two chunks change places"
    CHUNK_OLD = "an old chunk comes again"
    AMENDMENT_NAN = "an amendment of the plan holds a NaN"
    AMENDMENT_FAR = "an amendment is far from the plan"
    AMENDMENT_WRONG = "an amendment has a field out of range"
    CONTROL_STOPPED = "the control process stands still"
    CONTROL_KILLED = "the control process is killed and restarted"
    TICKS_SKIPPED = "every third servo tick is skipped"
    GUARDIAN_STOPPED = "the left guardian stands still"
    GUARDIAN_KILLED = "the left guardian is killed and restarted"
    COMMAND_TORN = "the right guardian reads no command"
    ARM_SILENT = "the left arm sends no feedback"
    ARM_STUCK = "the right arm does not move"
    FEEDBACK_NAN = "the left arm's feedback is not finite"
    FEEDBACK_ZERO = "the right arm's feedback is all zero"
    DEVICE_FAULT = "the right arm's device reports an error"
    CLUTCH_HELD = "a person holds the clutch of both leaders"
    LEADER_SILENT = "the left leader is silent"
    LEADER_FAR = "the left leader is 3 rad away"
    LEADER_JUMPS = "the right leader jumps to and fro"
    LEADER_NAN = "the right leader's position is not finite"


KILLED: Final = frozenset({Kind.CLIENT_KILLED, Kind.CONTROL_KILLED, Kind.GUARDIAN_KILLED})
RESTART_TICKS: Final = 20
"""No process comes back sooner: 100 ms, in which Python alone does not start."""


@dataclass(frozen=True)
class Window:
    """A fault from one servo tick to before another."""

    kind: Kind
    first: int
    end: int


@dataclass(frozen=True)
class Act:
    """What the operator's record becomes: the mode asked for, and how many acknowledgements more."""

    want: int
    clears: int = 0


@dataclass(frozen=True)
class Plan:
    """One episode: the rig, the merge, the policy's path and delays, the faults and the operator."""

    seed: int
    rig: str
    merge: str
    wait_ticks: int
    ticks: int
    horizon: int
    latency_ms: tuple[float, float]
    reach: float
    pace: float
    noise: float
    wrong_field: tuple[str, Any]
    amends: bool
    wrong_amendment: tuple[str, Any]
    windows: tuple[Window, ...]
    actions: Mapping[int, tuple[Act, ...]]

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Draw the plan of a seed."""
        rng = np.random.default_rng((seed, 0))
        ticks = int(rng.integers(*TICKS))
        kinds = list(Kind)
        windows = []
        for _ in range(int(rng.integers(1, FAULTS_MAX + 1))):
            first = int(rng.integers(10, 10 + ticks))
            length = _length(rng, ticks)
            # A leader matters while its clutch is held: that is drawn more often.
            kind = Kind.CLUTCH_HELD if rng.random() < CLUTCHED else kinds[int(rng.integers(len(kinds)))]
            length = max(length, 80) if kind is Kind.CLUTCH_HELD else length
            windows.append(Window(kind, first, first + max(length, RESTART_TICKS if kind in KILLED else 0)))
        horizon = int(rng.choice(HORIZONS))
        wrong_fields = (*WRONG_FIELDS, ("prefix_len", horizon + 1))
        slow = float(rng.choice([5.0, 60.0, 190.0, 360.0]))
        return cls(
            seed=seed,
            rig=str(rng.choice(RIGS)),
            merge=str(rng.choice(list(MERGES))),
            wait_ticks=int(rng.choice([0, 0, 20])),
            ticks=ticks,
            horizon=horizon,
            latency_ms=(slow, slow * float(rng.uniform(1.0, 2.0))),
            reach=float(rng.uniform(0.02, 0.5)),
            pace=float(rng.uniform(0.5, 6.0)),
            noise=float(rng.choice([0.0, 0.0, 0.002, 0.05])),
            wrong_field=wrong_fields[int(rng.integers(len(wrong_fields)))],
            amends=bool(rng.random() < 0.5),
            wrong_amendment=WRONG_AMENDMENTS[int(rng.integers(len(WRONG_AMENDMENTS)))],
            windows=tuple(windows),
            actions=_operator(rng, ticks),
        )

    def standing(self, servo_tick: int) -> frozenset[Kind]:
        """Return what is wrong at a servo tick."""
        return frozenset(window.kind for window in self.windows if window.first <= servo_tick < window.end)

    def describe(self) -> str:
        """Return the plan in a few words, for the report of a failure."""
        wrong = "; ".join(f"{window.kind.value} [{window.first}, {window.end})" for window in self.windows)
        return f"seed {self.seed}: {self.rig}, {self.merge}, chunks of {self.horizon}, {self.ticks} ticks: {wrong}"


def _length(rng: np.random.Generator, ticks: int) -> int:
    """Draw how long a fault stands: half of them a few ticks, where limits of times lie, most others up to half a
    second, some for good.
    """
    share = rng.random()
    if share < 0.5:
        return int(rng.integers(1, 9))
    return int(rng.integers(9, 100) if share < 0.95 else rng.integers(100, ticks))


def _operator(rng: np.random.Generator, ticks: int) -> dict[int, tuple[Act, ...]]:
    """Arm, start the policy, then act: acknowledge and start again, mostly; sometimes anything at all."""
    acts: dict[int, tuple[Act, ...]] = {10: (Act(Mode.HOLD),), int(rng.integers(14, 30)): (Act(Mode.POLICY),)}
    for _ in range(int(rng.integers(0, 7))):
        at = int(rng.integers(40, 10 + ticks))
        if rng.random() < 0.6:
            acts[at] = (Act(Mode.POLICY, clears=1),)
        else:
            acts[at] = (Act(int(rng.choice([0, 1, 2, 3, 4, 5, 6, 77])), clears=int(rng.integers(0, 2))),)
    return acts
