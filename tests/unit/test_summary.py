"""The summary's numbers are those of the black box, and what was not measured is null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import records
from runtime.blackbox import Run
from runtime.channels import RECORD_CHANNELS
from runtime.faults import BIT, FAULTS
from runtime.states import Mode, Verdict
from runtime.summary import build_summary, summarise
from tests.unit import recorded

CONTRACT = {
    "rig", "policy", "merge", "latency_profile", "seed", "duration_s", "policy_hz", "servo_hz", "ticks",
    "ticks_starved", "ticks_late", "wake_lateness_us", "inference", "seam_jump_rad", "jerk_rms",
    "limit_violations", "mode_s", "faults", "success", "run_dir",
}  # fmt: skip


def make_run(**rings: list[Any]) -> Run:
    """Return a run in memory from lists of records."""
    dtypes = {channel.ring: channel.dtype for channel in RECORD_CHANNELS}
    arrays = {name: np.array(rings.get(name, []), dtype=dtype) for name, dtype in dtypes.items()}
    indices = {name: np.arange(len(array)) for name, array in arrays.items()}
    return Run(Path("run"), recorded.make_spec(Path("run")), recorded.T0_NS, arrays, indices)


def make_ticks(count: int, **fields: Any) -> list[Any]:
    """Return ticks in POLICY at rest; each field is given as an array over the ticks."""
    ticks = np.zeros(count, dtype=records.TICK)
    ticks["servo_tick"] = np.arange(count)
    ticks["mode"] = Mode.POLICY
    ticks["scheduled_ns"] = recorded.T0_NS + ticks["servo_tick"] * recorded.PERIOD_NS
    ticks["now_ns"] = ticks["scheduled_ns"]
    for name, values in fields.items():
        ticks[name] = values
    return list(ticks)


def test_a_recorded_run_has_every_key_of_the_contract(tmp_path: Path) -> None:
    recorded.record(tmp_path, 1000)
    summary = summarise(tmp_path)
    assert set(summary) >= CONTRACT
    assert set(summary["wake_lateness_us"]) == {"p50", "p99", "p999", "max"}
    assert set(summary["seam_jump_rad"]) == {"p50", "p99", "max"}
    inference = summary["inference"]
    assert set(inference["latency_ms"]) == {"p50", "p95", "p99"}
    assert set(inference["delay_ticks"]) == {"p50", "p95", "max"}
    assert set(inference["forecast"]) == {"coverage_target", "coverage", "overprovision_ticks"}
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["ticks"], summary["policy_hz"], summary["servo_hz"]) == (1000, 50, 200)
    assert inference["latency_ms"]["p50"] == 360.0
    assert inference["forecast"] == {"coverage_target": 0.95, "coverage": 0.95, "overprovision_ticks": 2.0}
    assert summary["wake_lateness_us"]["p99"] == 15.0
    assert summary["mode_s"]["HOLD"] == 1.0
    assert summary["mode_s"]["POLICY"] == 4.0
    assert summary["seam_jump_rad"]["max"] == 0.01
    assert summary["success"] is True
    assert summary["limit_violations"] == 0


def test_a_run_without_anything_is_all_null_or_zero() -> None:
    summary = build_summary(make_run())
    assert set(summary) >= CONTRACT
    assert summary["ticks"] == summary["ticks_starved"] == 0
    assert summary["success"] is summary["jerk_rms"] is summary["limit_violations"] is None
    assert summary["wake_lateness_us"]["p50"] is summary["inference"]["latency_ms"]["p50"] is None


def test_jerk_is_the_third_difference_of_the_joints_alone() -> None:
    ticks = np.array(make_ticks(50))
    t_s = ticks["servo_tick"] / 200
    ticks["command"]["position"] = (t_s**3)[:, None]
    assert build_summary(make_run(tick=list(ticks)))["jerk_rms"] == pytest.approx(6.0, rel=1e-4)
    ticks["command"]["position"][:, (6, 13)] = np.arange(50)[:, None] % 2
    assert build_summary(make_run(tick=list(ticks)))["jerk_rms"] == pytest.approx(6.0, rel=1e-4)


def test_no_jerk_is_seen_across_a_skipped_tick_or_a_change_of_mode() -> None:
    ticks = np.array(make_ticks(40))
    ticks["command"]["position"][20:] = 1.0
    assert build_summary(make_run(tick=list(ticks)))["jerk_rms"] > 1e6
    held = ticks.copy()
    held["mode"][20:] = Mode.HOLD
    assert build_summary(make_run(tick=list(held)))["jerk_rms"] == 0.0
    ticks["servo_tick"][20:] += 1
    assert build_summary(make_run(tick=list(ticks)))["jerk_rms"] == 0.0


def test_late_ticks_are_those_past_a_period_and_skipped_ones_count_to_the_mode_before() -> None:
    ticks = np.array(make_ticks(10))
    ticks["now_ns"][3] += recorded.PERIOD_NS + 1
    ticks["now_ns"][4] += recorded.PERIOD_NS
    ticks["servo_tick"][5:] += 2
    ticks["skipped"][5] = 2
    ticks["starved"][7] = 1
    summary = build_summary(make_run(tick=list(ticks)))
    assert (summary["ticks_late"], summary["ticks_skipped"], summary["ticks_starved"]) == (1, 2, 1)
    assert summary["mode_s"]["POLICY"] == pytest.approx(12 / 200)


def test_a_fault_is_reported_each_time_it_appears_with_its_action() -> None:
    bits = np.zeros(20, dtype=np.uint64)
    last = len(FAULTS) - 1
    bits[4:8] = bits[12:] = 1 << last
    faults = build_summary(make_run(tick=make_ticks(20, faults=bits)))["faults"]
    expected = {"name": FAULTS[last].name, "action": FAULTS[last].action}
    assert faults == [{**expected, "t_s": 0.02}, {**expected, "t_s": 0.06}]


def test_answers_are_counted_by_the_last_verdict_of_each_request() -> None:
    requests = [recorded.make_request(80 * i, Verdict.PENDING) for i in range(4)]
    requests += [
        recorded.make_request(80 * i, verdict)
        for i, verdict in enumerate((Verdict.USED, Verdict.LATE, Verdict.TIMEOUT, Verdict.JUMP))
    ]
    inference = build_summary(make_run(request=requests))["inference"]
    assert (inference["requests"], inference["chunks_used"], inference["chunks_rejected"]) == (4, 1, 2)
    assert inference["verdicts"] == {"USED": 1, "LATE": 1, "TIMEOUT": 1, "JUMP": 1}


def test_a_chunk_that_the_control_process_drops_is_not_called_used() -> None:
    requests = [recorded.make_request(80 * i) for i in range(3)]
    bits = np.zeros(20, dtype=np.uint64)
    bits[4], bits[10:] = BIT["chunk_jump"], BIT["server_lost"]
    inference = build_summary(make_run(request=requests, tick=make_ticks(20, faults=bits)))["inference"]
    assert (inference["chunks_used"], inference["chunks_rejected"]) == (2, 1)


def test_what_physics_finds_after_the_verdict_changes_nothing() -> None:
    """A cube that rolls into the zone while the arms go home is no success."""
    summary = build_summary(
        make_run(
            task_request=[recorded.make_task_request(100)],
            episode_end=[recorded.make_end(150, 1, success=False)],
            task=[recorded.make_task(170, 1, outcome=1)],
        )
    )
    assert (summary["success"], summary["successes"], summary["failures"]) == (False, 0, 1)


@pytest.mark.parametrize(
    ("outcomes", "success"),
    [
        ([], None),
        ([-1], None),
        ([1], True),
        ([1, -1], True),
        ([1, 0, 1], False),
    ],
)
def test_success_is_of_all_episodes_that_were_finished(outcomes: list[int], success: bool | None) -> None:
    numbers = range(1, len(outcomes) + 1)
    requests = [recorded.make_task_request(n * 100, n) for n in numbers]
    ends = [
        recorded.make_end(n * 100 + 50, n, success=bool(outcome))
        for n, outcome in zip(numbers, outcomes, strict=True)
        if outcome >= 0
    ]
    summary = build_summary(make_run(task_request=requests, episode_end=ends))
    assert summary["success"] is success
    assert summary["episodes"] == len(outcomes)
