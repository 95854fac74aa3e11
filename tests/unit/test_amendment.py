"""Promises of amendments: only what is fit is written into the plan, smoothly, and nothing else of it changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.control.amendment import AMEND_RAD_MAX, FADE_TICKS
from runtime.control.settings import JUMP_RAD
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import AMENDMENT_STEPS_MAX, VIEW_PAST_TICKS
from runtime.states import Mode, Verdict
from tests.fake_rig import FakeRig

STEPS = AMENDMENT_STEPS_MAX
JOINTS = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]


def running() -> FakeRig:
    """Return a rig in the middle of its first chunk, at the beginning of a tick."""
    rig = FakeRig(merge="leadtime")
    rig.engage()
    rig.run(21)
    while rig.servo_tick % rig.base.ratio != 1:
        rig.run(1)
    assert rig.mode is Mode.POLICY
    return rig


def planned(rig: FakeRig, lead: int = 1, count: int = STEPS) -> NDArray[np.float64]:
    first = rig.tick + lead - int(rig.last.view["tick"]) + VIEW_PAST_TICKS
    return np.array(rig.last.view["actions"][first : first + count])


def took(rig: FakeRig) -> Verdict:
    rig.run(1)
    return Verdict(int(rig.last.tick["amended"]))


def test_an_amendment_is_what_the_plan_has_then_and_the_rest_is_come_back_to() -> None:
    rig = running()
    before, ahead = planned(rig, count=40), int(rig.last.view["end_tick"])
    rig.amend(before[:STEPS] + 0.05)
    assert took(rig) is Verdict.USED
    after = planned(rig, lead=1, count=40)
    np.testing.assert_allclose(after[:STEPS, JOINTS], before[:STEPS, JOINTS] + 0.05)
    assert (np.diff(np.abs(after - before)[STEPS:, JOINTS], axis=0) <= 1e-12).all()
    np.testing.assert_array_equal(after[STEPS + FADE_TICKS :], before[STEPS + FADE_TICKS :])
    assert int(rig.last.view["end_tick"]) == ahead


def test_grippers_are_the_plans_own() -> None:
    rig = running()
    before = planned(rig)
    rig.amend(before + 0.1)
    assert took(rig) is Verdict.USED
    np.testing.assert_array_equal(planned(rig)[:, list(GRIPPER_INDEX)], before[:, list(GRIPPER_INDEX)])


def test_what_has_elapsed_of_an_amendment_is_dropped_and_nothing_is_moved_in_time() -> None:
    rig = running()
    before = planned(rig)
    rig.amend(before + np.linspace(0.01, 0.08, STEPS)[:, None], first_tick=rig.tick - 2)
    assert took(rig) is Verdict.USED
    # Three elapsed: the fourth of its actions is due at the next tick.
    wanted = before[0, JOINTS] + np.linspace(0.01, 0.08, STEPS)[3] + (before[3] - before[0])[JOINTS]
    np.testing.assert_allclose(planned(rig)[0, JOINTS], wanted)
    rig.amend(before, first_tick=rig.tick - STEPS)
    assert took(rig) is Verdict.LATE


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"epoch": 77}, Verdict.STALE),
        ({"chunk_id": 99}, Verdict.STALE),
        ({"t_obs_ns": 0}, Verdict.STALE),
        ({"t_obs_ns": 1 << 60}, Verdict.INVALID),
        ({"count": 0}, Verdict.INVALID),
        ({"count": -1}, Verdict.INVALID),
        ({"count": AMENDMENT_STEPS_MAX + 1}, Verdict.INVALID),
        ({"first_tick": -(1 << 40)}, Verdict.LATE),
        ({"first_tick": 1 << 40}, Verdict.LATE),
    ],
)
def test_what_does_not_belong_to_the_plan_changes_nothing(fields: dict[str, int], verdict: Verdict) -> None:
    rig, other = running(), running()
    rig.amend(planned(rig) + 0.02, **fields)
    assert took(rig) is verdict
    other.run(1)
    assert rig.last.command.tobytes() == other.last.command.tobytes()
    assert rig.last.view["actions"].tobytes() == other.last.view["actions"].tobytes()


def test_one_that_is_far_or_not_finite_is_not_believed() -> None:
    rig = running()
    before = planned(rig)
    rig.amend(before + AMEND_RAD_MAX + 0.01)
    assert took(rig) is Verdict.JUMP
    broken = planned(rig)
    broken[2, 3] = np.nan
    rig.amend(broken)
    assert took(rig) is Verdict.INVALID
    assert rig.mode is Mode.POLICY


def test_the_same_observation_amends_once() -> None:
    rig = running()
    rig.amend(planned(rig) + 0.02)
    rig.amend(planned(rig) + 0.03, t_obs_ns=rig.now_ns)
    assert took(rig) is Verdict.STALE


def test_outside_of_policy_nothing_is_amended() -> None:
    rig = running()
    rows = planned(rig)
    rig.want = Mode.HOLD
    rig.run(1)
    rig.amend(rows)
    assert took(rig) is Verdict.STALE


def test_a_planned_stop_is_not_written_over() -> None:
    rig = FakeRig(merge="leadtime", wait_ticks=50)
    rig.engage()
    while int(rig.last.view["end_tick"]) > rig.tick + 1 or not rig.last.tick["starved"]:
        rig.run(1)
    rig.amend(planned(rig, count=4) + 0.02)
    assert took(rig) is Verdict.LATE


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.0, AMEND_RAD_MAX * 0.9))
def test_whatever_is_amended_the_command_stays_within_the_limits(seed: int, size: float) -> None:
    rig, rng = running(), np.random.default_rng(seed)
    for _ in range(12):
        count = int(rng.integers(1, STEPS + 1))
        rig.amend(planned(rig, count=count) + rng.uniform(-size, size, (count, RIG_DOF)), lead=int(rng.integers(0, 4)))
        rig.run(rig.base.ratio)
    assert rig.violations == 0


def far_amended() -> tuple[FakeRig, NDArray[np.float64]]:
    """Return a rig whose plan was amended by more than a jump, and its plan before from the present tick on."""
    rig = running()
    first, before = rig.tick + 1, planned(rig, count=40)
    for _ in range(3):
        rig.amend(planned(rig) + 0.15)
        assert took(rig) is Verdict.USED
    rig.run(rig.base.ratio - 2)
    moved = planned(rig, count=4) - before[rig.tick + 1 - first :][:4]
    np.testing.assert_allclose(moved[:, JOINTS], 0.45)
    assert JUMP_RAD < 0.45
    return rig, before[rig.tick - first :]


@pytest.mark.parametrize(
    ("far_rad", "verdict"), [(0.0, Verdict.USED), (-0.9 * JUMP_RAD, Verdict.USED), (-1.1 * JUMP_RAD, Verdict.JUMP)]
)
def test_a_chunk_that_knows_nothing_of_what_was_amended_is_no_jump(far_rad: float, verdict: Verdict) -> None:
    rig, before = far_amended()
    rig.run(1, (rig.answer(before + far_rad),))
    assert rig.last.verdicts[0][1] is verdict


def test_what_was_amended_away_counts_no_more_once_a_chunk_has_taken_over() -> None:
    rig, before = far_amended()
    amended = planned(rig, lead=0, count=30)
    rig.run(1, (rig.answer(amended),))
    assert rig.last.verdicts[0][1] is Verdict.USED
    rig.run(1, (rig.answer(before),))
    assert rig.last.verdicts[0][1] is Verdict.JUMP
