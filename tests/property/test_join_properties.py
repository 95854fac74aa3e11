"""Whatever plan, chunk and delay meet, every join keeps the rules of the timeline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.control.merge import MERGES
from runtime.control.plan import PAST_TICKS, Chunk, Joined, Plan
from runtime.layout import GRIPPER_INDEX, RIG_DOF

NOW = 1000
GRIPPERS = list(GRIPPER_INDEX)
QUEUES = {"sync", "naive"}
BY_PREFIX = {"prefix", "leadtime"}


@st.composite
def plans(draw: st.DrawFn, first_tick: int = NOW) -> Plan:
    """A plan of up to 60 ticks; every action is unlike any other."""
    rows = np.random.default_rng(draw(st.integers(0, 2**16))).normal(size=(draw(st.integers(1, 60)) + 2, RIG_DOF))
    return Plan(first_tick, rows[PAST_TICKS:], rows[:PAST_TICKS])


@st.composite
def chunks(draw: st.DrawFn, first_tick: int = NOW) -> Chunk:
    """A chunk about a tick from long ago to well ahead."""
    horizon = draw(st.integers(1, 60))
    actions = np.random.default_rng(draw(st.integers(0, 2**16))).normal(size=(horizon, RIG_DOF))
    return Chunk(first_tick + draw(st.integers(-70, 70)), draw(st.integers(0, horizon)), actions)


def frozen(plan: Plan, chunk: Chunk) -> None:
    for array in (plan.actions, plan.past, chunk.actions):
        array.flags.writeable = False


def gripper_sources(name: str, plan: Plan, chunk: Chunk, joined: Joined, row: int) -> list[np.ndarray]:
    """Return the gripper actions that may be due at a row: those planned for its tick, and for a queue its turn."""
    tick = joined.first_tick + row
    due = [row] if name in QUEUES else [tick - chunk.start_tick]
    sources = [chunk.actions[i] for i in due if 0 <= i < len(chunk.actions)]
    return sources or [plan.actions[tick - plan.first_tick]]


@pytest.mark.parametrize("name", list(MERGES))
@settings(max_examples=60, deadline=None)
@given(plan=plans(), chunk=chunks())
def test_what_is_joined_begins_in_the_plan_leaves_no_gap_and_is_finite(name: str, plan: Plan, chunk: Chunk) -> None:
    frozen(plan, chunk)
    joined = MERGES[name].joiner().join(plan, chunk)
    if joined is None:
        return
    assert plan.first_tick < joined.first_tick <= plan.end_tick
    assert joined.actions.ndim == 2
    assert len(joined.actions) >= 1
    assert np.isfinite(joined.actions).all()


@pytest.mark.parametrize("name", list(MERGES))
@settings(max_examples=60, deadline=None)
@given(plan=plans(), chunk=chunks())
def test_nothing_is_joined_exactly_when_nothing_of_the_chunk_can_act(name: str, plan: Plan, chunk: Chunk) -> None:
    joined = MERGES[name].joiner().join(plan, chunk)
    kept = chunk.prefix_len if name in BY_PREFIX else 0
    elapsed = chunk.start_tick + len(chunk.actions) <= min(max(NOW + 1, chunk.start_tick + kept), plan.end_tick)
    beyond = chunk.start_tick > plan.end_tick
    assert (joined is None) is ((elapsed or beyond) and name not in QUEUES)


@pytest.mark.parametrize("name", list(MERGES))
@settings(max_examples=60, deadline=None)
@given(plan=plans(), chunk=chunks())
def test_grippers_are_never_averaged(name: str, plan: Plan, chunk: Chunk) -> None:
    joined = MERGES[name].joiner().join(plan, chunk)
    if joined is None:
        return
    for row, action in enumerate(joined.actions):
        sources = gripper_sources(name, plan, chunk, joined, row)
        assert any((action[GRIPPERS] == source[GRIPPERS]).all() for source in sources)


@pytest.mark.parametrize("name", list(MERGES))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_run_of_chunks_keeps_the_rules_throughout(name: str, data: st.DataObject) -> None:
    joiner, plan = MERGES[name].joiner(), data.draw(plans())
    seen = [plan.actions]
    for _ in range(data.draw(st.integers(1, 6))):
        executed = np.concatenate([plan.past, plan.actions])
        ahead = data.draw(st.integers(0, len(plan.actions) - 1))
        plan = Plan(plan.first_tick + ahead, plan.actions[ahead:], executed[ahead : ahead + PAST_TICKS])
        chunk = data.draw(chunks(plan.first_tick))
        frozen(plan, chunk)
        joined = joiner.join(plan, chunk)
        if joined is None or not data.draw(st.booleans()):
            continue
        assert plan.first_tick < joined.first_tick <= plan.end_tick
        assert np.isfinite(joined.actions).all()
        seen.append(chunk.actions)
        grippers = {tuple(row) for rows in seen for row in rows[:, GRIPPERS]}
        assert {tuple(row) for row in joined.actions[:, GRIPPERS]} <= grippers
        kept = plan.actions[: joined.first_tick - plan.first_tick]
        plan = Plan(plan.first_tick, np.concatenate([kept, joined.actions]), plan.past)


@settings(max_examples=60, deadline=None)
@given(plan=plans(), chunk=chunks(), name=st.sampled_from(sorted(MERGES)))
def test_the_same_arguments_give_the_same_bytes(name: str, plan: Plan, chunk: Chunk) -> None:
    first, second = (MERGES[name].joiner().join(plan, chunk) for _ in range(2))
    assert (first is None) is (second is None)
    if first is not None and second is not None:
        assert first.first_tick == second.first_tick
        assert first.actions.tobytes() == second.actions.tobytes()
