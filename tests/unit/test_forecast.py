"""Promises of the delay forecast: an upper quantile that forgets, whatever one bad answer was."""

from __future__ import annotations

import math

import pytest

from runtime.control.forecast import WINDOW, DelayForecast


def test_before_any_answer_the_forecast_is_the_initial_one() -> None:
    forecast = DelayForecast(initial_ticks=9)
    assert forecast.forecast_ticks == 9
    assert forecast.count == 0
    assert math.isnan(forecast.coverage)


def test_a_constant_delay_is_forecast_exactly_and_covered() -> None:
    forecast = DelayForecast()
    for _ in range(100):
        forecast.observe(18)
    assert forecast.forecast_ticks == 18
    assert (forecast.count, forecast.covered, forecast.overprovision_ticks) == (99, 99, 0)


def test_a_cold_answer_teaches_nothing() -> None:
    forecast = DelayForecast(initial_ticks=4)
    forecast.observe(500, cold=True)
    assert (forecast.forecast_ticks, forecast.count) == (4, 0)


def test_one_bad_answer_is_forgotten_within_a_window() -> None:
    forecast = DelayForecast()
    for delay in [10] * 20 + [400] + [10] * WINDOW:
        forecast.observe(delay)
    assert forecast.forecast_ticks == 10


def test_one_bad_answer_among_a_full_window_does_not_move_the_forecast_to_it() -> None:
    forecast = DelayForecast(coverage_target=0.95)
    for delay in [10] * WINDOW + [400] + [10] * 5:
        forecast.observe(delay)
    assert forecast.forecast_ticks == 10


def test_an_answer_is_judged_by_the_forecast_of_its_own_request() -> None:
    forecast = DelayForecast()
    forecast.observe(10)
    forecast.observe(12, forecast_ticks=15)
    forecast.observe(20, forecast_ticks=15)
    assert (forecast.count, forecast.covered, forecast.overprovision_ticks) == (2, 1, 3)
    assert forecast.coverage == pytest.approx(0.5)


def test_a_longer_delay_is_followed_at_the_next_answer() -> None:
    forecast = DelayForecast()
    for _ in range(100):
        forecast.observe(10)
    forecast.observe(24)
    forecast.observe(24)
    assert forecast.forecast_ticks >= 24


def test_a_shorter_delay_is_followed_within_a_window() -> None:
    forecast = DelayForecast()
    for delay in [24] * 100 + [8] * WINDOW:
        forecast.observe(delay)
    assert forecast.forecast_ticks == 8
