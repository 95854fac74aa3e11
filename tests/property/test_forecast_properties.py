"""Whatever the delays do, the forecast stays bounded by what is remembered and its coverage near its target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.control.forecast import WINDOW, DelayForecast


@settings(max_examples=30, deadline=None)
@given(delays=st.lists(st.integers(1, 500), min_size=1, max_size=300))
def test_the_forecast_lies_within_what_is_remembered_and_one_tick_above(delays: list[int]) -> None:
    forecast = DelayForecast()
    for i, delay in enumerate(delays):
        forecast.observe(delay)
        known = delays[max(0, i + 1 - WINDOW) : i + 1]
        assert min(known) <= forecast.forecast_ticks <= max(known) + 1
    assert 0 <= forecast.covered <= forecast.count == len(delays) - 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), bad=st.integers(100, 5000))
def test_one_bad_answer_has_no_effect_once_the_window_has_passed(seed: int, bad: int) -> None:
    delays = np.random.default_rng(seed).integers(8, 14, 3 * WINDOW).tolist()
    spoiled, clean = DelayForecast(), DelayForecast()
    for i, delay in enumerate(delays):
        clean.observe(delay)
        spoiled.observe(bad if i == WINDOW // 2 else delay)
    assert abs(spoiled.forecast_ticks - clean.forecast_ticks) <= 1


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("kind", ["constant", "lognormal", "drift", "switch"])
def test_coverage_is_held_at_its_target_or_above_under_drift_and_switches(target: float, kind: str) -> None:
    generator = np.random.default_rng(3)
    noise = generator.lognormal(0.0, 0.3, 2000)
    median = {
        "constant": np.full(2000, 18.0),
        "lognormal": 18.0 * noise,
        "drift": np.linspace(8.0, 40.0, 2000) * noise,
        "switch": np.where(np.arange(2000) // 200 % 2, 30.0, 10.0) * noise,
    }[kind]
    forecast = DelayForecast(coverage_target=target)
    for delay in np.ceil(median).astype(int).tolist():
        forecast.observe(delay)
    assert forecast.coverage > target - 0.02
