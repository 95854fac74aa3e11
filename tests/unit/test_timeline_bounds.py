"""Promises of the plan and its curve at their boundaries: one number off in any of them is noticed here."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.control import timeline
from runtime.control.timeline import CAPACITY, HISTORY_TICKS, PACE_TICKS, Curve, Timeline
from runtime.layout import GRIPPER_INDEX, RIG_DOF

RATIO = 4
REST = np.linspace(0.1, 0.5, RIG_DOF)
JOINTS = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]


def bent(count: int, first: int = 0) -> np.ndarray:
    """Actions (count, 14) of a curve whose slope changes from tick to tick."""
    ticks = np.arange(first, first + count)[:, None]
    return REST + 0.01 * ticks + 0.001 * ticks**2 + 0.01 * np.sin(ticks + np.arange(RIG_DOF))


def planned(tick: int = 300, count: int = 40, ratio: int = RATIO) -> Timeline:
    plan = Timeline(ratio, REST)
    plan.clear(REST)
    plan.begin(tick)
    plan.replace(tick + 1, bent(count, 1), 7, tick * ratio)
    return plan


def hermite(p0: np.ndarray, v0: np.ndarray, p1: np.ndarray, v1: np.ndarray, x: float) -> np.ndarray:
    """The cubic with positions and velocities at both ends of a unit span."""
    return (
        (2 * x**3 - 3 * x**2 + 1) * p0 + (x**3 - 2 * x**2 + x) * v0 + (-2 * x**3 + 3 * x**2) * p1 + (x**3 - x**2) * v1
    )


def test_the_sizes_are_those_that_were_chosen() -> None:
    assert (CAPACITY, HISTORY_TICKS, PACE_TICKS) == (512, 128, 4)


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.6])
def test_a_curve_runs_from_its_phase_to_the_ticks_end_and_its_velocity_is_its_slope(phase: float) -> None:
    rng = np.random.default_rng(3)
    start, linear, quadratic, cubic = rng.normal(size=(4, RIG_DOF))
    curve = Curve(phase, start, linear, quadratic, cubic)
    np.testing.assert_allclose(curve.at(phase), start)
    np.testing.assert_allclose(curve.at(1.0), start + linear + quadratic + cubic)
    np.testing.assert_allclose(curve.velocity(phase), linear / (1.0 - phase))
    for here in (phase + 0.1, 0.9):
        slope = (curve.at(here + 1e-6) - curve.at(here - 1e-6)) / 2e-6
        np.testing.assert_allclose(curve.velocity(here), slope, rtol=1e-5, atol=1e-7)


def test_there_is_no_plan_before_one_begins_and_after_it_is_cleared() -> None:
    fresh, used = Timeline(RATIO, REST), planned()
    used.clear(REST + 1.0)
    for plan in (fresh, used):
        assert (plan.begin_tick, plan.end_tick, plan.chunks_end_tick) == (0, 0, 0)
        assert plan.chunk_id(0) == 0
    np.testing.assert_array_equal(used.target(1234), REST + 1.0)


def test_a_plan_begins_where_the_rig_stands_whatever_was_in_its_place() -> None:
    plan = planned()
    plan.clear(REST + 0.25)
    plan.begin(305)
    assert (plan.begin_tick, plan.end_tick) == (305, 306)
    assert plan.chunk_id(305) == 0
    np.testing.assert_array_equal(plan.rows(305, 1)[0], REST + 0.25)


def test_each_tick_of_the_plan_knows_its_chunk_from_the_first_one_kept_to_the_last() -> None:
    plan = planned(count=40)
    tick = 300
    for chunk_id in range(8, 14):
        tick += 35
        plan.replace(tick + 1, bent(40, tick - 300 + 1), chunk_id, tick * RATIO)
    assert plan.begin_tick == tick - HISTORY_TICKS
    assert plan.chunk_id(plan.begin_tick - 1) == 0
    assert plan.chunk_id(plan.begin_tick) > 0
    assert plan.chunk_id(plan.end_tick - 1) == 13
    assert plan.chunk_id(plan.end_tick) == 0


def test_at_its_end_a_plan_is_expected_to_go_on_by_its_last_step() -> None:
    plan = planned(count=40)
    actions = bent(40, 1)
    np.testing.assert_allclose(plan.expected(plan.end_tick), 2 * actions[-1] - actions[-2])
    np.testing.assert_array_equal(plan.expected(plan.end_tick - 1), actions[-1])


def test_each_view_is_of_its_own_tick() -> None:
    plan = planned()
    first, second = plan.view(310).copy(), plan.view(311).copy()
    np.testing.assert_array_equal(first[1:], second[:-1])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(plan.view(310), first)


def test_a_plan_reaches_as_far_as_it_holds_and_no_further() -> None:
    most = CAPACITY - HISTORY_TICKS - 1
    plan = planned(count=10)
    plan.replace(301, np.zeros((most, RIG_DOF)), 8, 300 * RATIO)
    assert plan.end_tick == 301 + most
    with pytest.raises(ValueError, match="further than a plan holds"):
        plan.replace(301, np.zeros((most + 1, RIG_DOF)), 8, 300 * RATIO)


def test_a_stop_is_no_action_of_a_chunk() -> None:
    plan = planned(count=10)
    assert plan.chunks_end_tick == plan.end_tick == 311
    plan.replace(311, np.zeros((5, RIG_DOF)), 0, 305 * RATIO)
    assert (plan.chunks_end_tick, plan.end_tick) == (311, 316)
    plan.replace(313, np.zeros((5, RIG_DOF)), 9, 306 * RATIO)
    assert plan.chunks_end_tick == plan.end_tick == 318


@pytest.mark.parametrize("left", [1, 2, 3, PACE_TICKS, PACE_TICKS + 1, 20])
def test_the_pace_is_the_mean_step_of_the_next_few_actions_or_of_those_that_are_left(left: int) -> None:
    plan = planned(count=40)
    actions = bent(40, 1)
    near = 40 - 1 - left
    far = min(near + PACE_TICKS, 39)
    wanted = (actions[far] - actions[near]) / ((far - near) * RATIO)
    np.testing.assert_allclose(plan.pace((300 + near) * RATIO + 1), wanted)


def test_behind_the_plan_there_is_no_pace() -> None:
    np.testing.assert_array_equal(planned(count=40).pace(340 * RATIO), 0.0)


def knot(actions: np.ndarray, i: int) -> np.ndarray:
    return (actions[i - 1] + 4 * actions[i] + actions[i + 1]) / 6


@pytest.mark.parametrize("step", range(RATIO))
def test_from_its_first_to_its_last_tick_but_one_the_curve_is_the_spline(step: int) -> None:
    plan = planned(count=6)
    rows = np.vstack([REST, REST, bent(6, 1)])
    rows = np.vstack([rows, 2 * rows[-1] - rows[-2]])
    knots = [knot(rows, i) for i in range(1, 8)]
    slopes = [np.zeros(RIG_DOF), *((rows[i + 1] - rows[i - 1]) / 2 for i in range(2, 8))]
    plan.target(306 * RATIO)
    for i in range(6):
        wanted = hermite(knots[i], slopes[i], knots[i + 1], slopes[i + 1], step / RATIO)
        np.testing.assert_allclose(plan.target((300 + i) * RATIO + step)[JOINTS], wanted[JOINTS], atol=1e-12)


@pytest.mark.parametrize("step", [1, 400, 900])
def test_a_plan_that_changes_in_the_middle_of_a_tick_bends_without_a_kink(step: int) -> None:
    fine = 1000
    plan = planned(ratio=fine)
    now = 305 * fine + step
    before = plan.target(now) - plan.target(now - 1)
    plan.replace(306, bent(20, 6) + 0.002, 8, now)
    path = np.stack([plan.target(now + i) for i in range(2 * fine)])
    speeds = np.diff(path, axis=0)[:, JOINTS]
    np.testing.assert_allclose(speeds[0], before[JOINTS], atol=3e-6 + 1e-4 / (fine - step))
    arrives = fine - step
    np.testing.assert_allclose(speeds[arrives - 1], speeds[arrives], atol=3e-6 + 1e-4 / arrives)


def test_nothing_of_the_module_is_left_to_chance() -> None:
    assert len(planned().view(300)) == timeline.VIEW_TICKS


@pytest.mark.parametrize(("first_tick", "count"), [(311, 1), (311, 2), (339, 2), (340, 1), (311, 30), (311, 0)])
def test_an_amendment_takes_the_place_of_planned_actions_and_of_nothing_else(first_tick: int, count: int) -> None:
    plan, untouched = planned(300, 40), planned(300, 40)
    actions = REST + 7.0 + np.arange(count)[:, None]
    plan.amend(first_tick, actions, 310 * RATIO + 1)
    assert (plan.begin_tick, plan.end_tick, plan.chunks_end_tick) == (300, 341, 341)
    for tick in range(305, 341):
        planned_there = untouched.expected(tick)
        wanted = actions[tick - first_tick] if first_tick <= tick < first_tick + count else planned_there
        np.testing.assert_array_equal(plan.expected(tick), wanted)
        assert plan.chunk_id(tick) == untouched.chunk_id(tick)


@pytest.mark.parametrize(("first_tick", "count"), [(310, 1), (309, 4), (340, 2), (341, 1), (400, 1)])
def test_an_amendment_that_is_not_all_after_the_present_tick_and_in_the_plan_is_refused(
    first_tick: int, count: int
) -> None:
    plan = planned(300, 40)
    with pytest.raises(ValueError, match=f"{count} actions from tick {first_tick} are not within the plan"):
        plan.amend(first_tick, np.tile(REST, (count, 1)), 310 * RATIO + 1)


def test_an_amendment_leads_the_tick_under_execution_on_from_where_its_target_is() -> None:
    plan = planned(300, 40)
    now = 310 * RATIO + 1
    before = plan.target(now)
    plan.amend(311, bent(5, 11) + 0.02, now)
    np.testing.assert_allclose(plan.target(now), before, atol=1e-12)
    assert np.abs(plan.target(now + 2) - planned(300, 40).target(now + 2)).max() > 1e-4


def test_what_amendments_have_moved_is_their_sum_until_a_chunk_takes_the_place() -> None:
    plan, untouched = planned(300, 40), planned(300, 40)
    plan.amend(311, bent(6, 11) + 0.02, 310 * RATIO + 1)
    plan.amend(312, bent(3, 12) - 0.05, 310 * RATIO + 2)
    plan.amend(335, bent(6, 35) + 0.03, 310 * RATIO + 3)
    for tick in range(296, 345):
        nearest = min(max(tick, 300), 340)
        moved = plan.expected(nearest) - untouched.expected(nearest)
        np.testing.assert_allclose(plan.amended(tick), moved, atol=1e-12)
    np.testing.assert_allclose(plan.amended(311), 0.02)
    np.testing.assert_allclose(plan.amended(312), -0.05)
    np.testing.assert_allclose(plan.amended(344), 0.03)
    plan.replace(313, bent(30, 13), 8, 310 * RATIO + 3)
    assert [bool(plan.amended(tick).any()) for tick in (310, 311, 312, 313, 316, 342, 350)] == [
        *(False, True, True),
        *(False, False, False, False),
    ]
    plan.clear(REST)
    np.testing.assert_array_equal(plan.amended(312), 0.0)
    plan.begin(312)
    np.testing.assert_array_equal(plan.amended(312), 0.0)
