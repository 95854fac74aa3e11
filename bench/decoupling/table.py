"""The table of the comparison: which cells, played in parallel, kept as they are done, put together at the end."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import onnxruntime

from bench.decoupling.cells import FIRST_SEED, STATE_POLICY, Cell, code_version, load, play, policy_version, save, score
from bench.decoupling.peers.registry import PEERS
from bench.decoupling.profiles import ZERO, Profile
from bench.lab.episode import Episode

BATCH = 5
"""Episodes a worker plays at a time: a cell that is interrupted loses no more than these."""


@dataclass(frozen=True)
class Plan:
    """What is compared. Every task gets a zero-delay cell of every merge, whether or not the profiles have one."""

    tasks: tuple[str, ...]
    profiles: tuple[Profile, ...]
    merges: tuple[str, ...]
    episodes: int
    policy: str = STATE_POLICY

    def cell(self, task: str, profile: Profile, merge: str) -> Cell:
        """Return one cell."""
        return Cell(task, profile, merge, self.episodes, self.policy)

    def cells(self) -> list[Cell]:
        """Return every cell once: profiles that are the same delay process share theirs."""
        profiles = {profile.latency: profile for profile in (ZERO, *self.profiles)}
        return [
            self.cell(task, profile, merge)
            for task in self.tasks
            for profile in profiles.values()
            for merge in self.merges
        ]


def play_cells(cells: Iterable[Cell], folder: Path, workers: int) -> dict[str, list[Episode]]:
    """Play what the folder does not hold yet; return every cell's episodes by its key."""
    folder.mkdir(parents=True, exist_ok=True)
    done = {cell.key: load(folder, cell) for cell in cells}
    left = [cell for cell in cells if len(done[cell.key]) < cell.episodes]
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        jobs = {cell.key: _submit(pool, cell, len(done[cell.key])) for cell in left}
        for i, cell in enumerate(left, start=1):
            for job in jobs.pop(cell.key):
                done[cell.key].extend(job.result())
            save(folder, cell, done[cell.key])
            _say(i, len(left), cell, done[cell.key], time.monotonic() - begun)
    finally:
        # Where one fails, or the user has had enough, the others are not waited for.
        pool.shutdown(cancel_futures=True)
    return done


def _submit(pool: ProcessPoolExecutor, cell: Cell, first: int) -> list[Any]:
    seeds = range(FIRST_SEED + first, FIRST_SEED + cell.episodes)
    return [pool.submit(_play_batch, cell, seeds[i : i + BATCH]) for i in range(0, len(seeds), BATCH)]


def _play_batch(cell: Cell, seeds: range) -> list[Episode]:
    return [play(cell.task, cell.profile.latency, cell.merge, seed, policy=cell.policy) for seed in seeds]


def _say(i: int, of: int, cell: Cell, episodes: list[Episode], elapsed_s: float) -> None:
    rate = sum(episode.success for episode in episodes) / len(episodes)
    sys.stderr.write(
        f"\r{i}/{of} {cell.task} {cell.profile.name} {cell.merge}: {rate:.2f} of {len(episodes)},"
        f" {elapsed_s:.0f} s, about {elapsed_s / i * (of - i):.0f} s to go\x1b[K"
    )
    if i == of:
        sys.stderr.write("\n")
    sys.stderr.flush()


def results(plan: Plan, done: dict[str, list[Episode]]) -> dict[str, Any]:
    """Return results.json of the contract."""
    tasks, zero = {}, {}
    for task in plan.tasks:
        tasks[task] = {
            "policy": plan.policy,
            "policy_version": policy_version(plan.policy, task),
            "episodes": plan.episodes,
            "profiles": {profile.name: _row(plan, task, profile, done) for profile in plan.profiles},
        }
        zero[task] = _row(plan, task, ZERO, done)
    return {
        "tasks": tasks,
        "zero_delay": zero,
        "peers": {merge: PEERS[merge].source for merge in plan.merges if merge in PEERS},
        "seeds": [FIRST_SEED, FIRST_SEED + plan.episodes - 1],
        "versions": {
            "code": code_version(),
            "mujoco": mujoco.__version__,
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def _row(plan: Plan, task: str, profile: Profile, done: dict[str, list[Episode]]) -> dict[str, Any]:
    return {merge: score(done[plan.cell(task, profile, merge).key]) for merge in plan.merges}
