"""Promises of the soak: what grows is found, what is flat is not, and a process that is gone gives no sample."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.soak import FLAT_KIB, SHM, Process, Watch, run
from runtime.cli import BenchSoak
from runtime.errors import UsageError


def grown(per_sample_kib: float, *, samples: int = 100, warm_kib: float = 0.0) -> Process:
    """A process of 50 MiB that grows by so much a sample, and by `warm_kib` in all in its first tenth."""
    seen = Process(pids={1})
    for i in range(samples):
        seen.t_s.append(float(i))
        seen.rss_kib.append(51_200.0 + per_sample_kib * i + min(i / samples * 10.0, 1.0) * warm_kib)
        seen.descriptors.append(12)
        seen.threads.append(3)
    return seen


@pytest.mark.parametrize(("per_sample_kib", "flat"), [(0.0, True), (FLAT_KIB / 75, True), (FLAT_KIB / 60, False)])
def test_memory_that_grows_after_the_warm_up_is_found(per_sample_kib: float, flat: bool) -> None:
    judged = grown(per_sample_kib).judge()
    assert judged["flat"] is flat
    assert judged["slope_kib_per_min"] == pytest.approx(60.0 * per_sample_kib, abs=0.01)


def test_a_warm_up_is_no_leak() -> None:
    assert grown(0.0, warm_kib=30_000.0).judge()["flat"]


def test_noise_is_no_leak() -> None:
    seen = grown(0.0)
    seen.rss_kib = list(np.array(seen.rss_kib) + np.random.default_rng(1).normal(0.0, 500.0, 100))
    assert seen.judge()["flat"]


@pytest.mark.parametrize("field", ["descriptors", "threads"])
def test_a_descriptor_or_a_thread_more_is_found(field: str) -> None:
    seen = grown(0.0)
    assert seen.judge()[f"{field}_flat"]
    getattr(seen, field)[-1] += 1
    assert not seen.judge()[f"{field}_flat"]


def test_this_process_is_sampled_and_one_that_is_gone_is_not() -> None:
    seen = Process()
    seen.sample(0.0, os.getpid())
    seen.sample(1.0, 2**22 + 1)
    assert len(seen.t_s) == len(seen.rss_kib) == 1
    assert seen.rss_kib[0] > 1000
    assert seen.threads[0] >= 1
    assert seen.descriptors[0] == pytest.approx(len(list(Path("/proc/self/fd").iterdir())), abs=3)


def test_a_soak_has_a_bounded_number_of_samples_at_most_one_a_second() -> None:
    assert Watch(3600.0)._period_ns == 15 * 10**9
    assert Watch(60.0)._period_ns == 10**9


def test_a_soak_of_a_moment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="10 seconds at least"):
        run(BenchSoak(out=tmp_path, duration_s=9.0))
    assert SHM.name == "shm"
