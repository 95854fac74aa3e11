"""What the comparison must show: each promise of the runtime held against the figures of the table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bench.decoupling.profiles import TICK_MS
from runtime.inference.server.latency import LATENCY_PROFILES

OURS: Final = "leadtime"
REFERENCE: Final = "aligned"
"""Merge whose seams ours are measured by: the same chunks at the same ticks, nothing done about the jump."""
PUBLISHED: Final = "gigaworld"
NEAR_POINTS: Final[dict[str, float]] = {PUBLISHED: 2.0, "lognormal": 5.0, "drift": 5.0, "burst": 5.0}
"""How far below its own zero delay ours may succeed, by profile, in points of a hundred episodes."""
BEST_TICKS_MAX: Final = 18
FEASIBLE_TICKS_MAX: Final = 24
FEASIBLE: Final = ("lognormal", "drift")
SEAM_SHARE: Final = 1 / 5
COMPLETION_SHARE: Final = 1.05
_NAMED_MAX: Final = 3
_ROUNDING: Final = 1e-9

Cell = dict[str, Any]


@dataclass(frozen=True)
class Promise:
    """What was promised for a task, whether it held (None: not measured), and the figures that say so."""

    task: str
    text: str
    held: bool | None
    figures: str


@dataclass(frozen=True)
class Difference:
    """One success rate less another, with its 95 % interval, all in points of a hundred episodes."""

    points: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0.0 or self.high < 0.0

    def __str__(self) -> str:
        """Return the points and their interval."""
        return f"{self.points:+.1f} points (95 %: {self.low:+.1f} to {self.high:+.1f})"


def difference(cell: Cell, other: Cell) -> Difference | None:
    """Return by how much a cell succeeds more often than another, None if either has no success rate.

    The interval is Newcombe's for two independent proportions, made of the two Wilson intervals (Statistics in
    Medicine 17:873, 1998, method 10).
    """
    if cell.get("success") is None or other.get("success") is None or not cell.get("ci95") or not other.get("ci95"):
        return None
    (rate, (low, high)), (rate_2, (low_2, high_2)) = ((c["success"], c["ci95"]) for c in (cell, other))
    points = rate - rate_2
    return Difference(
        100.0 * points,
        100.0 * (points - math.hypot(rate - low, high_2 - rate_2)),
        100.0 * (points + math.hypot(high - rate, rate_2 - low_2)),
    )


def constant_ticks(profile: str) -> int | None:
    """Return the delay of a profile that is always the same whole number of policy ticks, None for any other."""
    if match := re.fullmatch(r"d=(\d+)", profile):
        return int(match[1])
    ticks, rest_ms = divmod(LATENCY_PROFILES.get(profile, math.nan), TICK_MS)
    return int(ticks) if rest_ms == 0.0 else None


def constants(profiles: dict[str, Any]) -> dict[int, dict[str, Cell]]:
    """Return the rows of a task's constant delays by their ticks, rising."""
    rows = {ticks: row for name, row in profiles.items() if (ticks := constant_ticks(name)) is not None}
    return dict(sorted(rows.items()))


def promises(table: dict[str, Any]) -> list[Promise]:
    """Return every promise for every task of results.json."""
    return [
        promise
        for task, found in table["tasks"].items()
        for promise in _of_task(task, found, table["zero_delay"].get(task, {}).get(OURS, {}))
    ]


def _of_task(task: str, found: dict[str, Any], zero: Cell) -> Iterator[Promise]:
    profiles = found["profiles"]
    ours = {name: row[OURS] for name, row in profiles.items() if OURS in row}
    steady = constants(profiles)
    for profile, points in NEAR_POINTS.items():
        yield _near(task, f"success under {profile}", points, ours.get(profile, {}), zero, found["episodes"])
    yield _never_below(task, steady)
    feasible = {f"d={ticks}": row.get(OURS, {}) for ticks, row in steady.items() if ticks <= FEASIBLE_TICKS_MAX}
    yield _never_starved(task, {**feasible, **{name: ours.get(name, {}) for name in FEASIBLE}})
    yield _seam(task, ours.get(PUBLISHED, {}), profiles.get(PUBLISHED, {}).get(REFERENCE, {}))
    yield _completion(task, ours.get(PUBLISHED, {}), zero)


def _near(task: str, what: str, points: float, cell: Cell, zero: Cell, episodes: int) -> Promise:
    text = f"{what} at most {points:g} points below its own zero delay"
    found = difference(cell, zero)
    if found is None:
        return Promise(task, text, None, "")
    told = "more than" if found.significant else "no more than"
    if found.low >= -points:
        limit = "the whole interval keeps the limit"
    elif found.high < -points:
        limit = "the whole interval breaks the limit"
    else:
        limit = "the limit is inside the interval, more episodes could turn the answer"
    rates = f"{cell['success']:.3f} against {zero['success']:.3f}"
    figures = f"{rates}, {found}: {told} chance explains at {episodes} episodes a cell; {limit}"
    return Promise(task, text, found.points >= -points - _ROUNDING, figures)


def _never_below(task: str, rows: dict[int, dict[str, Cell]]) -> Promise:
    text = f"never significantly below another merge at a constant delay up to {BEST_TICKS_MAX} ticks"
    compared = [
        (found, f"{found} against {merge} at d={ticks}")
        for ticks, row in rows.items()
        if ticks <= BEST_TICKS_MAX and OURS in row
        for merge, cell in row.items()
        if merge != OURS and (found := difference(row[OURS], cell)) is not None
    ]
    if not compared:
        return Promise(task, text, None, "")
    compared.sort(key=lambda pair: pair[0].high)
    below = [said for found, said in compared if found.high < 0.0]
    if not below:
        return Promise(task, text, True, f"in none of {len(compared)} comparisons; the closest: {compared[0][1]}")
    more = ", and more" if len(below) > _NAMED_MAX else ""
    figures = f"in {len(below)} of {len(compared)} comparisons: {'; '.join(below[:_NAMED_MAX])}{more}"
    return Promise(task, text, False, figures)


def _never_starved(task: str, feasible: dict[str, Cell]) -> Promise:
    text = f"no starved tick at a constant delay up to {FEASIBLE_TICKS_MAX} ticks, nor under {' or '.join(FEASIBLE)}"
    starved = {name: cell["starved"] for name, cell in feasible.items() if cell.get("starved") is not None}
    if not starved:
        return Promise(task, text, None, "")
    missing = ", ".join(name for name in feasible if name not in starved)
    bad = ", ".join(f"{count} under {name}" for name, count in starved.items() if count)
    figures = (bad or f"0 in {len(starved)} cells") + (f"; not measured: {missing}" if missing else "")
    return Promise(task, text, not bad, figures)


def _seam(task: str, ours: Cell, reference: Cell) -> Promise:
    text = f"99th percentile seam under {PUBLISHED} at most a fifth of {REFERENCE}'s"
    jump_rad, theirs_rad = ours.get("seam_jump_rad_p99"), reference.get("seam_jump_rad_p99")
    if jump_rad is None or theirs_rad is None:
        return Promise(task, text, None, "")
    share = f", a share of {jump_rad / theirs_rad:.3f}" if theirs_rad else ""
    figures = f"{jump_rad:.4g} rad against {theirs_rad:.4g} rad{share}"
    return Promise(task, text, jump_rad <= SEAM_SHARE * theirs_rad + _ROUNDING, figures)


def _completion(task: str, ours: Cell, zero: Cell) -> Promise:
    text = f"median completion under {PUBLISHED} at most 5 % longer than at zero delay"
    took_s, zero_s = ours.get("completion_s_p50"), zero.get("completion_s_p50")
    if took_s is None or not zero_s:
        return Promise(task, text, None, "")
    figures = f"{took_s:.2f} s against {zero_s:.2f} s, {100.0 * (took_s / zero_s - 1.0):+.1f} %"
    return Promise(task, text, took_s <= COMPLETION_SHARE * zero_s + _ROUNDING, figures)
