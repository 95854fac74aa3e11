"""Bidirectional decoding chooses the sample that goes on from the plan, and among those no outlier."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.inference import bid

H, DOF = 20, 14


def lines(*levels: float) -> np.ndarray:
    """Return one chunk for each level, all its actions at it."""
    return np.repeat(np.array(levels, np.float64)[:, None], H * DOF, axis=1).reshape(len(levels), H, DOF)


@given(st.integers(1, H), st.integers(0, H), st.integers(0, 15))
def test_the_plan_itself_is_chosen_among_strangers(planned: int, committed: int, place: int) -> None:
    samples = lines(*np.linspace(1.0, 4.0, bid.SAMPLES))
    samples[place] = 0.0
    assert bid.choose(samples, lines(0.0)[0, :planned], min(committed, planned)) == place


def test_the_mode_of_the_plan_is_kept_although_most_samples_are_of_the_other() -> None:
    levels = [1.0] * 11 + [-1.0, -1.01, -0.99, -1.02, -0.98]
    chosen = bid.choose(lines(*levels), lines(-1.0)[0, :5], 2)
    assert levels[chosen] < 0.0


def test_without_a_plan_the_sample_in_the_middle_is_chosen() -> None:
    assert bid.choose(lines(0.0, 1.0, 1.1, 0.9, 5.0), np.empty((0, DOF)), 0) == 1


def test_what_is_committed_counts_in_full_and_what_follows_ever_less() -> None:
    plan = lines(0.0)[0]
    samples = lines(0.0, 0.0, 9.0, 9.0)
    samples[0, 3] = 1.0
    samples[1, 12] = 1.0
    # One of four is kept: the one whose difference weighs less.
    assert bid.choose(samples, plan, 8) == 1
    samples[0, 3], samples[0, 13] = 0.0, 1.0
    assert bid.choose(samples, plan, 0) == 0
    samples[1, 12], samples[1, 2] = 0.0, 1.0
    samples[0, 13], samples[0, 5] = 0.0, 1.0
    assert bid.choose(samples, plan, 8) == 0


def test_a_sample_that_begins_right_but_ends_alone_is_not_chosen() -> None:
    samples = lines(0.0, *np.linspace(0.05, 0.06, 5), *[9.0] * 10)
    samples[0, 6:] = 5.0
    assert bid.choose(samples, lines(0.0)[0, :4], 4) in range(1, 6)
