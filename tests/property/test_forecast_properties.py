"""Whatever the delays, waits and losses are, the forecast stays bounded by them and its coverage near its target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.control.forecast import ABOVE, LEAP, LONE_ANSWERS, DelayForecast

Event = tuple[str, int]
EVENTS = st.lists(
    st.tuples(st.sampled_from(["observe", "observe", "overdue", "lost"]), st.integers(0, 500)), min_size=1, max_size=300
)
REMEMBERED = 256
LEFT_OUT = REMEMBERED // LONE_ANSWERS + 1
"""Lone answers that are not remembered make the rest reach so much further back."""


def tell(forecast: DelayForecast, event: Event) -> int:
    getattr(forecast, event[0])(event[1])
    return forecast.forecast_ticks


@settings(max_examples=60, deadline=None)
@given(initial=st.integers(0, 60), events=EVENTS)
def test_the_forecast_is_at_least_a_tick_and_at_most_what_was_seen_and_a_fifth(
    initial: int, events: list[Event]
) -> None:
    forecast = DelayForecast(initial)
    answers: list[int] = []
    waits = [initial, 1]
    for event in events:
        ticks = tell(forecast, event)
        if event[0] == "observe":
            answers.append(event[1])
            waits = [1]
        else:
            waits.append(event[1])
        known = answers[-REMEMBERED - LEFT_OUT :]
        assert 1 <= ticks <= ABOVE * max([*known, *waits])
    assert 0 <= forecast.covered <= forecast.count == max(len(answers) - 1, 0)
    assert forecast.overprovision_ticks >= 0


@settings(max_examples=40, deadline=None)
@given(events=EVENTS)
def test_the_same_events_give_the_same_forecasts(events: list[Event]) -> None:
    a, b = DelayForecast(5), DelayForecast(5)
    assert [tell(a, event) for event in events] == [tell(b, event) for event in events]


@settings(max_examples=40, deadline=None)
@given(events=EVENTS, waits=st.lists(st.integers(0, 500), min_size=1, max_size=20))
def test_a_wait_never_lowers_the_forecast(events: list[Event], waits: list[int]) -> None:
    forecast = DelayForecast()
    for event in events:
        tell(forecast, event)
    ticks = [forecast.forecast_ticks, *(tell(forecast, ("overdue", wait)) for wait in waits)]
    assert ticks == sorted(ticks)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, delay=st.integers(1, 1000))
def test_a_late_answer_raises_the_forecast_to_it_or_threefold(events: list[Event], delay: int) -> None:
    forecast = DelayForecast()
    for event in [("observe", 10), *events]:
        before = tell(forecast, event)
    forecast.observe(delay)
    if delay > before:
        assert forecast.forecast_ticks >= min(delay, LEAP * before)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, waited=st.integers(1, 1000))
def test_a_loss_teaches_at_least_the_wait_or_threefold(events: list[Event], waited: int) -> None:
    forecast = DelayForecast()
    for event in [("observe", 10), *events, ("observe", 10)]:
        before = tell(forecast, event)
    forecast.lost(waited)
    assert forecast.forecast_ticks >= min(waited, LEAP * before)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), bad=st.integers(200, 5000))
def test_one_bad_answer_among_jitter_leaves_next_to_no_trace(seed: int, bad: int) -> None:
    delays = np.random.default_rng(seed).integers(8, 14, 3 * REMEMBERED).tolist()
    spoiled, clean = DelayForecast(), DelayForecast()
    for i, delay in enumerate(delays):
        spoiled.observe(bad if i == REMEMBERED else delay)
        clean.observe(delay)
        if i > REMEMBERED:
            assert abs(spoiled.forecast_ticks - clean.forecast_ticks) <= 3
    assert abs(spoiled.forecast_ticks - clean.forecast_ticks) <= 1


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95, 0.98])
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
    assert forecast.coverage >= target
