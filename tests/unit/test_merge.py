"""Promises of the merges: which action of which chunk runs at which tick."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.control.merge import MERGES, Chunk, Plan
from runtime.layout import RIG_DOF

NOW = 100


def steps(first: float, count: int) -> np.ndarray:
    return (first + np.arange(count))[:, None] * np.ones(RIG_DOF)


def plan(count: int = 30) -> Plan:
    return Plan(NOW, steps(NOW, count))


def chunk(start_tick: int, prefix_len: int = 0, horizon: int = 50) -> Chunk:
    return Chunk(start_tick, prefix_len, steps(start_tick + 1000, horizon))


def test_naive_runs_the_first_action_next_whatever_its_age() -> None:
    merged = MERGES["naive"](plan(), chunk(82))
    assert merged is not None
    assert (merged.first_tick, merged.actions[0, 0], merged.end_tick) == (NOW + 1, 1082, NOW + 51)


def test_aligned_skips_what_has_elapsed() -> None:
    merged = MERGES["aligned"](plan(), chunk(82))
    assert merged is not None
    assert (merged.first_tick, merged.actions[0, 0], merged.end_tick) == (NOW + 1, NOW + 1001, 132)


def test_prefix_leaves_the_committed_steps_alone() -> None:
    merged = MERGES["prefix"](plan(), chunk(90, prefix_len=18))
    assert merged is not None
    assert (merged.first_tick, merged.actions[0, 0]) == (108, 1108)


def test_an_answer_later_than_its_prefix_loses_what_has_elapsed() -> None:
    merged = MERGES["prefix"](plan(), chunk(82, prefix_len=10))
    assert merged is not None
    assert (merged.first_tick, merged.actions[0, 0]) == (NOW + 1, NOW + 1001)


def test_a_plan_that_ends_within_the_prefix_is_continued_without_a_gap() -> None:
    merged = MERGES["prefix"](plan(3), chunk(98, prefix_len=18))
    assert merged is not None
    assert (merged.first_tick, merged.actions[0, 0]) == (NOW + 3, NOW + 1003)


@pytest.mark.parametrize("name", ["aligned", "prefix"])
def test_a_chunk_that_lies_in_the_past_gives_nothing(name: str) -> None:
    assert MERGES[name](plan(), chunk(NOW - 49)) is None
    assert MERGES[name](plan(), chunk(NOW - 48)) is not None


@pytest.mark.parametrize("name", ["aligned", "prefix"])
def test_a_chunk_that_begins_after_the_plan_ends_gives_nothing(name: str) -> None:
    assert MERGES[name](plan(3), chunk(NOW + 4)) is None
