"""Promises of the jitter benchmark: right quantiles, a page that stands alone, nothing made up where nothing is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import jitter
from bench.probe import PERIOD_NS, WAYS
from runtime.errors import LeadtimeError
from tests.process.harness import wait_for


def test_the_quantiles_are_those_of_the_samples() -> None:
    row = jitter.Lateness.of("case", "idle", np.arange(1001, dtype=np.float64))
    assert (row.ticks, row.p50, row.p99, row.p999, row.max) == (1001, 500.0, 990.0, 999.0, 1000.0)


@pytest.mark.parametrize("way", ["sleep", "absolute-fifo"])
def test_a_probe_in_a_process_of_its_own_never_wakes_early(way: str) -> None:
    found = jitter._measure(way, 0.2, 0, busy=False)
    assert found is not None
    assert len(found) == round(0.2e9 / PERIOD_NS)
    assert found.min() >= 0.0


def test_a_probe_that_gives_nothing_back_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(LeadtimeError, match="probe sleep gave nothing back"):
        jitter._measure("sleep", 0.1, 0, busy=False)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="that a probe has begun shows by its processor")
def test_a_probe_that_is_interrupted_ends_in_silence() -> None:
    cpu = max(os.sched_getaffinity(0))
    words = [sys.executable, "-m", "bench.probe", "sleep", "60", str(cpu)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as probe:
        wait_for(lambda: os.sched_getaffinity(probe.pid) == {cpu}, "the probe to begin")
        probe.send_signal(signal.SIGINT)
        assert probe.communicate(timeout=20.0) == (b"", b"")
    assert probe.returncode == -signal.SIGINT


def test_a_host_without_cyclictest_is_measured_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert jitter._measure("cyclictest", 0.1, 0, busy=False) is None


def test_every_way_measured_is_one_the_probe_knows() -> None:
    assert {*jitter.PROBES, "busy"} <= WAYS.keys()


def test_the_page_holds_every_case_and_loads_nothing(tmp_path: Path) -> None:
    samples = {("sleep", "idle"): np.full(50, 120.0), ("leadtime", "busy core"): np.full(50, 3.0)}
    rows = [jitter.Lateness.of(*key, found) for key, found in samples.items()]
    text = jitter._report(tmp_path, rows, samples).read_text()
    assert "busy core" in text
    assert "120.0" in text
    assert "src=" not in text.replace('src="data:', "")
    assert json.dumps(rows[0].__dict__)
