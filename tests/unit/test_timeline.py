"""Promises of the plan: absolute ticks, a continuous target, grippers that never overshoot."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.control.timeline import CAPACITY, HISTORY_TICKS, Timeline
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import VIEW_PAST_TICKS, VIEW_TICKS

RATIO = 4
REST = np.linspace(0.1, 0.5, RIG_DOF)


def ramp(first_tick: int, count: int, slope: float = 0.01) -> np.ndarray:
    return REST + slope * (first_tick + np.arange(count))[:, None] * np.ones(RIG_DOF)


def planned(count: int = 20) -> Timeline:
    timeline = Timeline(RATIO, REST)
    timeline.begin(0)
    timeline.replace(1, ramp(1, count), 7, 0)
    return timeline


def test_without_a_plan_the_target_is_the_rest_pose() -> None:
    timeline = Timeline(RATIO, REST)
    assert np.array_equal(timeline.target(123), REST)
    assert timeline.view(30).shape == (VIEW_TICKS, RIG_DOF)
    assert (timeline.view(30) == REST).all()
    assert timeline.chunk_id(30) == 0


def test_an_action_is_the_target_at_its_own_tick() -> None:
    timeline = planned()
    for tick in range(1, 20):
        np.testing.assert_allclose(timeline.target(tick * RATIO), ramp(tick, 1)[0], atol=1e-12)


def test_noise_from_step_to_step_is_smoothed_as_the_cubic_b_spline_does() -> None:
    timeline = Timeline(RATIO, REST)
    timeline.begin(0)
    actions = np.random.default_rng(3).random((20, RIG_DOF))
    timeline.replace(1, actions, 7, 0)
    joints = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]
    for tick in range(2, 19):
        before, here, after = actions[tick - 2 : tick + 1]
        target = timeline.target(tick * RATIO)
        np.testing.assert_allclose(target[joints], ((before + 4 * here + after) / 6)[joints], atol=1e-12)
        assert np.array_equal(target[list(GRIPPER_INDEX)], here[list(GRIPPER_INDEX)])


def test_a_straight_plan_is_followed_straight_between_ticks() -> None:
    timeline = planned()
    for servo_tick in range(2 * RATIO, 18 * RATIO):
        np.testing.assert_allclose(timeline.target(servo_tick), REST + 0.01 * servo_tick / RATIO, atol=1e-12)


def test_the_end_is_the_first_tick_without_an_action() -> None:
    timeline = planned(20)
    assert (timeline.begin_tick, timeline.end_tick) == (0, 21)
    assert timeline.chunk_id(20) == 7
    assert timeline.chunk_id(21) == 0


def test_the_last_tick_is_coasted_out_by_joints_and_not_by_grippers() -> None:
    timeline = planned(20)
    end, later = timeline.target(20 * RATIO), timeline.target(20 * RATIO + 2)
    joints = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]
    np.testing.assert_allclose(later[joints] - end[joints], 0.005, atol=1e-12)
    assert np.array_equal(later[list(GRIPPER_INDEX)], end[list(GRIPPER_INDEX)])
    np.testing.assert_allclose(timeline.target(40 * RATIO), end, atol=1e-12)


def test_a_merge_in_the_middle_of_a_tick_moves_nothing_at_once() -> None:
    for step in range(RATIO):
        timeline = planned()
        now = 5 * RATIO + step
        before = timeline.target(now)
        timeline.replace(6, ramp(6, 10) + 0.3, 8, now)
        np.testing.assert_allclose(timeline.target(now), before, atol=1e-12)
        np.testing.assert_allclose(timeline.target(7 * RATIO), ramp(7, 1)[0] + 0.3, atol=1e-12)


def test_what_was_planned_after_a_merge_is_gone() -> None:
    timeline = planned(20)
    timeline.replace(6, ramp(6, 3), 8, 5 * RATIO)
    assert timeline.end_tick == 9
    assert [timeline.chunk_id(tick) for tick in (5, 6, 8, 9)] == [7, 8, 8, 0]


@pytest.mark.parametrize("first_tick", [4, 5, 22])
def test_the_past_cannot_be_changed_and_no_gap_be_left(first_tick: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        planned(20).replace(first_tick, ramp(0, 5), 8, 5 * RATIO)


def test_a_plan_that_reaches_too_far_is_refused() -> None:
    with pytest.raises(ValueError, match="further than a plan holds"):
        planned(20).replace(6, ramp(6, CAPACITY - HISTORY_TICKS), 8, 5 * RATIO)


def test_the_view_shows_executed_and_coming_actions_by_tick() -> None:
    timeline = planned(60)
    view = timeline.view(30)
    np.testing.assert_array_equal(view[VIEW_PAST_TICKS], ramp(30, 1)[0])
    np.testing.assert_array_equal(view[0], ramp(30 - VIEW_PAST_TICKS, 1)[0])
    np.testing.assert_array_equal(view[-1], ramp(60, 1)[0])
    np.testing.assert_array_equal(timeline.rows(58, 4), np.vstack([ramp(58, 3), ramp(60, 1)]))


def test_the_plan_goes_on_beyond_its_capacity() -> None:
    timeline = planned(20)
    for tick in range(5, 5 * CAPACITY, 10):
        timeline.replace(tick + 1, ramp(tick + 1, 20), tick, tick * RATIO)
        np.testing.assert_allclose(timeline.target((tick + 1) * RATIO), ramp(tick + 1, 1)[0], atol=1e-9)
        np.testing.assert_array_equal(timeline.view(tick)[VIEW_PAST_TICKS], ramp(tick, 1)[0])


def test_expected_is_the_plan_or_one_step_on_at_its_last_velocity() -> None:
    timeline = planned(20)
    np.testing.assert_array_equal(timeline.expected(20), ramp(20, 1)[0])
    np.testing.assert_allclose(timeline.expected(21), ramp(21, 1)[0], atol=1e-12)


def test_the_pace_is_the_mean_step_of_the_coming_actions() -> None:
    timeline = planned(20)
    np.testing.assert_allclose(timeline.pace(5 * RATIO + 1), 0.01 / RATIO, atol=1e-12)
    np.testing.assert_array_equal(timeline.pace(20 * RATIO), 0.0)
