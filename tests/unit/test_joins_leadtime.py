"""Our join: what it keeps, what it drops, and that position and velocity go on across every seam."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.control.joins.leadtime import BLEND_TICKS, LED_BACK_TICKS, Leadtime, leading_to, smoothed
from runtime.control.plan import Chunk, Joined, Plan
from runtime.layout import RIG_DOF
from tests.unit.joining import GRIPPERS, JOINTS, NOW, joined_by, line, wave

HORIZON = 50
STEP = 0.2


def a_plan(count: int = 30) -> Plan:
    return Plan(NOW, wave(range(NOW, NOW + count)), wave(range(NOW - 2, NOW)))


def a_chunk(start_tick: int, prefix_len: int = 0, horizon: int = HORIZON, *, step: float = 0.0) -> Chunk:
    """A chunk of the same motion as the plan; after its prefix it is off by a step."""
    actions = wave(range(start_tick, start_tick + horizon))
    actions[prefix_len:] += step
    return Chunk(start_tick, prefix_len, actions)


def own(chunk: Chunk, joined: Joined) -> np.ndarray:
    """Return what the chunk itself has from the seam on."""
    steps = smoothed(chunk)
    steps[:, GRIPPERS] = chunk.actions[:, GRIPPERS]
    return steps[joined.first_tick - chunk.start_tick :]


def offset_of(chunk: Chunk, joined: Joined) -> np.ndarray:
    """Return the offset of the joints, one tick a row, zero at the end of the blend."""
    return (joined.actions - own(chunk, joined))[:BLEND_TICKS, JOINTS]


def executed_before(plan: Plan, joined: Joined, count: int) -> np.ndarray:
    rows = np.concatenate([plan.past, plan.actions])
    end = joined.first_tick - plan.first_tick + len(plan.past)
    return rows[end - count : end]


@pytest.mark.parametrize(
    ("chunk", "first_tick"),
    [
        (a_chunk(NOW - 5, 18), NOW + 13),
        (a_chunk(NOW - 17, 18), NOW + 1),
        (a_chunk(NOW - 18, 18), NOW + 1),
        (a_chunk(NOW - 30, 18), NOW + 1),
        (a_chunk(NOW - 30), NOW + 1),
        (a_chunk(NOW + 9), NOW + 9),
        (a_chunk(NOW - 4, 40), NOW + 30),
    ],
    ids=["in time", "just in time", "a tick late", "late", "told of no plan", "about the future", "plan ends first"],
)
def test_the_plan_stays_to_the_end_of_the_prefix_and_a_late_chunk_loses_what_has_elapsed(
    chunk: Chunk, first_tick: int
) -> None:
    joined = joined_by(Leadtime(), a_plan(), chunk)
    assert joined.first_tick == first_tick
    assert joined.first_tick + len(joined.actions) == chunk.start_tick + HORIZON
    np.testing.assert_array_equal(joined.actions[BLEND_TICKS:], own(chunk, joined)[BLEND_TICKS:])
    np.testing.assert_array_equal(joined.actions[:, GRIPPERS], own(chunk, joined)[:, GRIPPERS])


@pytest.mark.parametrize(
    "chunk",
    [
        a_chunk(NOW - 5, 18, step=STEP),
        a_chunk(NOW - 30, 18, step=STEP),
        a_chunk(NOW - 30, step=STEP),
        a_chunk(NOW + 9, step=STEP),
        a_chunk(NOW, step=STEP),
        a_chunk(NOW - 1, 1, step=STEP),
    ],
    ids=["in time", "late", "told of no plan", "about the future", "one tick old", "two ticks old"],
)
def test_a_step_is_taken_out_of_position_and_velocity(chunk: Chunk) -> None:
    plan = a_plan()
    joined = joined_by(Leadtime(), plan, chunk)
    path = np.concatenate([executed_before(plan, joined, 3), joined.actions])[:, JOINTS]
    steps, bends = np.diff(path, axis=0), np.diff(path, n=2, axis=0)
    motion = np.diff(wave(range(200)), axis=0)
    assert np.abs(steps).max() < np.abs(motion).max() + 2.2 * STEP / BLEND_TICKS
    assert np.abs(bends).max() < np.abs(np.diff(motion, axis=0)).max() + 8.0 * STEP / BLEND_TICKS**2
    np.testing.assert_array_equal(offset_of(chunk, joined)[-1], 0.0)


def test_without_the_offset_the_same_step_is_there() -> None:
    """The bounds of the test above are not met by a chunk that is taken as it is."""
    plan, chunk = a_plan(), a_chunk(NOW - 30, step=STEP)
    path = np.concatenate([executed_before(plan, joined_by(Leadtime(), plan, chunk), 3), chunk.actions[31:]])
    assert np.abs(np.diff(path[:, JOINTS], axis=0)).max() > STEP


def test_the_offset_begins_as_the_difference_and_ends_at_rest() -> None:
    """A polynomial through six of its values gives its derivatives at both ends."""
    plan, chunk = a_plan(), Chunk(NOW - 20, 8, wave(range(HORIZON), phase=2.0))
    joined = joined_by(Leadtime(), plan, chunk)
    ticks = np.arange(1, BLEND_TICKS + 1)
    fit = np.polyfit(ticks, offset_of(chunk, joined), 5)
    for joint, column in zip(JOINTS, range(fit.shape[1]), strict=True):
        polynomial = np.poly1d(fit[:, column])
        planned = executed_before(plan, joined, 2)[:, joint]
        sampled = smoothed(chunk)[joined.first_tick - chunk.start_tick - 2 :][:2, joint]
        value = [polynomial(0.0), polynomial.deriv(1)(0.0), polynomial.deriv(2)(0.0)]
        wanted = [planned[1] - sampled[1], np.diff(planned)[0] - np.diff(sampled)[0], 0.0]
        np.testing.assert_allclose(value, wanted, atol=1e-9)
        end = [polynomial(BLEND_TICKS), polynomial.deriv(1)(BLEND_TICKS), polynomial.deriv(2)(BLEND_TICKS)]
        np.testing.assert_allclose(end, 0.0, atol=1e-9)


def test_where_plan_and_chunk_agree_the_chunk_is_passed_bit_for_bit() -> None:
    chunk = a_chunk(NOW - 20)
    planned = smoothed(chunk)
    plan = Plan(NOW, planned[20:], planned[18:20])
    joined = joined_by(Leadtime(), plan, chunk)
    np.testing.assert_array_equal(joined.actions[:, JOINTS], planned[21:, JOINTS])


def test_a_motion_led_on_from_its_prefix_is_hardly_changed() -> None:
    plan, chunk = a_plan(), a_chunk(NOW - 5, 18)
    joined = joined_by(Leadtime(), plan, chunk)
    np.testing.assert_allclose(joined.actions, own(chunk, joined), rtol=0, atol=0.01)
    np.testing.assert_allclose(joined_by(Leadtime(), plan, a_chunk(NOW - 5)).actions, chunk.actions[6:], atol=0.01)


def test_a_prefix_that_the_policy_parts_from_with_a_step_does_not_hide_it() -> None:
    plan = a_plan()
    joined = joined_by(Leadtime(), plan, a_chunk(NOW - 5, 18, step=STEP))
    led = executed_before(plan, joined, 2)
    jump = np.abs(joined.actions[0] - (2.0 * led[1] - led[0]))[JOINTS].max()
    assert jump < 0.2 * STEP


def test_from_standstill_the_motion_begins_slowly() -> None:
    still = np.zeros((2, RIG_DOF))
    plan = Plan(NOW, still[:1], still)
    joined = joined_by(Leadtime(), plan, a_chunk(NOW - 10))
    assert joined.first_tick == NOW + 1
    path = np.concatenate([still, joined.actions])[:, JOINTS]
    assert np.abs(path[2]).max() < 0.1 * np.abs(path).max()
    assert np.abs(np.diff(path, n=2, axis=0)).max() < 0.1


@pytest.mark.parametrize("left", [1, 2, 5, BLEND_TICKS - 1])
def test_a_chunk_shorter_than_the_blend_is_blended_as_far_as_it_goes(left: int) -> None:
    plan = a_plan()
    short = a_chunk(NOW - 20, 8, horizon=21 + left, step=STEP)
    whole = joined_by(Leadtime(), plan, a_chunk(NOW - 20, 8, step=STEP))
    joined = joined_by(Leadtime(), plan, short)
    assert len(joined.actions) == left
    # The last action of a chunk is not smoothed: it alone differs.
    np.testing.assert_array_equal(joined.actions[:-1], whole.actions[: left - 1])
    np.testing.assert_allclose(joined.actions[-1], whole.actions[left - 1], atol=0.01)


def test_smoothing_is_the_b_spline_and_spares_grippers_prefix_and_ends() -> None:
    noise = np.random.default_rng(0).normal(size=(HORIZON, RIG_DOF))
    chunk = Chunk(NOW - 20, 8, noise)
    plan = Plan(NOW, smoothed(chunk)[20:], smoothed(chunk)[18:20])
    joined = joined_by(Leadtime(), plan, chunk)
    expected = np.stack([np.convolve(column, [1 / 6, 4 / 6, 1 / 6], "same") for column in noise.T], axis=1)
    np.testing.assert_allclose(joined.actions[:-1, JOINTS], expected[21:-1, JOINTS], atol=1e-12)
    np.testing.assert_array_equal(joined.actions[-1], noise[-1])
    np.testing.assert_array_equal(joined.actions[:, GRIPPERS], noise[21:, GRIPPERS])
    np.testing.assert_array_equal(smoothed(chunk)[:8], noise[:8])
    np.testing.assert_allclose(smoothed(Chunk(0, 0, line(5, 20))), line(5, 20), atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 5, HORIZON])
def test_a_chunk_is_led_back_by_the_parabola_through_its_first_steps(count: int) -> None:
    steps = np.random.default_rng(count).normal(size=(count, RIG_DOF))
    near = steps[:LED_BACK_TICKS]
    fit = np.polyfit(np.arange(len(near)), near, min(2, len(near) - 1))
    expected = [np.polyval(fit, tick) for tick in (-2, -1)]
    np.testing.assert_allclose(leading_to(steps, 0, 0), expected, atol=1e-10)


def test_a_chunk_is_not_led_back_where_it_has_steps_of_its_own() -> None:
    steps = wave(range(HORIZON))
    np.testing.assert_array_equal(leading_to(steps, 20, 8), steps[18:20])
    np.testing.assert_array_equal(leading_to(steps, 9, 8)[1], steps[8])
    assert (leading_to(steps, 9, 8)[0] != steps[7]).any()
