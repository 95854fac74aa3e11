"""The trace that a run leaves: what it recorded of its answers, as a latency profile takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.decoupling.profiles import TRACE
from bench.decoupling.record import latencies_ms, main
from runtime.blackbox import load_run
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.errors import LeadtimeError
from runtime.inference.server.latency import parse_latency
from tests.unit.recorded import LATENCY_NS, record


def test_a_recorded_run_becomes_a_profile_with_its_latencies(tmp_path: Path) -> None:
    record(tmp_path)
    out = tmp_path / "trace.txt"
    main(tmp_path, out=out)
    rng = np.random.default_rng(0)
    model = parse_latency(f"trace:{out}")
    assert model.median_ms == pytest.approx(LATENCY_NS / NS_PER_MS)
    assert model.sample(rng, NS_PER_S) == LATENCY_NS


def test_a_request_at_standstill_and_one_that_was_never_answered_are_left_out(tmp_path: Path) -> None:
    record(tmp_path)
    run = load_run(tmp_path)
    whole = len(latencies_ms(run))
    requests = run.records["request"] = run.records["request"].copy()
    warm = np.flatnonzero((requests["cold"] == 0) & (requests["t_received_ns"] > 0))
    requests["cold"][warm[0]] = 1
    requests["t_received_ns"][warm[1]] = 0
    assert len(latencies_ms(run)) == whole - 2
    requests["cold"] = 1
    with pytest.raises(LeadtimeError, match="no answered request"):
        latencies_ms(run)


def test_the_trace_of_the_comparison_is_one_of_a_slow_server(tmp_path: Path) -> None:
    assert 200.0 < parse_latency(f"trace:{TRACE}").median_ms < 300.0
