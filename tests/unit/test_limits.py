"""Promises of the limiter at their very boundaries: what passes and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.config import load_rig
from runtime.control import limits
from runtime.control.limits import RigLimiter, RigLimits
from runtime.layout import RIG_DOF
from tests.unit.limits_bench import A_LITTLE, DT, EVERY, RESTS, ROOM, A, J, Path, V, rig_limits


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the limits as they are, without the share that is left to rounding."""
    monkeypatch.setattr(limits, "_SHARE", 1.0)
    monkeypatch.setattr(limits, "_TOUCH", 0.0)


def test_the_tolerances_are_those_that_were_chosen() -> None:
    assert (limits._TOUCH, limits._SHARE, limits._AT_REST) == (1e-13, 1.0 - 1e-6, 1e-9)
    np.testing.assert_array_equal(limits._FRACTIONS[:, 0], np.arange(9) / 8.0)


def test_a_rig_leaves_the_control_process_its_share_of_the_arms_limits() -> None:
    rig = load_rig("sim-x5")
    found = RigLimits.from_rig(rig)
    np.testing.assert_array_equal(found.position_min, rig.stack("position_min"))
    np.testing.assert_array_equal(found.position_max, rig.stack("position_max"))
    rates = found.rates
    for most, name in zip(
        (rates.velocity_max, rates.acceleration_max, rates.jerk_max), ("velocity", "acceleration", "jerk"), strict=True
    ):
        share = getattr(rig.limits, f"{name}_fraction")
        assert 0.0 < share < 1.0
        np.testing.assert_array_equal(most, share * rig.stack(f"{name}_max"))


def test_it_begins_at_rest_inside_the_limits() -> None:
    limiter = RigLimiter(rig_limits(), DT, np.full(RIG_DOF, 5.0))
    np.testing.assert_array_equal(limiter.motion.position, np.full(RIG_DOF, ROOM))
    assert limiter.at_rest
    assert limiter.step(np.full(RIG_DOF, ROOM)) == 0
    np.testing.assert_array_equal(limiter.motion.velocity, RESTS)


def test_the_motion_is_in_differences_over_ticks() -> None:
    limiter = RigLimiter(rig_limits(), DT, RESTS)
    assert Path(limiter).steps(0.5, 0.75) == [0, 0]
    motion = limiter.motion
    np.testing.assert_array_equal(motion.position, np.full(RIG_DOF, 1.75 * J))
    np.testing.assert_array_equal(motion.velocity, np.full(RIG_DOF, 1.25 * J / DT))
    np.testing.assert_array_equal(motion.acceleration, np.full(RIG_DOF, 0.75 * J / DT**2))
    assert limiter.motion is motion


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_target_passes_at_the_jerk_and_acceleration_limits_and_not_beyond(side: float) -> None:
    assert Path(RigLimiter(rig_limits(), DT, RESTS), side=side).steps(1, 2, 3, 4, 4) == [0] * 5
    assert Path(RigLimiter(rig_limits(), DT, RESTS), side=side).step(J + A_LITTLE) == EVERY
    path = Path(RigLimiter(rig_limits(), DT, RESTS), side=side)
    assert path.steps(1, 2, 3, 4) == [0] * 4
    assert path.step(A + A_LITTLE) == EVERY
    path = Path(RigLimiter(rig_limits(), DT, RESTS), side=side)
    assert path.steps(1, 2, 1, 0, -1, -2) == [0] * 6
    assert path.step(-3 * J - A_LITTLE) == EVERY


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_target_passes_at_the_velocity_limit_and_not_beyond(side: float) -> None:
    """At 10 J and an acceleration of 4 J taken back by J a tick, the velocity becomes 10 J + 3 J + 2 J + J."""
    path = Path(RigLimiter(rig_limits(v=16 * J), DT, RESTS), side=side)
    assert path.steps(1, 2, 3, 4, 3, 2, 1, 0, 0) == [0] * 9
    assert path.step(A_LITTLE) == EVERY
    path = Path(RigLimiter(rig_limits(v=16 * J - A_LITTLE), DT, RESTS), side=side)
    assert path.steps(1, 2, 3, 4) == [0, 0, 0, EVERY]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_target_passes_whose_stop_goes_beyond_the_position_limit_by_rounding_alone(
    monkeypatch: pytest.MonkeyPatch, side: float
) -> None:
    """From 10 J with a velocity of 6 J and an acceleration of 3 J it stops in 8, 9, 9, 8, 6, 3 and 1 J: at 54 J."""
    monkeypatch.setattr(limits, "_SHARE", 1.0)
    touch = J / 4
    monkeypatch.setattr(limits, "_TOUCH", touch)
    end = 54 * J
    for beyond, passes in ((touch, True), (touch + A_LITTLE, False)):
        ends = sorted((side * (end - beyond), -side * ROOM))
        path = Path(RigLimiter(rig_limits(low=ends[0], high=ends[1]), DT, RESTS), side=side)
        assert path.steps(1, 2, 3) == [0, 0, 0 if passes else EVERY]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("joint", range(RIG_DOF))
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_each_joint_is_told_apart_and_held_to_its_own_limits(joint: int, side: float) -> None:
    others = EVERY - (1 << joint)
    wide, narrow = np.full(RIG_DOF, 64 * J), np.full(RIG_DOF, ROOM)
    for what, value, a in (("v", 16 * J - A_LITTLE, 4), ("a", 3 * J, 4), ("j", 0.5 * J, 1)):
        most = {"v": wide.copy(), "a": np.full(RIG_DOF, A), "j": np.full(RIG_DOF, J)}
        most[what][joint] = value
        path = Path(RigLimiter(rig_limits(**most), DT, RESTS), side=side)
        assert path.steps(*range(1, a + 1))[-1] == 1 << joint, what
    narrow[joint] = 20 * J
    path = Path(RigLimiter(rig_limits(low=-narrow, high=narrow), DT, RESTS), side=side)
    assert path.steps(1, 2, 3)[-1] == 1 << joint
    path = Path(RigLimiter(rig_limits(), DT, RESTS), joints=joint, side=side)
    assert path.step(2 * J) == 1 << joint
    target = np.zeros(RIG_DOF)
    target[joint] = np.nan
    assert RigLimiter(rig_limits(), DT, RESTS).step(target) == 1 << joint
    assert others


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("pace", "joins"), [(9 * J, True), (9 * J + A_LITTLE, False), (9 * J - A_LITTLE, False)])
@pytest.mark.parametrize("joints", [slice(None), 0, 13])
def test_a_chased_target_is_joined_only_where_it_can_be_stayed_with(
    side: float, pace: float, joins: bool, joints: object
) -> None:
    """A joint that chases at full jerk has gone 10 J with 6 J and 3 J; the next tick would have 8 J and 2 J.

    From there a jerk of J leads to 9 J, a velocity that can then be kept by one more: so 9 J alone is within both.
    """
    limiter = RigLimiter(rig_limits(), DT, RESTS)
    moves = np.zeros(RIG_DOF)
    moves[joints] = side
    bits = sum(1 << i for i in range(RIG_DOF) if moves[i])
    elsewhere = V * moves
    for far in (3.0, 3.0 + pace, 3.0 + 2 * pace):
        assert limiter.step(far * moves) == bits
    np.testing.assert_array_equal(limiter.motion.position, 10 * J * moves)
    assert limiter.step(18 * J * moves, elsewhere) == (0 if joins else bits)


def test_a_step_is_no_rest_and_neither_is_an_acceleration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_AT_REST", J / 4)
    for side in (1.0, -1.0):
        for joint in (0, 13):
            for a, rests in (
                ((0.125,), True),
                ((0.25, 0.0), False),
                ((0.25, -0.25), False),
                ((0.25, -0.25, 0.0), True),
            ):
                limiter = RigLimiter(rig_limits(), DT, RESTS)
                Path(limiter, joint, side).steps(*a)
                assert limiter.at_rest is rests, (side, joint, a)


def test_how_far_it_goes_is_bounded_by_a_number_that_is_quick_to_find() -> None:
    limiter = RigLimiter(rig_limits(), DT, RESTS)
    np.testing.assert_array_equal(limiter.stop_within, RESTS)
    Path(limiter).steps(0.5, 1.0, 1.5, 1.0)
    began = limiter.motion.position
    bound = limiter.stop_within
    for _ in range(40):
        limiter.brake()
    assert limiter.at_rest
    assert (limiter.motion.position - began > 0.1 * bound).all()
    assert (limiter.motion.position - began <= bound).all()


def test_a_part_that_begins_anew_is_at_rest_chases_nothing_and_leaves_the_others_alone() -> None:
    part, rest = slice(0, 7), slice(7, 14)
    limiter = RigLimiter(rig_limits(), DT, RESTS)
    path = Path(limiter)
    path.steps(0.5, 0.75)
    limiter.step(np.full(RIG_DOF, np.nan))
    before = limiter.motion
    seeded = limiter.motion.position.copy()
    limiter.seed(np.full(7, 9.0), part)
    seeded[part] = ROOM
    np.testing.assert_array_equal(limiter.motion.position, seeded)
    for now, then in zip(
        (limiter.motion.velocity, limiter.motion.acceleration), (before.velocity, before.acceleration), strict=True
    ):
        np.testing.assert_array_equal(now[part], np.zeros(7))
        np.testing.assert_array_equal(now[rest], then[rest])
    limiter.seed(RESTS[:7], part)
    target = np.full(RIG_DOF, 0.5 * J)
    assert not limiter.step(target) & 0b1111111, "a joint that had chased passes its first target on"
    np.testing.assert_array_equal(limiter.motion.position[part], target[part])
    limiter.seed(RESTS[:7], part)
    np.testing.assert_array_equal(limiter._pace[part], np.zeros(7))
