"""Asked, answered and merged tick by tick, the plan does not run out: at a steady delay, and after a lost answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime.control.schedule import RequestScheduler
from runtime.control.strategy import MARGIN_TICKS, Strategy, plan_execution

TICKS = 200

horizons = st.integers(2, 64)
shares = st.floats(0.02, 0.98)
preferred = st.integers(1, 64)


@dataclass
class Played:
    """What became of an epoch: the first tick without an action, the requests' ticks, the most awaited at once."""

    starved_tick: int | None = None
    asked: list[int] = field(default_factory=list)
    awaited_max: int = 0


def play(scheduler: RequestScheduler, delay: int, *, lost: int | None = None) -> Played:
    """Run an epoch that begins with a whole chunk; the `lost`-th answer never comes, the others `delay` ticks late."""
    played, end_tick, flights = Played(), scheduler.horizon, list[int]()
    for tick in range(TICKS):
        for obs_tick in [obs for obs in flights if obs + delay <= tick + 1]:
            if lost is not None and played.asked.index(obs_tick) == lost:
                continue
            flights.remove(obs_tick)
            if obs_tick + delay <= end_tick:
                end_tick = max(end_tick, obs_tick + scheduler.horizon)
        if tick >= end_tick:
            played.starved_tick = tick
            break
        plan = scheduler.decide(
            now_tick=tick,
            end_tick=end_tick,
            obs_tick=tick,
            last_obs_tick=played.asked[-1] if played.asked else None,
            forecast_ticks=delay,
            in_flight=flights,
        )
        if plan is not None:
            assert plan.prefix_len <= min(delay, scheduler.prefix_max, end_tick - tick)
            played.asked.append(tick)
            flights.append(tick)
        awaited = sum(tick - obs < delay + MARGIN_TICKS for obs in flights)
        played.awaited_max = max(played.awaited_max, awaited)
    return played


@settings(max_examples=300, deadline=None)
@given(horizon=horizons, share=shares, execute=preferred, concurrency=st.integers(1, 4), allow_slow=st.booleans())
def test_a_plan_under_a_steady_delay_never_runs_out_where_an_execution_is_feasible(
    horizon: int, share: float, execute: int, concurrency: int, allow_slow: bool
) -> None:
    delay = max(round(share * horizon), 1)
    execution = plan_execution(horizon, delay, 50, execute, concurrency=concurrency, allow_slow=allow_slow)
    assume(execution.feasible)
    played = play(RequestScheduler.of(execution, execute, horizon), delay)
    assert played.starved_tick is None
    assert played.awaited_max <= execution.requests_in_flight


@settings(max_examples=300, deadline=None)
@given(horizon=st.integers(6, 64), data=st.data(), lost=st.integers(0, 4), allow_slow=st.booleans())
def test_one_lost_answer_starves_nothing_that_leaves_time_for_a_second(
    horizon: int, data: st.DataObject, lost: int, allow_slow: bool
) -> None:
    # 2 d + margin <= H - s with s >= d leaves d at most a third of what the margin leaves.
    delay = data.draw(st.integers(1, (horizon - MARGIN_TICKS) // 3))
    execute = data.draw(st.integers(1, horizon - MARGIN_TICKS - 2 * delay))
    execution = plan_execution(horizon, delay, 50, execute, allow_slow=allow_slow)
    assert execution.strategy is Strategy.CONTINUOUS
    played = play(RequestScheduler.of(execution, execute, horizon), delay, lost=lost)
    assert played.starved_tick is None
    assert played.awaited_max == 1
    assert len(played.asked) > lost + 1


@given(horizon=st.integers(8, 64), data=st.data(), lost=st.integers(0, 3))
def test_a_lost_answer_is_asked_for_again_as_soon_as_it_is_overdue(
    horizon: int, data: st.DataObject, lost: int
) -> None:
    delay = data.draw(st.integers(1, (horizon - MARGIN_TICKS) // 3))
    execute = data.draw(st.integers(1, horizon - MARGIN_TICKS - 2 * delay))
    scheduler = RequestScheduler(horizon, execute)
    whole, torn = play(scheduler, delay), play(scheduler, delay, lost=lost)
    assert torn.asked[: lost + 1] == whole.asked[: lost + 1]
    assert torn.asked[lost + 1] == torn.asked[lost] + delay + MARGIN_TICKS


@given(
    horizon=horizons,
    execute=preferred,
    end=st.integers(0, 64),
    elapsed=st.integers(1, 64),
    forecast=st.integers(1, 32),
    rise=st.integers(0, 32),
)
def test_a_forecast_that_rises_never_puts_a_request_off(
    horizon: int, execute: int, end: int, elapsed: int, forecast: int, rise: int
) -> None:
    def asks(forecast_ticks: int) -> bool:
        plan = RequestScheduler(horizon, execute).decide(
            now_tick=elapsed, end_tick=end, obs_tick=elapsed, last_obs_tick=0, forecast_ticks=forecast_ticks
        )
        return plan is not None

    if asks(forecast):
        assert asks(forecast + rise)


@given(forecast=st.integers(1, 20), rise=st.integers(1, 20))
def test_a_forecast_that_rises_asks_as_much_earlier_as_the_plan_runs_short(forecast: int, rise: int) -> None:
    scheduler, end_tick = RequestScheduler(64, 64), 64

    def asked_at(forecast_ticks: int) -> int:
        return next(
            tick
            for tick in range(1, end_tick)
            if scheduler.decide(
                now_tick=tick, end_tick=end_tick, obs_tick=tick, last_obs_tick=0, forecast_ticks=forecast_ticks
            )
        )

    assert asked_at(forecast) - asked_at(forecast + rise) == rise


@settings(max_examples=200, deadline=None)
@given(
    horizon=horizons,
    execute=preferred,
    limit=st.integers(1, 4),
    forecast=st.integers(1, 64),
    moves=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=60),
)
def test_never_more_requests_than_the_limit_are_awaited_however_answers_come(
    horizon: int, execute: int, limit: int, forecast: int, moves: list[tuple[int, bool]]
) -> None:
    scheduler = RequestScheduler(horizon, execute, in_flight_max=limit)
    tick, last, flights = 0, None, list[int]()
    for step, answered in moves:
        tick += step
        if answered and flights:
            flights.pop(0)
        plan = scheduler.decide(
            now_tick=tick,
            end_tick=tick + 1,
            obs_tick=tick,
            last_obs_tick=last,
            forecast_ticks=forecast,
            in_flight=flights,
        )
        if plan is not None:
            flights.append(tick)
            last = tick
        assert sum(tick - obs < forecast + MARGIN_TICKS for obs in flights) <= limit
