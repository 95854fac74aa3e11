"""Promises under random faults in virtual time: nothing is ever broken, and the witness sees what would be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.faults import schedules
from bench.faults.plan import KILLED, RESTART_TICKS, TICKS, Act, Kind, Plan, Window
from bench.faults.schedules import Schedules, play_all
from bench.faults.virtual import VirtualRig, play
from runtime import records
from runtime.control import intake, modes
from runtime.control.core import ControlCore
from runtime.control.guardian import GuardianCore, GuardianOutput
from runtime.control.limits import RigLimiter
from runtime.records import CHUNK_STEPS_MAX
from runtime.shm import blank
from runtime.states import Guard, Mode

SCHEDULES = 200
BATCHES = 4
CONTROLS = 12
"""Schedules in which a broken promise must show, besides three that are aimed at one."""


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_faults_break_no_promise(batch: int) -> None:
    found = play_all(range(batch * SCHEDULES // BATCHES, (batch + 1) * SCHEDULES // BATCHES))
    said = [f"{Plan.of(seed).describe()}: {what}" for seed, what in found.failures.items()]
    assert not said, "\n".join(said)
    assert found.limit_violations == 0
    # The schedules are not idle: the policy runs, guardians trip, and most faults of the control process are met.
    assert found.policy_ticks > 0.2 * found.ticks
    assert found.guardian_trips > found.schedules / 4
    assert found.faults.bit_count() >= 8


def test_a_schedule_is_its_seed() -> None:
    first, again, other = (np.stack(commands_of(seed)) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def commands_of(seed: int) -> list[Any]:
    commands: list[Any] = []
    step = ControlCore.step

    def noted(self: ControlCore, inputs: Any) -> Any:
        outputs = step(self, inputs)
        commands.append(outputs.command["position"])
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ControlCore, "step", noted)
        play(seed)
    return commands[:100]


def test_plans_reach_every_kind_of_fault_and_nobody_is_restarted_at_once() -> None:
    windows = [window for seed in range(500) for window in Plan.of(seed).windows]
    assert {window.kind for window in windows} == set(Kind)
    assert min(window.end - window.first for window in windows if window.kind in KILLED) >= RESTART_TICKS


@pytest.mark.parametrize("merge", ["leadtime", "aligned", "prefix", "min_jerk"])
def test_long_chunks_one_behind_the_other_fill_the_plan_and_break_nothing(merge: str) -> None:
    plan = replace(
        Plan.of(0),
        merge=merge,
        horizon=CHUNK_STEPS_MAX,
        ticks=TICKS[1],
        latency_ms=(5.0, 6.0),
        reach=0.05,
        noise=0.0,
        windows=(Window(Kind.CHUNK_LATER, 30, TICKS[1]),),
        actions={10: (Act(Mode.HOLD),), 20: (Act(Mode.POLICY),)},
    )
    rig = VirtualRig(plan)
    witness = rig.run()
    assert witness.failures == []
    assert rig._view is not None
    assert rig._view["end_tick"] - rig._view["tick"] > 2 * CHUNK_STEPS_MAX


def no_limits(patch: pytest.MonkeyPatch) -> None:
    def step(self: RigLimiter, target: Any, pace: Any = None) -> int:
        self._v, self._a = target - self._p, self._v * 0.0
        self._p, self._motion = np.nan_to_num(target), None
        return 0

    patch.setattr(RigLimiter, "step", step)


def no_expiry(patch: pytest.MonkeyPatch) -> None:
    take = GuardianCore._take

    def forever(self: GuardianCore, command: Any) -> None:
        take(self, command)
        self._expires_ns = 1 << 62

    patch.setattr(GuardianCore, "_take", forever)


def any_epoch(patch: pytest.MonkeyPatch) -> None:
    take = intake.Intake.take

    def accepted(self: intake.Intake, record: Any, epoch: int, now: Any, *, started: bool) -> Any:
        self._newest = (0, 0)
        record = np.array(record)
        record["epoch"], record["cold"] = epoch, not started
        return take(self, record, epoch, now, started=started)

    patch.setattr(intake.Intake, "take", accepted)


def any_distance(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(intake, "_distance", lambda action, expected: 0.0)


def self_clearing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(modes, "_settle", lambda state, mode, latched=0: state)


@pytest.mark.parametrize("broken", [no_limits, no_expiry, any_epoch, any_distance, self_clearing])
def test_a_broken_promise_is_seen(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    aimed = [
        replace(Plan.of(3), wrong_field=("epoch", 99), windows=(Window(kind, 60, 300),))
        for kind in (Kind.CHUNK_WRONG, Kind.CHUNK_FAR, Kind.CONTROL_STOPPED)
    ]
    plans = [*aimed, *map(Plan.of, range(CONTROLS))]
    assert any(VirtualRig(plan).run().failures for plan in plans)


@pytest.mark.parametrize(("killed", "begins_at", "violations"), [(False, 0.0, 0), (False, 0.04, 1), (True, 0.0, 1)])
def test_an_arm_that_was_let_go_begins_where_it_is_and_one_that_was_held_where_it_was_sent(
    killed: bool, begins_at: float, violations: int
) -> None:
    """The arm lags 0.04 rad behind its last command; a guardian that is killed lets nothing go."""
    rig = VirtualRig(Plan.of(0))
    witness = rig.witness
    measured = rig._position[:7].copy()
    sent = measured + 0.04 * (np.arange(7) == 0)

    def step(tick: int, state: Guard, position: Any) -> None:
        status: Any = blank(records.GUARDIAN_STATUS)
        status["state"] = state
        output = GuardianOutput(np.array(position), state is not Guard.DISARMED, tick, status)
        witness.guarded(0, 0, None, measured, output)

    step(1, Guard.HOLD, sent)
    if killed:
        witness.replaced(0)
    step(2, Guard.DISARMED, sent)
    step(50, Guard.HOLD, measured + begins_at * (np.arange(7) == 0))
    assert witness.violations == violations


def test_what_came_out_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "NICENESS", 0)
    assert schedules.run(Schedules(out=tmp_path, count=2, first=40)) == 0
    found = json.loads((tmp_path / "schedules.json").read_text())
    assert (found["schedules"], found["first_seed"], found["failures"]) == (2, 40, {})
