"""Promises of the benchmarks about what they are asked: what cannot be measured is said before anything is."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import jitter, live, soak
from bench.decoupling import comparison as decoupling
from bench.decoupling.peers.registry import PEERS
from bench.faults import comparison as faults
from bench.latency import comparison as latency
from runtime.cli import BenchDecoupling, BenchFaults, BenchJitter, BenchLatency, BenchSoak
from runtime.errors import LeadtimeError, UsageError
from runtime.lock import RigLock


@pytest.mark.parametrize("duration_s", [math.nan, math.inf, -1.0, 1e6])
def test_a_soak_takes_a_time_that_ends(tmp_path: Path, duration_s: float) -> None:
    with pytest.raises(UsageError, match="a day at most"):
        soak.run(BenchSoak(out=tmp_path, duration_s=duration_s))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit_s", [math.nan, math.inf, -1.0])
def test_a_limit_that_is_none_plays_no_faults(tmp_path: Path, limit_s: float) -> None:
    with pytest.raises(UsageError, match="or 0 for no limit"):
        faults.run(BenchFaults(out=tmp_path, limit_s=limit_s))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", ['{"sides": {}}', '{"rows"', "[]"], ids=["another benchmark's", "cut short", "a list"])
def test_results_that_are_no_rows_are_refused_before_a_row_is_played(tmp_path: Path, left: str) -> None:
    (tmp_path / "results.json").write_text(left)
    with pytest.raises(UsageError, match=r"results\.json: holds no rows of this benchmark; give another --out"):
        faults.run(BenchFaults(out=tmp_path, rows=("4",)))
    assert (tmp_path / "results.json").read_text() == left


def test_a_disk_that_fills_leaves_the_rows_of_earlier_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, one = Path.write_text, BenchFaults(out=tmp_path, rows=("4",))
    monkeypatch.setattr(faults, "_judge", lambda *_: {"held": True, "control_fails": True})
    monkeypatch.setattr(faults, "write_report", lambda *_: tmp_path)
    assert faults.run(one) == 0
    kept = (tmp_path / "results.json").read_text()

    def full(self: Path, text: str, encoding: str) -> int:
        write(self, text[:20], encoding=encoding)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        faults.run(replace(one, rows=("9",)))
    assert (tmp_path / "results.json").read_text() == kept


def test_what_may_not_be_served_is_tried_before_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(side: latency.Side, _command: BenchLatency) -> None:
        tried.append(side.policy)
        raise UsageError("unknown policy")

    monkeypatch.setattr(latency, "measure", refuse)
    with pytest.raises(UsageError):
        latency.run(BenchLatency(out=tmp_path, policy="pi9"))
    assert tried == ["pi9"]


def test_what_is_named_twice_is_played_once() -> None:
    plan = decoupling.resolve(BenchDecoupling(tasks=("posts",) * 2, merges=("leadtime",) * 2, profiles=("d=0",) * 2))
    assert len(plan.cells()) == 1


def test_a_policy_for_any_task_plays_every_task() -> None:
    assert decoupling.resolve(BenchDecoupling(policy="sway")).tasks == ("balance", "conveyor", "posts", "transfer")


def test_a_comparison_of_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoupling, "_can_run", lambda _kind: False)
    with pytest.raises(LeadtimeError, match="none of them can run here"):
        decoupling.resolve(BenchDecoupling(merges=(next(iter(PEERS)),)))


class Interrupted:
    """In a supervisor's place: a run that Ctrl-C ended."""

    interrupted = True

    def __init__(self, *_: object) -> None:
        pass

    def run(self) -> None:
        """End before anything was measured."""


@pytest.mark.parametrize(
    "bench",
    [
        lambda out: soak.run(BenchSoak(out=out, quick=True, policy="demo-state")),
        lambda out: latency.run(BenchLatency(out=out, quick=True, policy="demo-state")),
        lambda out: jitter.run(BenchJitter(out=out, quick=True)),
    ],
    ids=["soak", "latency", "jitter"],
)
def test_a_benchmark_whose_run_was_interrupted_ends_and_reports_nothing(
    bench: Callable[[Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "Supervisor", Interrupted)
    monkeypatch.setattr(live, "RigLock", lambda _name: RigLock("of-this-test"))
    monkeypatch.setattr(jitter, "_measure", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len(list((tmp_path / "runs").iterdir())) == 1
