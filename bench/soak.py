"""`leadtime bench soak`: a long run watched from outside: memory, descriptors, threads and drops of every process."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from bench.live import conduct
from bench.say import say
from runtime.board import ROLES, Board
from runtime.cli import BenchSoak, Run
from runtime.clock import NS_PER_S, MonotonicClock
from runtime.commands.run import DURATION_MAX_S
from runtime.console import figures, page
from runtime.errors import LeadtimeError, UsageError
from runtime.files import make_folder
from runtime.summary import summarise

QUICK_S: Final = 60.0
LEAST_S: Final = 10.0
SAMPLES: Final = 240
"""Samples of a soak, whatever its length; at most one a second."""
WARM: Final = 0.3
"""The share of the time in which memory may still grow: models warm up, rings and pools fill."""
FLAT_KIB: Final = 2048.0
FLAT_SHARE: Final = 0.02
"""What a process may have grown by in the rest: the larger of the two."""
SHM: Final = Path("/dev/shm")  # noqa: S108


@dataclass
class Process:
    """What was seen of one role: times (s), memory (KiB), descriptors, threads; `pids` are the processes it had."""

    t_s: list[float] = field(default_factory=list)
    rss_kib: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)

    def sample(self, t_s: float, pid: int) -> None:
        """Look at the role's process; one that is gone gives no sample."""
        try:
            status = dict(
                line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
            )
            descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            rss_kib, threads = float(status["VmRSS"].split()[0]), int(status["Threads"])
        except (OSError, KeyError):
            return
        self.t_s.append(t_s)
        self.pids.add(pid)
        self.rss_kib.append(rss_kib)
        self.threads.append(threads)
        self.descriptors.append(descriptors)

    def judge(self) -> dict[str, Any]:
        """Return the growth after the warm-up, by a line through it, and whether that is flat."""
        if len(self.t_s) < 4:
            return {"samples": len(self.t_s), "flat": None}
        begun = int(len(self.t_s) * WARM)
        t_s, rss_kib = np.array(self.t_s[begun:]), np.array(self.rss_kib[begun:])
        slope = float(np.polyfit(t_s - t_s[0], rss_kib, 1)[0])
        grown_kib = slope * float(t_s[-1] - t_s[0])
        return {
            "samples": len(self.t_s),
            "rss_mib": {"first": _mib(self.rss_kib[0]), "warm": _mib(rss_kib[0]), "last": _mib(rss_kib[-1])},
            "slope_kib_per_min": round(slope * 60.0, 2),
            "grown_kib": round(grown_kib, 1),
            "descriptors": [self.descriptors[begun], self.descriptors[-1]],
            "threads": [self.threads[begun], self.threads[-1]],
            "restarts": len(self.pids) - 1,
            "flat": grown_kib <= max(FLAT_KIB, FLAT_SHARE * float(rss_kib[0])),
            "descriptors_flat": self.descriptors[-1] <= self.descriptors[begun],
            "threads_flat": self.threads[-1] <= self.threads[begun],
        }


def _mib(kib: float) -> float:
    return round(float(kib) / 1024.0, 2)


class Watch:
    """Samples every process of a run through its board; given to the supervisor as its view."""

    def __init__(self, duration_s: float) -> None:
        self._clock = MonotonicClock()
        self._period_ns = round(max(duration_s / SAMPLES, 1.0) * NS_PER_S)
        self._began_ns = self._due_ns = 0
        self.processes: dict[str, Process] = {role: Process() for role in (*ROLES, "supervisor")}

    def look(self, board: Board) -> None:
        """Take a sample where one is due."""
        now_ns = self._clock.now_ns()
        self._began_ns = self._began_ns or now_ns
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + self._period_ns
        t_s = (now_ns - self._began_ns) / NS_PER_S
        for role in ROLES:
            beat = board[f"heartbeat/{role}"].latest()
            if beat is not None:
                self.processes[role].sample(t_s, int(beat["pid"]))
        self.processes["supervisor"].sample(t_s, os.getpid())


def run(command: BenchSoak) -> int:
    """Soak and leave results.json and report.html; 1 where something grew or was left behind."""
    duration_s = QUICK_S if command.quick else command.duration_s
    if not LEAST_S <= duration_s <= DURATION_MAX_S:
        raise UsageError(f"--duration-s {duration_s:g}: give 10 seconds at least and a day at most, an hour for a soak")
    make_folder(command.out)
    before = _segments()
    watch = Watch(duration_s)
    asked = Run(
        policy=command.policy, latency="gigaworld", duration_s=duration_s, headless=True, out=command.out / "runs"
    )
    summary = summarise(conduct(asked, watch.look))
    results = _results(watch, summary, sorted(_segments() - before), duration_s)
    (command.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    say(f"report: {_report(command.out, results, watch)}")
    if not results["sound"] and not command.quick:
        raise LeadtimeError(f"not sound: {', '.join(results['unsound'])}; see {command.out / 'report.html'}")
    return 0


def _segments() -> set[str]:
    return {path.name for path in SHM.iterdir()} if SHM.is_dir() else set()


def _results(watch: Watch, summary: dict[str, Any], left: list[str], duration_s: float) -> dict[str, Any]:
    roles = {role: seen.judge() for role, seen in watch.processes.items() if seen.t_s}
    unsound = [f"{role} {what}" for role, found in roles.items() for what in _growing(found)]
    unsound += [f"{name} left in /dev/shm" for name in left]
    unsound += ["the arms' limits"] if summary["limit_violations"] else []
    return {
        "duration_s": duration_s,
        "sound": not unsound,
        "unsound": unsound,
        "processes": roles,
        "left_in_shm": left,
        "drops": {
            "ticks": summary["ticks"],
            "ticks_skipped": summary["ticks_skipped"],
            "ticks_starved": summary["ticks_starved"],
            **summary["recorder"],
        },
        "limit_violations": summary["limit_violations"],
        "faults": summary["faults"],
        "episodes": summary["episodes"],
        "host": {"machine": platform.machine(), "kernel": platform.release(), "processors": os.cpu_count()},
    }


def _growing(found: dict[str, Any]) -> list[str]:
    kinds = {"flat": "memory", "descriptors_flat": "descriptors", "threads_flat": "threads"}
    return [what for key, what in kinds.items() if found.get(key) is False]


def _report(out: Path, results: dict[str, Any], watch: Watch) -> Path:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for role, seen in watch.processes.items():
        if seen.t_s:
            axes.plot(seen.t_s, np.array(seen.rss_kib) / 1024.0, label=role)
    axes.set(xlabel="time (s)", ylabel="resident memory (MiB)", ylim=(0, None))
    axes.legend(fontsize=7, ncol=2)
    axes.grid(alpha=0.3)
    rows = [
        (
            role,
            *(f"{found['rss_mib'][key]:g}" for key in ("first", "warm", "last")),
            f"{found['slope_kib_per_min']:g}",
            *(f"{first} to {last}" for first, last in (found["descriptors"], found["threads"])),
            str(found["restarts"]),
        )
        for role, found in results["processes"].items()
        if found["flat"] is not None
    ]
    head = ("process", "MiB at first", "warm", "at last", "KiB a minute", "descriptors", "threads", "restarts")
    drops = [(name, str(value)) for name, value in results["drops"].items()]
    verdict = "flat, nothing left behind" if results["sound"] else ", ".join(results["unsound"])
    about = f"One run of {results['duration_s']:.0f} s, every process watched from outside."
    note = f"The slope is a line through what came after the first {WARM:.0%} of the time."
    blocks = (
        page.header("Soak", about, verdict, "good" if results["sound"] else "bad"),
        page.section("Processes", page.table(rows, head), note),
        page.section("Memory", figures.svg(figure)),
        page.section("What was dropped", page.table(drops)),
    )
    path = out / "report.html"
    path.write_text(page.page("leadtime: soak", blocks), encoding="utf-8")
    return path
