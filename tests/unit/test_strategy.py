"""Promises of the strategies: the choice follows the rule, its numbers hold, and a sentence says it."""

from __future__ import annotations

import doctest
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.control.strategy import (
    MARGIN_TICKS,
    STRETCHES,
    Execution,
    Strategy,
    plan_execution,
    requests_needed,
    stretch_needed,
    stretched,
    stretched_span,
)
from runtime.records import CHUNK_STEPS_MAX, TEXT_BYTES

PAGE = Path(__file__).parent.parent.parent / "docs" / "feasibility.md"

horizons = st.integers(1, CHUNK_STEPS_MAX)
delays = st.integers(0, 200)
cases = st.fixed_dictionaries(
    {
        "horizon": horizons,
        "delay_ticks": delays,
        "policy_hz": st.sampled_from([10, 25, 30, 50]),
        "execute_steps": st.integers(1, CHUNK_STEPS_MAX),
    },
    optional={
        "prefix_max": st.integers(0, CHUNK_STEPS_MAX),
        "concurrency": st.integers(1, 4),
        "allow_slow": st.booleans(),
    },
)


@pytest.mark.parametrize(
    ("horizon", "delay", "low", "high"), [(32, 10, 10, 22), (48, 18, 18, 30), (50, 25, 25, 25), (50, 0, 1, 50)]
)
def test_a_delay_of_at_most_half_a_chunk_is_executed_without_a_break(
    horizon: int, delay: int, low: int, high: int
) -> None:
    made = plan_execution(horizon, delay, 50)
    assert (made.strategy, made.s_min_ticks, made.s_max_ticks) == (Strategy.CONTINUOUS, low, high)
    assert made.feasible
    assert f"{low} to {high} work" in made.text


@pytest.mark.parametrize(
    ("concurrency", "allow_slow", "chosen"),
    [
        (1, False, Strategy.PAUSE),
        (2, False, Strategy.OVERLAPPED),
        (1, True, Strategy.SLOW),
        (2, True, Strategy.SLOW),
    ],
)
def test_too_long_a_delay_is_met_by_what_the_task_and_the_server_permit(
    concurrency: int, allow_slow: bool, chosen: Strategy
) -> None:
    made = plan_execution(32, 18, 50, 24, concurrency=concurrency, allow_slow=allow_slow)
    assert made.strategy is chosen
    assert plan_execution(32, 16, 50, concurrency=concurrency, allow_slow=allow_slow).strategy is Strategy.CONTINUOUS


def test_a_pause_says_what_happens_and_everything_that_would_help() -> None:
    made = plan_execution(32, 18, 50)
    assert not made.feasible
    for part in ("infeasible", "brake and hold", "chunk of 36", "16 ticks (320 ms)", "2 requests", "80 % speed"):
        assert part in made.text
    hopeless = plan_execution(16, 65, 50).text
    assert "8 ticks (160 ms)" in hopeless
    for part in ("chunk of 130", "requests", "speed"):
        assert part not in hopeless


def test_each_remedy_named_is_one() -> None:
    assert plan_execution(36, 18, 50).strategy is Strategy.CONTINUOUS
    assert plan_execution(32, 16, 50).strategy is Strategy.CONTINUOUS
    assert plan_execution(32, 18, 50, concurrency=2).feasible
    assert plan_execution(32, 18, 50, allow_slow=True).stretch == Fraction(5, 4)


def test_a_policy_that_wants_too_many_steps_gets_as_many_as_leave_the_margin() -> None:
    made = plan_execution(32, 10, 50, 24)
    assert made.s_ticks == 22 - MARGIN_TICKS
    assert "prefers 24" in made.text
    assert plan_execution(50, 25, 50, 40).s_ticks == 25


def test_a_prefix_shorter_than_the_delay_is_said_and_shortens_the_commitment() -> None:
    short, whole, none = (plan_execution(50, 18, 50, 18, prefix_max=steps) for steps in (10, 25, 0))
    assert (short.commit_ticks, whole.commit_ticks, none.commit_ticks) == (10, 18, 0)
    assert "prefix ends at 10 ticks" in short.text
    assert "prefix" not in whole.text + none.text
    assert plan_execution(32, 18, 50, prefix_max=10, allow_slow=True).commit_ticks == 13


@given(cases)
def test_the_numbers_of_every_choice_hold(case: dict[str, int]) -> None:
    made, delay = plan_execution(**case), case["delay_ticks"]
    assert 0 <= made.commit_ticks <= delay
    assert 1 <= made.s_ticks <= made.horizon_ticks <= CHUNK_STEPS_MAX
    assert made.requests_in_flight <= case.get("concurrency", 1)
    assert (made.stretch > 1) == (made.strategy is Strategy.SLOW)
    assert (made.requests_in_flight > 1) == (made.strategy is Strategy.OVERLAPPED)
    if made.feasible:
        assert made.s_min_ticks <= made.s_ticks <= made.s_max_ticks == made.horizon_ticks - delay
        assert made.s_min_ticks * made.requests_in_flight >= delay
    assert len(made.text.encode()) <= TEXT_BYTES


@given(cases)
def test_what_is_permitted_beyond_never_stops_the_arms(case: dict[str, int]) -> None:
    given_more = plan_execution(**(case | {"allow_slow": True, "concurrency": CHUNK_STEPS_MAX}))
    assert given_more.feasible == (case["delay_ticks"] < case["horizon"])
    if plan_execution(**case).feasible:
        assert given_more.feasible


@given(horizons, delays)
def test_a_slow_execution_is_as_fast_as_it_can_be_and_feasible_in_steps_too(horizon: int, delay: int) -> None:
    stretch = stretch_needed(horizon, delay)
    if stretch is None:
        assert stretched_span(horizon, STRETCHES[-1]) < 2 * delay + MARGIN_TICKS
        return
    assert 1 < stretch <= 2
    delay_steps = -(-delay * stretch.denominator // stretch.numerator)
    assert delay_steps <= horizon - delay_steps
    for faster in STRETCHES[: STRETCHES.index(stretch)]:
        assert stretched_span(horizon, faster) - delay < delay + MARGIN_TICKS


@given(horizons, delays)
def test_no_fewer_requests_at_once_would_do(horizon: int, delay: int) -> None:
    needed = requests_needed(horizon, delay)
    if needed is None:
        assert delay >= horizon
        return
    assert -(-delay // needed) <= horizon - delay
    assert needed == 1 or -(-delay // (needed - 1)) > horizon - delay


def test_a_slowed_chunk_ends_with_its_last_step_and_is_cut_where_a_run_takes_no_more() -> None:
    assert stretched_span(3, Fraction(3, 2)) == 4
    assert stretched_span(4, Fraction(3, 2)) == 5
    assert stretched_span(100, Fraction(2)) == CHUNK_STEPS_MAX
    assert stretched(10, Fraction(5, 4)) == 13


def test_overlapped_requests_switch_chunks_as_rarely_as_they_can() -> None:
    made: Execution = plan_execution(32, 18, 50, 1, concurrency=3)
    assert (made.requests_in_flight, made.s_min_ticks, made.s_ticks) == (2, 9, 14 - MARGIN_TICKS)


def test_a_request_tells_of_no_more_than_the_answered_chunks_reach() -> None:
    assert plan_execution(32, 18, 50, prefix_max=25, concurrency=2).commit_ticks == 32 - 2 * 11
    assert plan_execution(32, 18, 50, prefix_max=25).commit_ticks == 0


def test_the_page_computes_what_it_shows() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted >= 5
    assert result.failed == 0
