"""Wake-up lateness of the control loop, beside cyclictest and a plain sleep loop in the same run.

First each way of waiting alone on one processor, idle and with an ordinary busy process on that processor; then
the control process of whole runs: undisturbed, and with a thread that hogs the interpreter in the client or in
the server. Machines are noisy: read the ratios within a run, not the microseconds across runs.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.live import conduct
from bench.probe import PERIOD_NS
from bench.say import say
from runtime.blackbox import load_run
from runtime.cli import BenchJitter, Run
from runtime.clock import NS_PER_US
from runtime.console import figures, page
from runtime.errors import LeadtimeError
from runtime.files import make_folder
from runtime.realtime import PRIORITIES
from runtime.states import Mode

PROBES: Final = ("sleep", "absolute-fifo", "leadtime")
HOGGED: Final[dict[str, dict[str, str]]] = {
    "undisturbed": {},
    "hog in client": {"client": "bench.hogged"},
    "hog in server": {"server": "bench.hogged"},
}
NOTE: Final = "Machines are noisy: read the ratios within this run, not the microseconds across runs."
QUANTILES: Final = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "max": 100.0}


@dataclass(frozen=True)
class Lateness:
    """Wake-up lateness of one case, in microseconds."""

    case: str
    load: str
    ticks: int
    p50: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, case: str, load: str, lateness_us: NDArray[np.float64]) -> Lateness:
        """Summarise latenesses, shape (N,)."""
        values = np.percentile(lateness_us, list(QUANTILES.values())).round(1).tolist()
        return cls(case, load, len(lateness_us), *values)


def run(command: BenchJitter) -> int:
    """Measure wake-up lateness and leave results.json and report.html in the command's folder."""
    make_folder(command.out)
    sys.stdout.write(f"report: {main(command.out, quick=command.quick)}\n")
    return 0


def main(out: Path, *, quick: bool) -> Path:
    """Measure every case, write results.json and report.html, return the page."""
    seconds, run_s = (2.0, 12.0) if quick else (20.0, 40.0)
    cpu = max(os.sched_getaffinity(0))
    samples: dict[tuple[str, str], NDArray[np.float64]] = {}
    kept: dict[str, dict[str, int]] = {}
    for load in ("idle", "busy core"):
        for case in ("cyclictest", *PROBES):
            say(f"{case}, {load}: {seconds:.0f} s")
            found = _measure(case, seconds, cpu, busy=load != "idle")
            if found is not None:
                samples[case, load] = found
    for name, entries in HOGGED.items():
        say(f"run, {name}: {run_s:.0f} s")
        found, skipped, starved = _run_lateness(out, run_s, entries)
        samples["control process", name] = found
        kept[name] = {"ticks_skipped": skipped, "ticks_starved": starved}
    rows = [Lateness.of(*key, found) for key, found in samples.items()]
    results = {
        "period_us": PERIOD_NS // NS_PER_US,
        "host": {"machine": platform.machine(), "kernel": platform.release(), "processors": os.cpu_count()},
        "cyclictest": ("cyclictest", "idle") in samples,
        "lateness_us": [asdict(row) for row in rows],
        "runs": kept,
    }
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        say(f"{row.case:16} {row.load:14} p50 {row.p50:8.1f}  p99 {row.p99:8.1f}  p99.9 {row.p999:8.1f} us")
    return _report(out, rows, samples)


def _measure(case: str, seconds: float, cpu: int, *, busy: bool) -> NDArray[np.float64] | None:
    load = _probe("busy", seconds + 2.0, cpu) if busy else None
    try:
        if case == "cyclictest":
            return _cyclictest(seconds, cpu)
        output, _ = _probe(case, seconds, cpu).communicate()
        if not output:
            raise LeadtimeError(f"probe {case} gave nothing back; see what it wrote above")
        return np.frombuffer(output, dtype="<i8") / NS_PER_US
    finally:
        if load is not None:
            load.kill()
            load.communicate()


def _probe(way: str, seconds: float, cpu: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.probe", way, str(seconds), str(cpu)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _cyclictest(seconds: float, cpu: int) -> NDArray[np.float64] | None:
    """Latenesses from cyclictest's histogram, 1 us resolution; None where it is absent or not permitted."""
    tool = shutil.which("cyclictest")
    if tool is None:
        return None
    loops = round(seconds * 1e9 / PERIOD_NS)
    options = ["-q", "-m", f"-p{PRIORITIES['control']}", f"-i{PERIOD_NS // NS_PER_US}", f"-l{loops}", f"-a{cpu}"]
    done = subprocess.run([tool, *options, "-t1", "-h100000"], capture_output=True, text=True, check=False)
    counts = re.findall(r"^(\d{6}) (\d+)$", done.stdout, flags=re.MULTILINE)
    found = np.repeat([float(us) for us, _ in counts], [int(count) for _, count in counts])
    return found if len(found) else None


def _run_lateness(out: Path, seconds: float, entries: dict[str, str]) -> tuple[NDArray[np.float64], int, int]:
    """Return the latenesses of a run's ticks in POLICY, and how many of them were skipped and starved."""
    command = Run(duration_s=seconds, latency="gigaworld", headless=True, out=out / "runs")
    run_dir = conduct(command, entries=entries)
    ticks = load_run(run_dir).ticks
    ticks = ticks[ticks["mode"] == Mode.POLICY]
    if not len(ticks):
        raise LeadtimeError(f"the run in {run_dir} never reached POLICY: there is nothing to measure")
    lateness: NDArray[np.float64] = (ticks["now_ns"] - ticks["scheduled_ns"]) / NS_PER_US
    return lateness, int(ticks["skipped"].sum()), int(ticks["starved"].sum())


def _report(out: Path, rows: list[Lateness], samples: dict[tuple[str, str], Any]) -> Path:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for (case, load), found in samples.items():
        ordered = np.sort(np.maximum(found, 0.1))
        axes.step(ordered, 1.0 - np.arange(len(ordered)) / len(ordered), label=f"{case}, {load}")
    axes.set(xscale="log", yscale="log", xlabel="lateness (us)", ylabel="share of ticks later than this")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    cells = [(r.case, r.load, str(r.ticks), *map(str, (r.p50, r.p99, r.p999, r.max))) for r in rows]
    head = ("case", "load", "ticks", "p50 us", "p99 us", "p99.9 us", "max us")
    blocks = (
        page.section("Wake-up lateness at 200 Hz", page.table(cells, head), NOTE),
        page.section("Share of ticks later than", figures.svg(figure)),
    )
    path = out / "report.html"
    path.write_text(page.page("leadtime: wake-up lateness", blocks), encoding="utf-8")
    return path
