"""Promises of the planned motions: within limits from the first sample, at rest where they end."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.control.trajectory import Motion, Planner, Rates

DT = 0.005
RATES = Rates(np.array([2.0, 3.0]), np.array([10.0, 20.0]), np.array([500.0, 900.0]))
PLANNER = Planner(RATES, DT)
REST = Motion(np.array([0.1, -0.2]), np.zeros(2), np.zeros(2))
MOVING = Motion(np.array([0.1, -0.2]), np.array([1.0, -2.0]), np.array([5.0, 10.0]))


def differences(motion: Motion, rows: np.ndarray) -> np.ndarray:
    """Third differences of a course, the state before it included."""
    first = motion.position - motion.velocity * DT
    second = first - (motion.velocity - motion.acceleration * DT) * DT
    return np.diff(np.array([second, first, motion.position, *rows]), 3, axis=0) / DT**3


def test_a_brake_stays_within_jerk_from_the_first_sample_and_ends_at_rest() -> None:
    course = PLANNER.brake(MOVING)
    rows = np.array([course.at(i + 1) for i in range(course.ticks + 3)])
    assert (np.abs(differences(MOVING, rows)) <= RATES.jerk_max * (1 + 1e-6)).all()
    assert (rows[-1] == rows[-3]).all()
    assert (course.at(10**6) == rows[-1]).all()


def test_a_move_arrives_with_all_joints_together() -> None:
    goal = np.array([0.5, 0.1])
    course = PLANNER.move(REST, goal)
    rows = np.array([course.at(i + 1) for i in range(course.ticks + 1)])
    np.testing.assert_allclose(rows[-1], goal, atol=1e-12)
    assert (np.abs(np.diff(rows, axis=0)) / DT <= RATES.velocity_max * (1 + 1e-6)).all()
    apart = np.abs(rows - goal) > 1e-4
    assert abs(int(apart[:, 0].sum()) - int(apart[:, 1].sum())) <= 6


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_cannot_be_planned_stays_where_it_is(bad: float) -> None:
    lost = Motion(MOVING.position, MOVING.velocity * bad, MOVING.acceleration)
    for course in (PLANNER.brake(lost), PLANNER.move(lost, REST.position)):
        assert course.ticks == 0
        assert (course.at(5) == MOVING.position).all()


def test_a_move_that_would_take_minutes_is_not_planned() -> None:
    assert PLANNER.move(REST, np.array([1e3, 0.0])).ticks == 0
