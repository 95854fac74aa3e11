"""Forecasts of the inference delay compared: coverage, over-provisioning and recovery on many delay processes.

`python -m bench.decoupling.forecasts --out DIR` leaves forecasts.json and forecasts.html. All in virtual time: the same
arguments give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from bench.decoupling.estimators import ESTIMATORS, Estimator
from bench.decoupling.forecast_page import write_section
from bench.decoupling.processes import PROCESSES, Request, requests_of
from runtime.console import page
from runtime.control.forecast import COVERAGE_TARGET
from runtime.files import make_folder

DEADLINE_TICKS: Final = 1000
"""A request that no newer answer has overtaken is given up after 20 s."""
FIRST: Final = 2
"""Forecasts are judged from this request on: the first is cold, the second has nothing to go by."""
STAY_REQUESTS: Final = 20
"""A change counts where the process stays at the new level for at least as many requests."""
NEAR: Final = 1.2
"""A fall has been followed when the forecast is at most this many times the ideal one, and a tick."""
SHOWN: Final = ("switch", "rare bursts", "stall")
SHOWN_REQUESTS: Final = 200


@dataclass(frozen=True)
class Score:
    """What a run's forecasts were worth.

    `rises` and `falls` are, for each change of level, the requests until one was covered, and until the forecast was
    near the ideal one: 0 where the first was.
    """

    answered: int
    covered: int
    surplus_ticks: int
    misses_in_a_row: int
    rises: tuple[int, ...]
    falls: tuple[int, ...]


def forecast_all(estimator: Estimator, requests: Sequence[Request]) -> list[int]:
    """Return the forecast of every request.

    The estimator sees each answer when it arrives, hears of those that are out when a request is made, and of a loss
    when a newer request is answered or the deadline passes.
    """
    arrivals = sorted((r.tick + r.delay_ticks, i) for i, r in enumerate(requests) if r.delay_ticks is not None)
    said: list[int] = []
    out: list[int] = []
    arrived = 0
    for i, request in enumerate(requests):
        while arrived < len(arrivals) and arrivals[arrived][0] <= request.tick:
            tick, k = arrivals[arrived]
            arrived += 1
            for passed in [j for j in out if j < k]:
                estimator.lost(tick - requests[passed].tick)
            out = [j for j in out if j > k]
            estimator.observe(tick - requests[k].tick, said[k], cold=requests[k].cold)
        for j in out:
            waited_ticks = request.tick - requests[j].tick + 1
            if waited_ticks > DEADLINE_TICKS:
                estimator.lost(waited_ticks)
            elif not requests[j].cold:
                estimator.overdue(waited_ticks)
        out = [j for j in out if request.tick - requests[j].tick < DEADLINE_TICKS] + [i]
        said.append(estimator.forecast_ticks)
    return said


def judge(requests: Sequence[Request], said: Sequence[int]) -> Score:
    """Return the score of a run's forecasts; answers that were lost are no hits and no misses."""
    judged = zip(requests[FIRST:], said[FIRST:], strict=True)
    pairs = [(request.delay_ticks, forecast) for request, forecast in judged if request.delay_ticks is not None]
    worst = row = 0
    for delay_ticks, forecast_ticks in pairs:
        row = row + 1 if delay_ticks > forecast_ticks else 0
        worst = max(worst, row)
    rises, falls = _recoveries(requests, said)
    covered = sum(delay_ticks <= forecast_ticks for delay_ticks, forecast_ticks in pairs)
    surplus = sum(max(forecast_ticks - delay_ticks, 0) for delay_ticks, forecast_ticks in pairs)
    return Score(len(pairs), covered, surplus, worst, rises, falls)


def _recoveries(requests: Sequence[Request], said: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ideals = [request.ideal_ticks for request in requests]
    edges = [i for i in range(FIRST, len(ideals)) if ideals[i] != ideals[i - 1]]
    rises, falls = [], []
    for start, stop in pairwise([*edges, len(ideals)]):
        before, ideal = ideals[start - 1], ideals[start]
        if before is None or ideal is None or stop - start < STAY_REQUESTS:
            continue
        stay = range(start, stop)
        if ideal > before:
            rises.append(next((i - start for i in stay if said[i] >= (requests[i].delay_ticks or 0)), stop - start))
        else:
            falls.append(next((i - start for i in stay if said[i] <= NEAR * ideal + 1), stop - start))
    return tuple(rises), tuple(falls)


def compare(seed: int, runs: int, requests: int) -> dict[str, Any]:
    """Return every way to forecast on every process, `runs` times `requests` requests each.

    JSON-able. `ways`: name and source. `processes`: what each is, the figures of every way on it, `front` (the ways of
    which none other covers as much for as little) and `cheapest` (least over-provisioning among those that hold the
    target, None where none does). `shown`: delays and forecasts of a few runs.
    """
    processes: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for name, process in PROCESSES.items():
        played = [requests_of(process, (seed, run, *name.encode()), requests) for run in range(runs)]
        said = {way: [forecast_all(ESTIMATORS[way].make(), run) for run in played] for way in ESTIMATORS}
        ways = {way: _figures([judge(*pair) for pair in zip(played, said[way], strict=True)]) for way in ESTIMATORS}
        held = [way for way in ways if ways[way]["coverage"] >= COVERAGE_TARGET]
        processes[name] = {
            "about": process.about,
            "ways": ways,
            "front": [way for way in ways if not any(_beats(other, ways[way]) for other in ways.values())],
            "cheapest": min(held, key=lambda way: float(ways[way]["overprovision_ticks"])) if held else None,
        }
        if name in SHOWN:
            shown[name] = {
                "delays": [request.delay_ticks for request in played[0][:SHOWN_REQUESTS]],
                "forecasts": {way: said[way][0][:SHOWN_REQUESTS] for way in ESTIMATORS},
            }
    return {
        "coverage_target": COVERAGE_TARGET,
        "seed": seed,
        "runs": runs,
        "requests": requests,
        "ways": {name: way.source for name, way in ESTIMATORS.items()},
        "processes": processes,
        "shown": shown,
    }


def _figures(scores: Sequence[Score]) -> dict[str, Any]:
    answered = sum(score.answered for score in scores)
    return {
        "coverage": round(sum(score.covered for score in scores) / max(answered, 1), 5),
        "overprovision_ticks": round(sum(score.surplus_ticks for score in scores) / max(answered, 1), 4),
        "misses_in_a_row": max((score.misses_in_a_row for score in scores), default=0),
        "rise_requests": _mean([rise for score in scores for rise in score.rises]),
        "fall_requests": _mean([fall for score in scores for fall in score.falls]),
    }


def _mean(values: Sequence[int]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def _beats(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether `a` covers at least as much for at most as much as `b`, and is better in one of both."""
    no_worse = a["coverage"] >= b["coverage"] and a["overprovision_ticks"] <= b["overprovision_ticks"]
    return no_worse and (a["coverage"], a["overprovision_ticks"]) != (b["coverage"], b["overprovision_ticks"])


def plot(results: dict[str, Any]) -> str:
    """Return the comparison as blocks of a page: figures inline, nothing loaded."""
    return write_section(results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and leave forecasts.json and forecasts.html in a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.decoupling.forecasts", description="Compare delay forecasts."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for forecasts.json and forecasts.html")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--requests", type=int, default=400)
    given = parser.parse_args(arguments)
    results = compare(given.seed, given.runs, given.requests)
    make_folder(given.out)
    (given.out / "forecasts.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path: Path = given.out / "forecasts.html"
    path.write_text(page.page("leadtime: delay forecasts", [plot(results)]), encoding="utf-8")
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
