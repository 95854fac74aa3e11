"""Promises of the schedule: what is feasible is said, and a request is made before the plan runs out."""

from __future__ import annotations

import pytest

from runtime.control.schedule import MARGIN_TICKS, RequestScheduler, feasibility

SCHEDULER = RequestScheduler(horizon=50, execute_steps=20)


@pytest.mark.parametrize(
    ("horizon", "delay", "low", "high"), [(32, 10, 10, 22), (48, 18, 18, 30), (50, 25, 25, 25), (50, 0, 1, 50)]
)
def test_a_feasible_delay_names_the_range_of_execution_horizons(horizon: int, delay: int, low: int, high: int) -> None:
    found = feasibility(horizon, delay, 50)
    assert (found.feasible, found.s_min_ticks, found.s_max_ticks) == (True, low, high)
    assert "feasible" in found.text
    assert f"{low}..{high}" in found.text


def test_an_infeasible_delay_says_what_happens_and_what_would_help() -> None:
    found = feasibility(32, 18, 50)
    assert not found.feasible
    assert "infeasible" in found.text
    assert "brake and hold" in found.text
    assert "36" in found.text
    assert "16 ticks (320 ms)" in found.text


def test_a_policy_that_wants_too_many_steps_gets_as_many_as_fit() -> None:
    found = feasibility(50, 18, 50, execute_steps=40)
    assert (found.feasible, found.s_min_ticks, found.s_max_ticks) == (True, 32, 32)


def ask(obs_tick: int, last: int | None, end_tick: int, forecast: int = 18, *, in_flight: bool = False) -> int | None:
    plan = SCHEDULER.decide(
        now_tick=obs_tick + 1,
        end_tick=end_tick,
        obs_tick=obs_tick,
        last_obs_tick=last,
        forecast_ticks=forecast,
        in_flight=in_flight,
    )
    return None if plan is None else plan.prefix_len


def test_a_request_is_due_an_execution_horizon_after_the_last() -> None:
    assert ask(119, 100, 200) is None
    assert ask(120, 100, 200) == 18


def test_the_first_request_of_an_epoch_is_due_at_once() -> None:
    assert ask(100, None, 200) == 18


def test_a_plan_that_runs_short_is_asked_for_early() -> None:
    assert ask(105, 100, 106 + 18 + MARGIN_TICKS) == 18
    assert ask(105, 100, 107 + 18 + MARGIN_TICKS) is None


def test_one_request_at_a_time_and_never_twice_about_the_same_moment() -> None:
    assert ask(130, 100, 140, in_flight=True) is None
    assert ask(100, 100, 101) is None


def test_the_prefix_is_no_longer_than_the_plan_nor_than_the_policy_accepts() -> None:
    assert ask(100, None, 107) == 7
    assert ask(100, None, 90) == 0
    short = RequestScheduler(horizon=50, execute_steps=20, prefix_max=10)
    plan = short.decide(now_tick=100, end_tick=200, obs_tick=100, last_obs_tick=None, forecast_ticks=18)
    assert plan is not None
    assert plan.prefix_len == 10


@pytest.mark.parametrize(("forecast", "spacing"), [(5, 20), (20, 20), (24, 24), (30, 20), (60, 1)])
def test_the_spacing_stays_between_the_delay_and_what_it_leaves_of_the_chunk(forecast: int, spacing: int) -> None:
    assert SCHEDULER.spacing(forecast) == spacing
