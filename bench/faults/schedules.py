"""Random fault schedules in virtual time: `python -m bench.faults.schedules --count N --out DIR`.

Every schedule follows from its seed; `--first SEED --count 1` plays one again and says what it is.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import tyro

from bench.faults.plan import Plan
from bench.faults.virtual import play
from bench.say import say
from runtime.faults import FAULTS
from runtime.files import make_folder

BATCH: Final = 50
NICENESS: Final = 15


@dataclass(frozen=True)
class Schedules:
    """Play random fault schedules in virtual time and check what must never happen."""

    out: Path = Path("out")
    """Folder that receives schedules.json."""
    count: int = 1000
    """Schedules to play."""
    first: int = 0
    """Seed of the first of them; the others follow."""
    workers: int = 1
    """Processes that play."""
    limit_s: float = 0.0
    """Begin no more schedules after this time; 0 for no limit."""


@dataclass
class Tally:
    """What came out. Ticks are servo ticks of 5 ms; `failures` say what was broken by which seed."""

    schedules: int = 0
    ticks: int = 0
    policy_ticks: int = 0
    guardian_trips: int = 0
    limit_violations: int = 0
    faults: int = 0
    failures: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add what another tally counted."""
        self.schedules += other.schedules
        self.ticks += other.ticks
        self.policy_ticks += other.policy_ticks
        self.guardian_trips += other.guardian_trips
        self.limit_violations += other.limit_violations
        self.faults |= other.faults
        self.failures |= other.failures


def play_all(seeds: range) -> Tally:
    """Play the schedules of some seeds."""
    tally = Tally()
    for seed in seeds:
        seen = play(seed)
        failures = {seed: seen.failures} if seen.failures else {}
        tally.add(Tally(1, seen.ticks, seen.policy_ticks, seen.trips, seen.violations, seen.faults, failures))
    return tally


def run(command: Schedules) -> int:
    """Play, write schedules.json, say what failed; 1 when something did."""
    make_folder(command.out)
    os.nice(NICENESS)
    began_s = time.monotonic()
    total = Tally()
    for tally in _played(command, began_s):
        total.add(tally)
        for seed, what in tally.failures.items():
            say(f"{Plan.of(seed).describe()}: {'; '.join(what)}")
        _write(command, total, time.monotonic() - began_s)
    hours = total.ticks * 0.005 / 3600
    say(
        f"{total.schedules} schedules, {hours:.2f} virtual hours in {time.monotonic() - began_s:.0f} s:"
        f" {len(total.failures)} failed, {total.limit_violations} limit violations"
    )
    return 1 if total.failures else 0


def _played(command: Schedules, began_s: float) -> Iterator[Tally]:
    end = command.first + command.count
    batches = [range(seed, min(seed + BATCH, end)) for seed in range(command.first, end, BATCH)]
    with ProcessPoolExecutor(command.workers) as pool:
        for start in range(0, len(batches), command.workers):
            if command.limit_s and time.monotonic() - began_s > command.limit_s:
                return
            yield from pool.map(play_all, batches[start : start + command.workers])


def _write(command: Schedules, total: Tally, wall_s: float) -> None:
    found = asdict(total)
    found["faults"] = [fault.name for i, fault in enumerate(FAULTS) if total.faults >> i & 1]
    found |= {
        "first_seed": command.first,
        "virtual_hours": round(total.ticks * 0.005 / 3600, 3),
        "wall_s": round(wall_s, 1),
        "workers": command.workers,
        "host": {"machine": platform.machine(), "processors": os.cpu_count()},
    }
    (command.out / "schedules.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(tyro.cli(Schedules)))
