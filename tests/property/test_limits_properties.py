"""Whatever is asked for, what is commanded stays within position, velocity, acceleration and jerk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.config import load_rig, rig_names
from runtime.control.limits import RigLimiter, RigLimits
from runtime.control.stopping import Axes
from runtime.control.trajectory import Motion, Planner, Rates
from runtime.layout import RIG_DOF

DT = 0.005
TOLERANCE = 1.0 + 1e-9
RIGS = {name: load_rig(name) for name in rig_names()}

wild = st.one_of(
    st.floats(-4.0, 4.0),
    st.floats(-0.02, 0.02),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, 1e9, -1e9, float("nan"), float("inf"), float("-inf")]),
)


def command(name: str, targets: np.ndarray, start: np.ndarray, pace: np.ndarray | None = None) -> np.ndarray:
    """Return what a limiter commands, preceded by three rows of rest."""
    limiter = RigLimiter(RigLimits.from_rig(RIGS[name]), DT, start)
    rows = [limiter.motion.position] * 3
    for target in targets:
        limiter.step(target, pace)
        rows.append(limiter.motion.position)
    return np.array(rows)


def check(name: str, rows: np.ndarray) -> None:
    limits = RigLimits.from_rig(RIGS[name])
    assert np.isfinite(rows).all()
    assert (rows >= limits.position_min).all()
    assert (rows <= limits.position_max).all()
    for order, most in enumerate((limits.velocity_max, limits.acceleration_max, limits.jerk_max), start=1):
        assert (np.abs(np.diff(rows, order, axis=0)) / DT**order <= most * TOLERANCE).all(), order


@pytest.mark.parametrize("name", rig_names())
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_no_targets_whatever_leave_the_limits(name: str, data: st.DataObject) -> None:
    held = data.draw(st.lists(st.tuples(wild, st.integers(1, 60)), min_size=1, max_size=6))
    offsets = np.array(data.draw(st.lists(st.floats(-1.0, 1.0), min_size=RIG_DOF, max_size=RIG_DOF)))
    targets = np.repeat([value + offsets for value, _ in held], [count for _, count in held], axis=0)
    pace = data.draw(st.sampled_from([None, np.full(RIG_DOF, 0.01), np.full(RIG_DOF, -1e6)]))
    check(name, command(name, targets, RIGS[name].stack("home"), pace))


@pytest.mark.parametrize("name", rig_names())
@pytest.mark.parametrize("period", [1, 30])
def test_a_long_random_run_stays_within_limits_to_rounding(name: str, period: int) -> None:
    generator = np.random.default_rng(period)
    low, high = RIGS[name].stack("position_min"), RIGS[name].stack("position_max")
    targets = np.repeat(generator.uniform(low - 1.0, high + 1.0, (800 // period, RIG_DOF)), period, axis=0)
    targets[generator.random(targets.shape) < 0.01] = np.nan
    check(name, command(name, targets, RIGS[name].stack("home")))


@settings(max_examples=8, deadline=None)
@given(
    share=st.floats(0.05, 0.95),
    rate_hz=st.floats(0.1, 2.0),
    phase=st.lists(st.floats(0.0, 6.28), min_size=RIG_DOF, max_size=RIG_DOF),
)
def test_a_path_within_limits_passes_bit_for_bit(share: float, rate_hz: float, phase: list[float]) -> None:
    limits = RigLimits.from_rig(RIGS["sim-x5"])
    start = 0.5 * (limits.position_min + limits.position_max)
    omega = 2.0 * np.pi * rate_hz
    room = np.minimum.reduce(
        [
            0.4 * (limits.position_max - limits.position_min),
            0.2 * limits.velocity_max / omega,
            0.2 * limits.acceleration_max / omega**2,
            0.2 * limits.jerk_max / omega**3,
        ]
    )
    t_s = np.arange(400)[:, None] * DT
    # It sets in slowly: a jump in velocity would be outside the limits.
    x = np.clip(0.5 * t_s * rate_hz, 0.0, 1.0)
    onset = x**4 * (35.0 - 84.0 * x + 70.0 * x**2 - 20.0 * x**3)
    targets = start + share * room * onset * np.sin(omega * t_s + np.array(phase))
    rows = command("sim-x5", targets, start)
    np.testing.assert_array_equal(rows[3:], targets)


@settings(max_examples=8, deadline=None)
@given(jump=st.floats(0.001, 0.5), rate_hz=st.floats(0.1, 0.8), at=st.integers(40, 120))
def test_after_a_jump_the_target_is_met_again_and_kept(jump: float, rate_hz: float, at: int) -> None:
    limits = RigLimits.from_rig(RIGS["sim-x5"])
    start = 0.5 * (limits.position_min + limits.position_max)
    t_s = np.arange(400)[:, None] * DT
    targets = start + 0.1 * (1.0 - np.cos(2.0 * np.pi * rate_hz * t_s)) * np.ones(RIG_DOF)
    targets[at:] += jump * 0.4
    rows = command("sim-x5", targets, start)[3:]
    np.testing.assert_array_equal(rows[at + 150 :], targets[at + 150 :])
    assert (rows - targets)[at:].max() < 0.1 * abs(jump) * 0.4 + 0.01


def test_a_jump_from_rest_is_taken_without_overshoot() -> None:
    start = RIGS["sim-x5"].stack("home") * 0.5 + 0.2
    for jump in (0.001, 0.01, 0.1, 0.3):
        rows = command("sim-x5", np.tile(start + jump, (200, 1)), start)
        assert (rows[-1] == start + jump).all()
        assert (rows - start - jump).max() < 1e-4


@pytest.mark.parametrize("name", rig_names())
def test_a_far_goal_is_approached_at_the_full_velocity(name: str) -> None:
    limits = RigLimits.from_rig(RIGS[name])
    rows = command(name, np.tile(limits.position_max, (400, 1)), limits.position_min)
    fastest = np.abs(np.diff(rows, axis=0)).max(axis=0) / DT
    np.testing.assert_allclose(fastest, limits.velocity_max, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    v=st.floats(-50.0, 50.0),
    share=st.floats(-1.0, 1.0),
    a_max=st.floats(0.5, 30.0),
    j_max=st.floats(0.2, 5.0),
)
def test_the_stop_in_closed_form_is_the_stop_rolled_out(v: float, share: float, a_max: float, j_max: float) -> None:
    axes = Axes(np.array([a_max]), np.array([j_max]))
    speed, acceleration, position = np.array([v]), np.array([share * a_max]), np.zeros(1)
    found = axes.stop(speed, acceleration)
    highest = lowest = 0.0
    for _ in range(400):
        acceleration = axes.brake_step(speed, acceleration)
        speed = speed + acceleration
        position = position + speed
        highest, lowest = max(highest, position[0]), min(lowest, position[0])
    np.testing.assert_allclose(found.end, position, rtol=1e-6, atol=1e-6)
    assert highest <= found.up[0] + 1e-6
    assert lowest >= -found.down[0] - 1e-6
    assert abs(speed[0]) < 1e-6


@settings(max_examples=200, deadline=None)
@given(
    v=st.floats(-50.0, 50.0),
    share=st.floats(-1.0, 1.0),
    a_max=st.floats(0.5, 30.0),
    j_max=st.floats(0.2, 5.0),
)
def test_no_stop_passes_the_bounds_that_are_quick_to_find(v: float, share: float, a_max: float, j_max: float) -> None:
    axes = Axes(np.array([a_max]), np.array([j_max]))
    speed, acceleration = np.array([v]), np.array([share * a_max])
    found, (fastest, farthest) = axes.stop(speed, acceleration), axes.bounds(speed, acceleration)
    assert max(abs(v), abs(found.v_coast[0])) <= fastest[0]
    assert max(found.up[0], found.down[0]) <= farthest[0]
    np.testing.assert_array_equal(axes.stop_end(speed, acceleration), found.end)


@settings(max_examples=300, deadline=None)
@given(
    v=st.floats(-50.0, 50.0),
    share=st.floats(-1.0, 1.0),
    ramp_ticks=st.floats(0.1, 100.0),
    crossing=st.none() | st.floats(0.0, 2.0),
)
def test_nor_does_a_stop_that_is_planned_in_continuous_time(
    v: float, share: float, ramp_ticks: float, crossing: float | None
) -> None:
    a_max = np.ones(1)
    j_max, a = a_max / ramp_ticks, share * a_max
    # Stops that end near where they began are the hardest: the acceleration alone carries them there and back.
    speed = np.full(1, v) if crossing is None else -np.sign(a) * a * a / (2.0 * j_max) * crossing
    rates = Rates(np.full(1, 1e3), a_max / DT**2, j_max / DT**3)
    course = Planner(rates, DT).brake(Motion(np.zeros(1), speed / DT, a / DT**2))
    farthest = Axes(a_max, j_max).bounds(speed, a)[1]
    for tick in range(0, course.ticks + 1, max(course.ticks // 8, 1)):
        assert np.abs(course.at(tick)) <= farthest + 1e-9
