"""Promises of the comparison of forecasts: fair, repeatable to the byte, and true to what the others do."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.decoupling import forecasts
from bench.decoupling.estimators import ESTIMATORS, OURS
from bench.decoupling.forecasts import compare, forecast_all, judge, plot
from bench.decoupling.processes import (
    LATEST_TICKS,
    PROCESSES,
    SOONEST_TICKS,
    STANDSTILL_TICKS,
    Request,
    bursty_trace_ms,
    requests_of,
)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return compare(seed=3, runs=2, requests=150)


def said_after(name: str, delays: list[int], *, cold: int = 0) -> int:
    estimator = ESTIMATORS[name].make()
    for i, delay in enumerate(delays):
        estimator.observe(delay, estimator.forecast_ticks, cold=i < cold)
    return estimator.forecast_ticks


def requests(delays: list[int | None], spacing_ticks: int = 20) -> list[Request]:
    return [Request(i * spacing_ticks, delay, i == 0, None) for i, delay in enumerate(delays)]


class Diary:
    """An estimator that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.forecast_ticks = 7

    def observe(self, delay_ticks: int, forecast_ticks: int | None = None, *, cold: bool = False) -> None:
        self.told.append(("cold" if cold else "observe", delay_ticks))
        assert forecast_ticks == 7

    def overdue(self, waited_ticks: int) -> None:
        self.told.append(("overdue", waited_ticks))

    def lost(self, waited_ticks: int) -> None:
        self.told.append(("lost", waited_ticks))


def test_the_others_forecast_what_their_sources_say() -> None:
    delays = [500, *range(1, 101)]
    assert said_after("max of 10", [500] + [10] * 9) == 500
    assert said_after("max of 10", [500] + [10] * 10) == 10
    assert said_after("max of all", [500] + [10] * 400) == 500
    assert said_after("p95", delays, cold=1) == 96
    assert said_after("2 sigma", [10, 14] * 40) == 16
    assert said_after("p98 of 64", [500] + [10] * 64) == 10
    assert said_after("p98 of 64", [500] * 2 + [10] * 62) == 500
    assert said_after("conformal", [10] * 100) == 10


def test_tcp_is_smoothed_as_in_rfc_6298() -> None:
    assert said_after("tcp", [10]) == 30
    deviation = 5 + (abs(10 - 20) - 5) / 4
    assert said_after("tcp", [10, 20]) == int(np.ceil(10 + 10 / 8 + 4 * deviation))


def test_plain_conformal_goes_a_tick_above_the_worst_when_it_has_missed_too_often() -> None:
    assert said_after("conformal", [10, 11, 12, 13]) == 14


@pytest.mark.parametrize("name", PROCESSES)
def test_requests_follow_answers_within_their_bounds_and_repeat(name: str) -> None:
    run = requests_of(PROCESSES[name], (1, 2), 120)
    assert run == requests_of(PROCESSES[name], (1, 2), 120)
    assert [request.cold for request in run] == [True] + [False] * 119
    for a, b in pairwise(run[1:]):
        gap_ticks = b.tick - a.tick
        waited = a.delay_ticks is not None and a.delay_ticks > STANDSTILL_TICKS
        assert gap_ticks == a.delay_ticks if waited else SOONEST_TICKS <= gap_ticks <= LATEST_TICKS
        assert a.delay_ticks is None or a.delay_ticks >= 1


def test_an_outlier_process_has_one_outlier() -> None:
    for name, where in (("cold start", range(1)), ("stall", range(100, 200))):
        run = requests_of(PROCESSES[name], (4,), 300)
        (index,) = [i for i, request in enumerate(run) if (request.delay_ticks or 0) > STANDSTILL_TICKS]
        assert index in where


def test_the_bursty_trace_has_two_levels_and_a_heavy_tail() -> None:
    trace_ms = np.array(bursty_trace_ms(np.random.default_rng(2), 20_000))
    assert trace_ms.min() >= 190.0
    assert 0.05 < (trace_ms > 420.0).mean() < 0.3
    assert trace_ms.max() > 1500.0


def test_an_estimator_hears_of_answers_when_they_come_and_of_waits_and_losses() -> None:
    diary = Diary()
    said = forecast_all(diary, requests([10, 5, 30, None, 4, 3]))
    assert said == [7] * 6
    assert diary.told == [
        ("cold", 10),
        ("observe", 5),
        ("overdue", 21),
        ("observe", 30),
        ("overdue", 21),
        ("lost", 24),
        ("observe", 4),
    ]


def test_a_request_that_nothing_overtakes_is_lost_at_the_deadline() -> None:
    diary = Diary()
    ticks = forecasts.DEADLINE_TICKS
    forecast_all(diary, [Request(0, 1, True, None), Request(5, None, False, None), Request(5 + ticks, 9, False, None)])
    assert diary.told == [("cold", 1), ("lost", ticks + 1)]


def test_a_score_counts_answers_alone_and_the_worst_row_of_misses() -> None:
    score = judge(requests([10, 10, 8, 12, None, 13, 9, 20]), [1, 1, 10, 10, 10, 10, 10, 10])
    assert (score.answered, score.covered, score.surplus_ticks, score.misses_in_a_row) == (5, 2, 3, 2)


def test_recovery_is_counted_from_the_first_request_at_the_new_level() -> None:
    levels = [10] * 30 + [30] * 30 + [10] * 30
    run = [Request(20 * i, level, i == 0, level) for i, level in enumerate(levels)]
    said = [10] * 32 + [30] * 28 + [30] * 4 + [13] * 26
    score = judge(run, said)
    assert (score.rises, score.falls) == ((2,), (4,))
    never = judge(run, [10] * 30 + [9] * 30 + [99] * 30)
    assert (never.rises, never.falls) == ((30,), (30,))


def test_ours_holds_the_target_and_no_other_way_does_so_for_less_where_delays_move() -> None:
    processes = compare(seed=1, runs=12, requests=400)["processes"]
    for name in ("drift", "fast drift", "switch", "rare bursts", "trace", "heavy tail"):
        ways = processes[name]["ways"]
        ours = ways[OURS]
        assert ours["coverage"] >= 0.975
        assert OURS in processes[name]["front"]
        held = [way["overprovision_ticks"] for way in ways.values() if way["coverage"] >= 0.98 and way is not ours]
        assert ours["overprovision_ticks"] < min(held)


def test_the_comparison_repeats_to_the_byte_and_another_seed_differs(results: dict[str, Any]) -> None:
    again = compare(seed=3, runs=2, requests=150)
    assert json.dumps(results) == json.dumps(again)
    assert plot(results) == plot(again)
    assert json.dumps(compare(seed=4, runs=2, requests=150)) != json.dumps(results)


def test_the_front_holds_what_no_other_beats_and_the_cheapest_holds_the_target(results: dict[str, Any]) -> None:
    for process in results["processes"].values():
        ways = process["ways"]
        assert set(ways) == set(ESTIMATORS)
        for name in process["front"]:
            coverage, surplus = ways[name]["coverage"], ways[name]["overprovision_ticks"]
            assert not any(w["coverage"] >= coverage and w["overprovision_ticks"] < surplus for w in ways.values())
        if process["cheapest"] is not None:
            assert ways[process["cheapest"]]["coverage"] >= results["coverage_target"]


def test_the_page_names_every_process_and_way_and_loads_nothing(results: dict[str, Any]) -> None:
    html = plot(results)
    for name in (*PROCESSES, *ESTIMATORS):
        assert name in html
    assert "<svg" in html
    assert not re.search(r'(src|href)="(?!#)', html)


def test_the_command_leaves_the_figures_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new"
    assert forecasts.main(["--out", str(out), "--runs", "1", "--requests", "40", "--seed", "9"]) == 0
    found = json.loads((out / "forecasts.json").read_text())
    assert (found["seed"], found["runs"], found["requests"]) == (9, 1, 40)
    assert (out / "forecasts.html").read_text().startswith("<!doctype html>")
    assert str(out / "forecasts.html") in capsys.readouterr().out
