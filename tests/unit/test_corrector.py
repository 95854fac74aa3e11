"""Promises of correctors: a plan is looked at once a tick, always at the same phase, and only a corrector is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.clock import TickBase
from runtime.errors import UsageError
from runtime.inference.client.corrector import (
    COMMITTED_STEPS,
    LEAD_TICKS,
    PAST_STEPS,
    Amender,
    OnnxCorrector,
    load_corrector,
)
from runtime.inference.client.observation import Observation
from runtime.inference.policy import POLICY_FOLDER, load_policy
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import AMENDMENT_STEPS_MAX, TIMELINE_VIEW, VIEW_PAST_TICKS, VIEW_TICKS
from runtime.shm import blank

DATA = Path(__file__).parent.parent / "data"
BASE = TickBase(1_000_000_000, 200, 50)
STEPS = 6
TICK = 40


@dataclass
class Tens:
    """A corrector that adds ten and remembers what it was given."""

    steps: int = STEPS
    plans: list[NDArray[Any]] = field(default_factory=list)

    def correct(self, state: Any, velocity: Any, object_state: Any, plan: NDArray[Any]) -> NDArray[Any]:
        self.plans.append(plan)
        corrected: NDArray[Any] = plan[-self.steps :] + 10.0
        return corrected


def view(tick: int = TICK, *, ahead: int = 40, started: bool = True) -> Any:
    record: Any = blank(TIMELINE_VIEW)
    record["tick"], record["end_tick"], record["started"] = tick, tick + ahead, started
    record["epoch"], record["chunk_id"] = 3, 8
    record["actions"] = (np.arange(VIEW_TICKS) - VIEW_PAST_TICKS + tick)[:, None] * np.ones(RIG_DOF)
    return record


def seen(tick: int = TICK) -> Observation:
    return Observation(BASE.time_ns(tick), {}, np.zeros(RIG_DOF), np.zeros(RIG_DOF), np.zeros(12, np.float32))


def test_the_amended_ticks_begin_after_the_one_after_the_observations() -> None:
    corrector = Tens()
    made: Any = Amender(BASE, corrector).amend(view(), seen(), BASE.time_ns(TICK) + 5)
    assert made is not None
    assert (int(made["epoch"]), int(made["chunk_id"]), int(made["count"])) == (3, 8, STEPS)
    # Rows are their own ticks: what was given are the ticks around the observation's, which is the next to begin.
    obs_tick = TICK + 1
    np.testing.assert_array_equal(
        corrector.plans[0][:, 0], obs_tick - PAST_STEPS + np.arange(PAST_STEPS + LEAD_TICKS + STEPS)
    )
    assert int(made["first_tick"]) == obs_tick + LEAD_TICKS
    np.testing.assert_array_equal(made["actions"][:STEPS, 0], obs_tick + LEAD_TICKS + 10.0 + np.arange(STEPS))
    assert int(made["t_obs_ns"]) == BASE.time_ns(TICK)


def test_a_view_of_the_tick_before_gives_the_same_ticks() -> None:
    now, before = (Amender(BASE, Tens()).amend(view(tick), seen(), BASE.time_ns(TICK)) for tick in (TICK, TICK - 1))
    assert now is not None
    assert before is not None
    assert now.tobytes() == before.tobytes()


def test_a_plan_is_looked_at_once_a_tick_as_of_its_beginning() -> None:
    amender = Amender(BASE, Tens())
    moment_ns = amender.moment_ns(view(), BASE.time_ns(TICK) + 7_000_000)
    assert moment_ns == BASE.time_ns(TICK)
    amender.amend(view(), seen(), moment_ns)
    assert amender.moment_ns(view(), BASE.time_ns(TICK + 1) - 1) is None
    assert amender.moment_ns(view(), BASE.time_ns(TICK + 1)) == BASE.time_ns(TICK + 1)


def test_nothing_is_looked_at_before_a_chunk_runs_nor_amended_at_a_plans_end() -> None:
    amender = Amender(BASE, Tens())
    assert amender.moment_ns(view(started=False), BASE.time_ns(TICK)) is None
    assert amender.amend(view(ahead=2), seen(), BASE.time_ns(TICK)) is None
    assert Amender(BASE, Tens()).amend(view(ahead=3), seen(), BASE.time_ns(TICK)) is not None


@pytest.mark.parametrize("tick", [TICK + VIEW_PAST_TICKS + 10, TICK - VIEW_TICKS])
def test_a_view_that_does_not_reach_the_moment_is_left_alone(tick: int) -> None:
    assert Amender(BASE, Tens()).amend(view(tick, ahead=200), seen(), BASE.time_ns(TICK)) is None


def test_the_shipped_corrector_gives_joints_and_leaves_the_grippers() -> None:
    corrector = load_corrector(load_policy("demo-state"), "balance")
    assert corrector is not None
    assert 1 <= corrector.steps <= AMENDMENT_STEPS_MAX
    plan = np.linspace(0.0, 0.1, COMMITTED_STEPS + corrector.steps)[:, None] * np.ones(RIG_DOF)
    objects = np.zeros(12, dtype=np.float32)
    actions = corrector.correct(plan[2], np.zeros(RIG_DOF), objects, plan)
    assert actions is not None
    assert actions.shape == (corrector.steps, RIG_DOF)
    np.testing.assert_allclose(actions[:, list(GRIPPER_INDEX)], plan[COMMITTED_STEPS:, list(GRIPPER_INDEX)], atol=1e-6)
    objects[0] += 0.05
    other = corrector.correct(plan[2], np.zeros(RIG_DOF), objects, plan)
    assert np.abs(other - actions).max() > 1e-3
    assert corrector.correct(plan[2], np.zeros(RIG_DOF), None, plan) is None


def test_a_task_without_a_corrector_has_none() -> None:
    assert load_corrector(load_policy("demo-state"), "posts") is None


def test_what_is_no_corrector_is_refused_with_what_it_needs() -> None:
    with pytest.raises(UsageError, match="no corrector; it needs an input 'plan'"):
        OnnxCorrector(DATA / "tiny_policy.onnx", 0)
    with pytest.raises(UsageError, match=r"input 'object_state' \(12,\); a corrector here may read .*\(7,\)"):
        OnnxCorrector(POLICY_FOLDER / "demo-state" / "balance-corrector.onnx", 7)
