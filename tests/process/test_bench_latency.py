"""The latency benchmark on a short real run: every stage measured, and nothing lost between them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.latency.stages import STAGES
from runtime.inference.server.latency import LATENCY_PROFILES


def test_a_live_run_is_taken_apart_without_a_nanosecond_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runtime", "bench", "latency", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["sides"].keys() == {"pi0", "served"}
    for side in results["sides"].values():
        assert side["journeys"] > 3
        assert side["sums_differ"] == 0
        assert [*side["stages"]] == [stage.name for stage in STAGES]
        means_ms = sum(row["mean_ms"] for row in side["stages"].values())
        assert abs(means_ms - side["total"]["mean_ms"]) < 0.01
        for name, row in side["stages"].items():
            assert row["p50_ms"] >= 0.0, name
    held, served = (results["sides"][name]["stages"] for name in ("pi0", "served"))
    spent_ms = held["model"]["p50_ms"] + held["prepare"]["p50_ms"] + held["queue"]["p50_ms"]
    assert spent_ms >= 0.99 * LATENCY_PROFILES["pi0"]
    # How long it takes by itself is the host's business: one that is busy with other things may take as long.
    assert served["model"]["p50_ms"] > 0.0
    assert "<svg" in (tmp_path / "report.html").read_text()
