"""Whatever is merged whenever, the target is continuous, in time, and never asks a gripper for more than planned."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.control.merge import MERGES
from runtime.control.plan import PAST_TICKS, Chunk, Plan
from runtime.control.timeline import Timeline
from runtime.layout import GRIPPER_INDEX, RIG_DOF

RATIO = 4
REST = np.full(RIG_DOF, 0.5)
GRIPPERS = list(GRIPPER_INDEX)

merges = st.lists(
    st.tuples(
        st.integers(1, 60),  # servo ticks until the chunk comes
        st.integers(0, 25),  # age of its observation
        st.integers(0, 25),  # prefix
        st.integers(1, 60),  # horizon
        st.integers(0, 2**16),  # seed of its actions
    ),
    min_size=1,
    max_size=12,
)


def plan_of(timeline: Timeline, tick: int) -> Plan:
    """Return what a join sees at a tick."""
    rows = timeline.rows(tick - PAST_TICKS, timeline.end_tick - tick + PAST_TICKS)
    return Plan(tick, rows[PAST_TICKS:], rows[:PAST_TICKS])


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(MERGES)), script=merges)
def test_any_sequence_of_chunks_keeps_the_plan_whole_and_the_target_continuous(
    name: str, script: list[tuple[int, int, int, int, int]]
) -> None:
    timeline = Timeline(RATIO, REST)
    timeline.begin(0)
    timeline.replace(1, np.random.default_rng(0).random((50, RIG_DOF)), 1, 0)
    servo_tick, joiner = 0, MERGES[name].joiner()
    for wait, age, prefix_len, horizon, seed in script:
        servo_tick += wait
        tick = servo_tick // RATIO
        if tick >= timeline.end_tick:
            break
        before = timeline.target(servo_tick)
        kept = timeline.rows(tick - 3, 4)
        actions = np.random.default_rng(seed).random((horizon, RIG_DOF))
        merged = joiner.join(plan_of(timeline, tick), Chunk(tick - age, min(prefix_len, horizon), actions))
        if merged is None:
            continue
        timeline.replace(merged.first_tick, merged.actions, seed, servo_tick)
        np.testing.assert_allclose(timeline.target(servo_tick), before, atol=1e-12)
        np.testing.assert_array_equal(timeline.rows(tick - 3, 4), kept)
        assert timeline.end_tick == merged.first_tick + len(merged.actions)
        np.testing.assert_array_equal(timeline.rows(merged.first_tick, len(merged.actions)), merged.actions)
        for i in range(1, len(merged.actions) - 1):
            near = merged.actions[i - 1 : i + 2]
            target = timeline.target((merged.first_tick + i) * RATIO)
            assert ((target >= near.min(axis=0) - 1e-12) & (target <= near.max(axis=0) + 1e-12)).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), wait=st.integers(1, 150), age=st.integers(0, 20))
def test_grippers_stay_between_the_actions_that_frame_them(seed: int, wait: int, age: int) -> None:
    generator = np.random.default_rng(seed)
    timeline = Timeline(RATIO, REST)
    timeline.begin(0)
    timeline.replace(1, generator.random((50, RIG_DOF)), 1, 0)
    tick = wait // RATIO
    now = timeline.target(wait)
    chunk = Chunk(tick - age, 0, generator.random((50, RIG_DOF)))
    merged = MERGES["aligned"].joiner().join(plan_of(timeline, tick), chunk)
    assert merged is not None
    timeline.replace(merged.first_tick, merged.actions, 2, wait)
    for servo_tick in range(wait, (timeline.end_tick + 2) * RATIO):
        here = servo_tick // RATIO
        start = now if here == tick else timeline.rows(here, 1)[0]
        frame = np.array([start, timeline.rows(here + 1, 1)[0]])[:, GRIPPERS]
        target = timeline.target(servo_tick)[GRIPPERS]
        assert (target >= frame.min(axis=0) - 1e-12).all()
        assert (target <= frame.max(axis=0) + 1e-12).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_the_target_is_smooth_across_ticks(seed: int) -> None:
    """Position and velocity agree from both sides of every action: by halving steps, the jump halves too."""
    actions = np.random.default_rng(seed).random((20, RIG_DOF))
    gaps = []
    for ratio in (16, 32):
        timeline = Timeline(ratio, REST)
        timeline.begin(0)
        timeline.replace(1, actions, 1, 0)
        joints = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]
        path = np.array([timeline.target(i) for i in range(ratio, 19 * ratio)])[:, joints]
        velocity = np.diff(path, axis=0) * ratio
        gaps.append(np.abs(np.diff(velocity, axis=0)).max())
    assert gaps[1] < 0.6 * gaps[0]
