"""The summary of a run: the numbers of the contract, computed from its black box alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.blackbox import Run, load_run
from runtime.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from runtime.control.strategy import Strategy
from runtime.faults import FAULTS, mask
from runtime.interventions import interventions
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.outcomes import Episode, episodes
from runtime.states import Carriage, Mode, Verdict

FILE_NAME: Final = "summary.json"
REJECTED: Final = (Verdict.LATE, Verdict.STALE, Verdict.INVALID, Verdict.JUMP)
"""Verdicts of an answer that came and was not used."""
ANSWERED: Final = (Verdict.USED, *REJECTED)
JERK_BLOCK: Final = 100_000
"""Ticks of a long run whose positions are in memory at once."""
JOINT_INDEX: Final = tuple(i for i in range(RIG_DOF) if i not in GRIPPER_INDEX)


def summarise(run_dir: Path) -> dict[str, Any]:
    """Return the summary of the run in a folder; LeadtimeError when there is no black box in it."""
    return build_summary(load_run(run_dir))


def build_summary(run: Run) -> dict[str, Any]:
    """Return the contract's summary of a run, JSON values only; what was never measured is None."""
    ticks, spec = run.ticks, run.spec
    lateness_ns = (ticks["now_ns"] - ticks["scheduled_ns"]).astype(np.float64)
    period_ns = NS_PER_S / spec.rig.servo_hz
    done = episodes(run)
    return {
        "rig": spec.rig.name,
        "policy": spec.policy,
        "task": spec.task,
        "merge": spec.merge,
        "latency_profile": spec.latency,
        "seed": spec.seed,
        "duration_s": _rounded(_span_s(ticks)),
        "policy_hz": spec.rig.policy_hz,
        "servo_hz": spec.rig.servo_hz,
        "ticks": len(ticks),
        "ticks_starved": int(np.count_nonzero(ticks["starved"])),
        "ticks_late": int(np.count_nonzero(lateness_ns > period_ns)),
        "ticks_skipped": int(ticks["skipped"].sum()),
        "wake_lateness_us": _quantiles(lateness_ns / NS_PER_US, (50, 99, 99.9), ("p50", "p99", "p999")),
        "tick_compute_us": _quantiles(ticks["compute_ns"] / NS_PER_US, (50, 99, 99.9), ("p50", "p99", "p999")),
        "execution": _execution(run.records["client"]),
        "inference": _inference(run),
        "amendments": _amendments(run),
        "seam_jump_rad": _quantiles(ticks["seam_jump_rad"][ticks["switched"] == 1], (50, 99), ("p50", "p99")),
        "jerk_rms": _jerk_rms(ticks, spec.rig.servo_hz),
        "limit_violations": _last(run.records["task"], "limit_violations"),
        "mode_s": _mode_s(ticks, spec.rig.servo_hz),
        "faults": fault_events(run),
        "interventions": [event.as_dict() for event in interventions(run.ticks, run.t0_ns)],
        "success": _success(done),
        "episodes": len(done),
        "successes": sum(episode.success is True for episode in done),
        "failures": sum(episode.success is False for episode in done),
        "completion_s_p50": _median([e.policy_s for e in done if e.success and e.policy_s is not None]),
        "real_time_factor": _last(run.records["task"], "real_time_factor"),
        "recorder": {
            "complete": run.complete,
            **{f"missing_{ring}": run.missing(ring) for ring in ("tick", "chunk", "request")},
            **run.recorder,
        },
        "run_dir": str(run.run_dir),
    }


def as_text(summary: dict[str, Any]) -> str:
    """Return what a summary's file has."""
    return json.dumps(summary, indent=2) + "\n"


def answers(run: Run) -> NDArray[Any]:
    """Return one REQUEST record per request, the last one written for it, oldest first."""
    requests = run.records["request"]
    last = {int(seq): i for i, seq in enumerate(requests["request_seq"])}
    return requests[sorted(last.values())]


def answered(requests: NDArray[Any]) -> NDArray[Any]:
    """Return the requests that an answer came for, used or not."""
    return requests[np.isin(requests["verdict"], ANSWERED) & (requests["t_received_ns"] > 0)]


def fault_events(run: Run) -> list[dict[str, Any]]:
    """Return each appearance of a fault: its name, when (s since tick zero) and what was done about it.

    An answer dropped because the policy was left while it was under way is how that is meant to end, no fault.
    """
    left = run.ticks["mode"] != Mode.POLICY
    bits = np.where(left, run.ticks["faults"] & ~np.uint64(mask("drop")), run.ticks["faults"])
    told = [(bits, run.ticks["now_ns"])]
    for status in (run.records["client"], run.records["recorder"]):
        if "faults" in (status.dtype.names or ()):
            told.append((status["faults"], status["t_ns"]))
    events = [event for bits, t_ns in told for event in _appearances(bits, t_ns - run.t0_ns)]
    return sorted(events, key=lambda event: float(event["t_s"]))


def _appearances(bits: NDArray[Any], since_ns: NDArray[Any]) -> Iterator[dict[str, Any]]:
    for i, fault in enumerate(FAULTS):
        raised = ((bits >> np.uint64(i)) & np.uint64(1)).astype(bool)
        before = np.concatenate([np.zeros(1, dtype=bool), raised])[: len(raised)]
        for index in np.flatnonzero(raised & ~before):
            t_s = round(int(since_ns[index]) / NS_PER_S, 3)
            yield {"name": fault.name, "t_s": t_s, "action": fault.action}


def _amendments(run: Run) -> dict[str, Any]:
    """Return how often a corrector put the plan right, and the age of what it had seen when it had done so.

    Ticks of recordings from before there was one do not say.
    """
    made, names = run.records["amendment"], run.ticks.dtype.names or ()
    age_ms = (made["t_made_ns"] - made["t_obs_ns"]) / NS_PER_MS
    return {
        "made": len(made),
        "used": int(np.count_nonzero(run.ticks["amended"] == Verdict.USED)) if "amended" in names else 0,
        "age_ms": _quantiles(age_ms, (50, 99), ("p50", "p99")),
    }


def _inference(run: Run) -> dict[str, Any]:
    requests = answers(run)
    came = answered(requests)
    verdicts = requests["verdict"]
    # The client hands on what it finds fit; what the control process then drops shows as a fault of that tick.
    dropped = int(np.count_nonzero(run.ticks["faults"] & np.uint64(mask("drop"))))
    latency_ms = (came["t_received_ns"] - came["t_request_ns"]) / NS_PER_MS
    return {
        "requests": len(requests),
        "chunks_used": max(int(np.count_nonzero(verdicts == Verdict.USED)) - dropped, 0),
        "chunks_rejected": int(np.count_nonzero(np.isin(verdicts, REJECTED))) + dropped,
        "verdicts": {v.name: int(np.count_nonzero(verdicts == v)) for v in Verdict if np.any(verdicts == v)},
        "latency_ms": _quantiles(latency_ms, (50, 95, 99), ("p50", "p95", "p99"), with_max=False),
        "delay_ticks": _quantiles(came["delay_ticks"], (50, 95), ("p50", "p95")),
        "forecast": _forecast(run.records["client"]),
        "pictures": _pictures(run.records["client"]),
    }


def _execution(status: NDArray[Any]) -> dict[str, Any]:
    """Return how chunks were executed, as chosen when the policy was connected."""
    agreed = status[status["stretch"] > 0.0]
    if not len(agreed):
        return {"strategy": None, "stretch": None}
    return {"strategy": Strategy(int(agreed[-1]["strategy"])).name, "stretch": float(agreed[-1]["stretch"])}


def _pictures(status: NDArray[Any]) -> str | None:
    """Return how pictures went to the server at last; None in recordings that do not say."""
    if "pictures" not in (status.dtype.names or ()):
        return None
    told = status["pictures"][status["pictures"] != Carriage.NONE]
    return Carriage(int(told[-1])).name if len(told) else None


def _forecast(status: NDArray[Any]) -> dict[str, float | None]:
    if not len(status):
        return {"coverage_target": None, "coverage": None, "overprovision_ticks": None}
    last = status[-1]
    forecasts, covered = int(last["forecasts"]), int(last["covered"])
    return {
        "coverage_target": _rounded(float(last["coverage_target"])),
        "coverage": _rounded(covered / forecasts) if forecasts else None,
        "overprovision_ticks": _rounded(float(last["overprovision_ticks"]) / covered) if covered else None,
    }


def _quantiles(
    values: NDArray[Any], percents: Sequence[float], names: Sequence[str], *, with_max: bool = True
) -> dict[str, float | None]:
    keys = (*names, "max") if with_max else tuple(names)
    if not len(values):
        return dict.fromkeys(keys)
    found = np.percentile(values, (*percents, 100)[: len(keys)])
    return {key: _rounded(float(value)) for key, value in zip(keys, found, strict=True)}


def _jerk_rms(ticks: NDArray[Any], servo_hz: int) -> float | None:
    """Root mean square of the third difference of the commanded joints in POLICY, rad/s^3.

    Only four consecutive servo ticks make a difference: not those across a skipped tick or a change of mode.
    """
    squares, count = 0.0, 0
    for begin in range(0, len(ticks) - 3, JERK_BLOCK):
        block = ticks[begin : begin + JERK_BLOCK + 3]
        together = np.diff(block["servo_tick"]) == 1
        policy = block["mode"] == Mode.POLICY
        joined = together & policy[1:] & policy[:-1]
        whole = joined[2:] & joined[1:-1] & joined[:-2]
        third = np.diff(block["command"]["position"][:, JOINT_INDEX], n=3, axis=0)[whole]
        squares += float(np.sum(third**2))
        count += third.size
    return _rounded(float(servo_hz) ** 3 * math.sqrt(squares / count)) if count else None


def _mode_s(ticks: NDArray[Any], servo_hz: int) -> dict[str, float]:
    """Seconds in each mode; a mode lasts until the next tick, so skipped ticks count to the one before."""
    spans = np.append(np.diff(ticks["servo_tick"]), 1)[: len(ticks)] / servo_hz
    return {mode.name: _rounded(float(spans[ticks["mode"] == mode].sum())) for mode in Mode}


def _success(done: list[Episode]) -> bool | None:
    outcomes = [episode.success for episode in done if episode.success is not None]
    return all(outcomes) if outcomes else None


def _span_s(ticks: NDArray[Any]) -> float:
    return float(ticks["now_ns"][-1] - ticks["now_ns"][0]) / NS_PER_S if len(ticks) else 0.0


def _last(status: NDArray[Any], name: str) -> Any:
    return status[-1][name].item() if len(status) else None


def _median(values: list[float]) -> float | None:
    return _rounded(float(np.median(values))) if values else None


def _rounded(value: float) -> float:
    """Round to six significant digits: what is beyond is not measured."""
    return float(f"{value:.6g}")
