"""Promises of the pacing: a slowed motion is the same motion, grippers stay what was asked for, full speed is exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.control.strategy import STRETCHES
from runtime.inference.pacing import Pacing
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import CHUNK_STEPS_MAX

GRIPPERS = list(GRIPPER_INDEX)
JOINTS = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]

stretches = st.sampled_from(STRETCHES)


def line(count: int, step: float = 0.01) -> NDArray[np.float64]:
    """Return a steady motion, joint i starting at i."""
    return np.arange(RIG_DOF) + step * np.arange(count)[:, None]


def noise(count: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((count, RIG_DOF))


def test_full_speed_passes_everything_on_bit_for_bit() -> None:
    rows, pacing = noise(50), Pacing()
    assert np.array_equal(pacing.to_ticks(rows), rows)
    assert np.array_equal(pacing.to_policy(rows), rows)
    assert np.array_equal(pacing.velocity(rows[0]), rows[0])
    assert [pacing.to_steps(ticks) for ticks in (0, 1, 18)] == [0, 1, 18]


@given(stretch=stretches, steps=st.integers(2, 32))
def test_a_steady_motion_stays_one_and_takes_as_much_longer(stretch: Fraction, steps: int) -> None:
    slow = Pacing(stretch).to_ticks(line(steps))
    np.testing.assert_allclose(slow[:, JOINTS], line(len(slow), 0.01 / float(stretch))[:, JOINTS], atol=1e-12)


@given(stretch=stretches, steps=st.integers(1, CHUNK_STEPS_MAX), seed=st.integers(0, 99))
def test_every_step_is_passed_at_its_time_and_the_last_is_not_exceeded(
    stretch: Fraction, steps: int, seed: int
) -> None:
    chunk = noise(steps, seed)
    slow = Pacing(stretch).to_ticks(chunk)
    assert len(slow) == min(int((steps - 1) * stretch) + 1, CHUNK_STEPS_MAX)
    for tick in range(0, len(slow), stretch.numerator):
        assert np.array_equal(slow[tick], chunk[int(tick / stretch)])


def test_what_lies_beyond_the_longest_chunk_is_cut() -> None:
    slow = Pacing(Fraction(2)).to_ticks(noise(100))
    assert slow.shape == (CHUNK_STEPS_MAX, RIG_DOF)
    assert np.array_equal(slow[126], noise(100)[63])


@given(stretch=stretches, seed=st.integers(0, 99))
def test_a_gripper_is_never_where_no_step_put_it(stretch: Fraction, seed: int) -> None:
    chunk = noise(30, seed)
    for rows in (Pacing(stretch).to_ticks(chunk), Pacing(stretch).to_policy(chunk)):
        assert np.isin(rows[:, GRIPPERS], chunk[:, GRIPPERS]).all()


def test_a_gripper_closes_at_the_nearer_tick() -> None:
    chunk = np.ones((3, RIG_DOF))
    chunk[1:, GRIPPERS] = 0.0
    slow = Pacing(Fraction(5, 3)).to_ticks(chunk)
    assert slow[:, GRIPPERS[0]].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert Pacing(Fraction(2)).to_ticks(chunk)[:, GRIPPERS[0]].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("stretch", STRETCHES)
def test_a_smooth_motion_comes_back_as_the_policy_knew_it(stretch: Fraction) -> None:
    steps = np.arange(30)[:, None]
    chunk = np.sin(0.08 * steps + np.arange(RIG_DOF))
    pacing = Pacing(stretch)
    again = pacing.to_policy(pacing.to_ticks(chunk))
    assert len(chunk) - len(again) <= 1
    np.testing.assert_allclose(again[:, JOINTS], chunk[: len(again), JOINTS], atol=2e-3)


@given(stretch=stretches, ticks=st.integers(0, CHUNK_STEPS_MAX))
def test_a_prefix_becomes_the_steps_that_are_due_within_it(stretch: Fraction, ticks: int) -> None:
    pacing = Pacing(stretch)
    steps = pacing.to_steps(ticks)
    assert len(pacing.to_policy(line(ticks))) == steps
    assert ticks == steps == 0 or (steps - 1) * stretch <= ticks - 1 < steps * stretch
    np.testing.assert_allclose(
        pacing.to_policy(line(ticks))[:, JOINTS], line(steps, 0.01 * float(stretch))[:, JOINTS], atol=1e-12
    )


def test_a_slowed_arm_looks_as_fast_as_in_training() -> None:
    chunk, stretch = line(20), Fraction(5, 4)
    slow = Pacing(stretch).to_ticks(chunk)
    np.testing.assert_allclose(
        Pacing(stretch).velocity(slow[6] - slow[5])[JOINTS], (chunk[6] - chunk[5])[JOINTS], atol=1e-12
    )
