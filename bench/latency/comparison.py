"""`leadtime bench latency`: two live runs on the simulated rig, taken apart from camera stamp to motor command."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.latency.report import write_report
from bench.latency.stages import CHOSEN, STAGES, Journeys, by_kind, journeys
from bench.live import conduct
from bench.say import say
from runtime.blackbox import load_run
from runtime.cli import BenchLatency, Run
from runtime.clock import NS_PER_MS
from runtime.errors import LeadtimeError
from runtime.files import make_folder
from runtime.inference.server.latency import LATENCY_PROFILES
from runtime.spec import public
from runtime.summary import build_summary

RUN_S: Final = 45.0
QUICK_S: Final = 4.0
REFERENCE: Final = "pi0"
OUTSIDE_MODEL_MS: Final = 1.0
"""What the server's time outside the model shall be at most, p99."""
QUANTILES: Final = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0}


@dataclass(frozen=True)
class Side:
    """One side of the comparison: a policy and what its answers are held back to."""

    name: str
    policy: str
    latency: str


def sides(policy: str) -> tuple[Side, Side]:
    """Return what is compared: the embedded policy with pi0's published latency, and a policy as it is served."""
    return Side(REFERENCE, "demo", REFERENCE), Side("served", policy, "none")


def run(command: BenchLatency) -> int:
    """Run both sides, leave results.json and report.html in the command's folder."""
    make_folder(command.out)
    reference, served = sides(command.policy)
    # What was asked for goes first: where it cannot be served, that is said before anything was measured in vain.
    measured = {side.name: measure(side, command) for side in (served, reference)}
    found = {
        side.name: {"policy": public(side.policy), "latency": side.latency, **measured[side.name]}
        for side in (reference, served)
    }
    results = {
        "reference_ms": LATENCY_PROFILES[REFERENCE],
        "sides": found,
        "outside_model_target_ms": OUTSIDE_MODEL_MS,
        "host": {
            "machine": platform.machine(),
            "kernel": platform.release(),
            "processors": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
        },
    }
    (command.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for name, side_found in found.items():
        say(f"{name}: {side_found['policy']}, latency {side_found['latency']}, {side_found['journeys']} journeys")
        for row in (
            *side_found["kinds"].items(),
            ("all", side_found["total"]),
            ("all but chosen", side_found["beside"]),
        ):
            say(f"  {row[0]:24} " + "  ".join(f"{key[:3]} {row[1][key]:8.2f}" for key in QUANTILES) + "  ms")
    say(f"report: {write_report(command.out, results)}")
    return 0


def measure(side: Side, command: BenchLatency) -> dict[str, Any]:
    """Run one side with the processes of a run and return its stages.

    Raises:
        UsageError: there is no such policy, or it does not fit the rig.
        LeadtimeError: no request of the run came to act.
    """
    run_dir = _run(side, command)
    recorded = load_run(run_dir)
    made = journeys(recorded)
    if not len(made.total_ns):
        raise LeadtimeError(f"the run in {run_dir} has no answer that came to act: there is nothing to take apart")
    summary = build_summary(recorded)
    return {
        "run_dir": str(run_dir),
        **tabulate(made),
        "ticks_starved": summary["ticks_starved"],
        "wake_lateness_us": summary["wake_lateness_us"],
        "execution": summary["execution"],
    }


def _run(side: Side, command: BenchLatency) -> Path:
    say(f"run, {side.name}: {public(side.policy)}, latency {side.latency}")
    asked = Run(
        policy=side.policy,
        latency=side.latency,
        duration_s=QUICK_S if command.quick else RUN_S,
        headless=True,
        out=command.out / "runs",
    )
    return conduct(asked)


def tabulate(made: Journeys) -> dict[str, Any]:
    """Return a side's figures as JSON values: each stage, each kind of time, and the whole."""
    stages = {stage.name: {"kind": stage.kind, **_quantiles(made.stages_ns[:, i])} for i, stage in enumerate(STAGES)}
    return {
        "journeys": len(made.total_ns),
        "cold": made.cold,
        "unused": made.unused,
        "sums_differ": int(np.count_nonzero(made.stages_ns.sum(axis=1) != made.total_ns)),
        "stages": stages,
        "kinds": {kind: _quantiles(spent_ns) for kind, spent_ns in by_kind(made.stages_ns)},
        "total": _quantiles(made.total_ns),
        "beside": _quantiles(made.total_ns - made.stages_ns[:, CHOSEN].sum(axis=1)),
        "server_outside_model": _quantiles(made.outside_ns),
    }


def _quantiles(spent_ns: NDArray[np.int64]) -> dict[str, float]:
    spent_ms = spent_ns / NS_PER_MS
    found = np.percentile(spent_ms, list(QUANTILES.values())).round(4).tolist()
    return {**dict(zip(QUANTILES, found, strict=True)), "mean_ms": round(float(spent_ms.mean()), 4)}
