"""Promises of the independent check at the device: it sees what is outside the limits and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.arms import PIPER, X5
from runtime.drivers.sim.audit import LimitAudit

PERIOD_S = 0.005
HOME = X5.home_array


def follow(audit: LimitAudit, positions: list[np.ndarray], every: int = 1) -> int:
    for i, position in enumerate(positions):
        audit.check(i * every, position)
    return audit.violations


def ramp(acceleration: float, ticks: int) -> list[np.ndarray]:
    direction = np.array([1.0, 0, 0, 0, 0, 0, 0])
    return [HOME + direction * 0.5 * acceleration * (i * PERIOD_S) ** 2 for i in range(ticks)]


def test_a_command_within_all_limits_is_no_violation() -> None:
    assert follow(LimitAudit(X5, PERIOD_S), ramp(X5.acceleration_max[0] * 0.99, 30)) == 0


def test_acceleration_beyond_the_limit_is_counted() -> None:
    assert follow(LimitAudit(X5, PERIOD_S), ramp(X5.acceleration_max[0] * 1.01, 30)) > 0


def test_velocity_beyond_the_limit_is_counted() -> None:
    step = np.array([X5.velocity_max[0] * PERIOD_S * 1.01, 0, 0, 0, 0, 0, 0])
    audit = LimitAudit(X5, PERIOD_S)
    audit.check(0, HOME)
    assert not audit.check(1, HOME + step)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_counted(value: float) -> None:
    position = HOME.copy()
    position[2] = value
    assert not LimitAudit(X5, PERIOD_S).check(0, position)


@pytest.mark.parametrize("joint", range(7))
def test_each_position_limit_is_watched_on_both_sides(joint: int) -> None:
    for limit, outward in ((X5.position_min, -1.0), (X5.position_max, 1.0)):
        position = HOME.copy()
        position[joint] = limit[joint]
        assert LimitAudit(X5, PERIOD_S).check(0, position)
        position[joint] += outward * 1e-4
        assert not LimitAudit(X5, PERIOD_S).check(0, position)


def test_a_skipped_tick_is_not_mistaken_for_speed() -> None:
    assert follow(LimitAudit(X5, PERIOD_S), ramp(X5.acceleration_max[0] * 0.9, 36)[::2], every=2) == 0


def test_a_jump_across_a_pause_is_counted() -> None:
    audit = LimitAudit(X5, PERIOD_S)
    audit.check(0, HOME)
    assert not audit.check(1000, HOME + 0.1)


def test_an_arm_that_was_let_go_is_taken_up_where_it_is_measured_and_nowhere_else() -> None:
    moved = HOME - 0.1
    audit = LimitAudit(X5, PERIOD_S)
    for tick in (0, 1):
        audit.check(tick, HOME)
    audit.let_go(moved)
    assert not audit.check(2, HOME)
    audit.let_go(moved)
    assert audit.check(3, moved)
    leap = moved.copy()
    leap[0] += X5.velocity_max[0] * PERIOD_S * 1.01
    assert not audit.check(4, leap)


def test_an_arm_that_hangs_outside_its_limits_is_taken_up_at_the_limit() -> None:
    audit = LimitAudit(X5, PERIOD_S)
    audit.let_go(np.array(X5.position_max) + 0.05)
    assert audit.check(0, np.array(X5.position_max))


def test_a_repeated_command_does_not_blind_the_check() -> None:
    audit = LimitAudit(X5, PERIOD_S)
    for tick in (0, 1, 1):
        assert audit.check(tick, HOME)
    leap = HOME.copy()
    leap[0] += X5.velocity_max[0] * PERIOD_S * 0.95
    assert not audit.check(2, leap)


@pytest.mark.parametrize(("share", "seen"), [(0.99, 0), (3.0, 1)])
def test_a_bus_with_coarse_steps_is_not_blamed_for_them(share: float, seen: int) -> None:
    step = np.deg2rad(0.001)
    path = [np.round(position / step) * step for position in ramp(PIPER.acceleration_max[0] * share, 60)]
    origin = PIPER.home_array - HOME
    assert (follow(LimitAudit(PIPER, PERIOD_S, step_rad=step), [position + origin for position in path]) > 0) == seen
    assert follow(LimitAudit(PIPER, PERIOD_S), [position + origin for position in path]) > 0
