"""Promises of the merges: the registry, and which action of which chunk runs at which tick."""

from __future__ import annotations

import pytest

from runtime.control.merge import MERGES
from runtime.states import Condition
from tests.unit.joining import NOW, chunk, joined_by, plan

AGGREGATES = ["weighted_average", "latest_only", "average", "conservative"]
AT_ONCE = ["aligned", "rtc", "rtc_identity", "bid", "latest_only"]
AFTER_PREFIX = ["prefix", "leadtime"]
QUEUES = ["sync", "naive"]


def test_every_merge_is_there_under_its_name() -> None:
    names = {*QUEUES, *AT_ONCE, *AFTER_PREFIX, *AGGREGATES, "ensemble", "future_state", "min_jerk", "a2c2"}
    assert set(MERGES) == names
    assert all(name == merge.name for name, merge in MERGES.items())


@pytest.mark.parametrize("name", list(MERGES))
def test_every_merge_says_where_it_comes_from_and_what_it_asks_for(name: str) -> None:
    assert MERGES[name].source
    assert MERGES[name].conditions


def test_merges_ask_for_what_their_papers_do() -> None:
    asked = {name: merge.conditions for name, merge in MERGES.items()}
    assert asked.pop("rtc") == (Condition.GUIDED,)
    assert asked.pop("rtc_identity") == (Condition.GUIDED_IDENTITY,)
    assert asked.pop("prefix") == (Condition.PREFIX,)
    assert asked.pop("future_state") == (Condition.FUTURE,)
    assert asked.pop("bid") == (Condition.BEST_OF,)
    assert asked.pop("leadtime") == (Condition.PREFIX, Condition.GUIDED, Condition.PLAIN)
    assert set(asked.values()) == {(Condition.PLAIN,)}


def test_only_sync_stops_between_chunks() -> None:
    assert [name for name, merge in MERGES.items() if merge.stops] == ["sync"]


@pytest.mark.parametrize("name", list(MERGES))
def test_every_epoch_gets_a_joiner_of_its_own(name: str) -> None:
    first, second = MERGES[name].joiner(), MERGES[name].joiner()
    first.join(plan(), chunk(90))
    alone, after = second.join(plan(), chunk(95)), MERGES[name].joiner().join(plan(), chunk(95))
    assert alone is not None
    assert after is not None
    assert (alone.actions == after.actions).all()


@pytest.mark.parametrize("name", QUEUES)
def test_a_replaced_queue_runs_its_first_action_next_whatever_its_age(name: str) -> None:
    joined = joined_by(MERGES[name].joiner(), plan(), chunk(82))
    assert (joined.first_tick, joined.actions[0, 0], len(joined.actions)) == (NOW + 1, 1082, 50)


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_has_elapsed_is_skipped(name: str) -> None:
    joined = joined_by(MERGES[name].joiner(), plan(), chunk(82, prefix_len=25))
    assert (joined.first_tick, joined.actions[0, 0], len(joined.actions)) == (NOW + 1, NOW + 1001, 31)


def test_committed_steps_are_left_alone() -> None:
    joined = joined_by(MERGES["prefix"].joiner(), plan(), chunk(90, prefix_len=18))
    assert (joined.first_tick, joined.actions[0, 0]) == (108, 1108)


def test_an_answer_later_than_its_prefix_loses_what_has_elapsed() -> None:
    joined = joined_by(MERGES["prefix"].joiner(), plan(), chunk(82, prefix_len=10))
    assert (joined.first_tick, joined.actions[0, 0]) == (NOW + 1, NOW + 1001)


def test_a_plan_that_ends_within_the_prefix_is_continued_without_a_gap() -> None:
    joined = joined_by(MERGES["prefix"].joiner(), plan(3), chunk(98, prefix_len=18))
    assert (joined.first_tick, joined.actions[0, 0]) == (NOW + 3, NOW + 1003)


@pytest.mark.parametrize("name", ["future_state", "leadtime"])
def test_a_chunk_that_begins_ahead_leaves_the_plan_until_then(name: str) -> None:
    joined = joined_by(MERGES[name].joiner(), plan(), chunk(NOW + 7))
    assert (joined.first_tick, len(joined.actions)) == (NOW + 7, 50)


def test_a_late_answer_about_the_future_loses_what_has_elapsed() -> None:
    joined = joined_by(MERGES["future_state"].joiner(), plan(), chunk(NOW - 4))
    assert (joined.first_tick, joined.actions[0, 0]) == (NOW + 1, NOW + 1001)


@pytest.mark.parametrize("name", [name for name in MERGES if name not in QUEUES])
def test_a_chunk_that_lies_in_the_past_gives_nothing(name: str) -> None:
    assert MERGES[name].joiner().join(plan(), chunk(NOW - 49)) is None
    assert MERGES[name].joiner().join(plan(), chunk(NOW - 48)) is not None


@pytest.mark.parametrize("name", [name for name in MERGES if name not in QUEUES])
def test_a_chunk_that_begins_after_the_plan_ends_gives_nothing(name: str) -> None:
    assert MERGES[name].joiner().join(plan(3), chunk(NOW + 4)) is None
    assert MERGES[name].joiner().join(plan(3), chunk(NOW + 3)) is not None
