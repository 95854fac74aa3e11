"""The cells of the comparison: many episodes of one task under one delay process and one merge."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

import runtime
from bench.decoupling.peers.registry import PEERS
from bench.decoupling.profiles import Profile
from bench.decoupling.promises import OURS
from bench.lab.episode import Episode
from bench.lab.faults import Schedule
from bench.lab.foreign import ForeignDriver
from bench.lab.observer import Eyes, Observer
from bench.lab.own import OwnDriver
from bench.lab.rig import NO_FAULTS, Driver, Lab
from bench.lab.server import LabServer
from bench.training.evaluate import wilson
from runtime.config import RigConfig, load_rig
from runtime.control.merge import MERGES
from runtime.control.settings import JUMP_RAD
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks import TASKS
from runtime.files import replace_text
from runtime.inference.client.corrector import Corrector, is_worth_it, load_corrector
from runtime.inference.handshake import policy_schema
from runtime.inference.policy import load_policy
from runtime.inference.sampler import Sampler, load_sampler
from runtime.inference.server.latency import parse_latency
from runtime.workspace import Workspace

RIG: Final = "sim-x5"
STATE_POLICY: Final = "demo-state"
"""Reads the simulator's object states: fast enough for thousands of episodes."""
FIRST_SEED: Final = 1
"""Demonstrations use seeds far above: no layout of the comparison was trained on."""
LENIENT_RAD: Final = 1.0
"""The largest jump that is believed of the other merges, three times a rig's own: those that jump are shown as they
are, within the limits that follow. Other projects look at no jump at all, and none of theirs is refused.
"""
_CODE: Final = (
    "runtime/control",
    "runtime/inference",
    "runtime/drivers/sim",
    "runtime/kinematics",
    "bench/lab",
    "bench/decoupling/peers",
)


@dataclass(frozen=True)
class Cell:
    """One cell: episodes with seeds from `FIRST_SEED` on."""

    task: str
    profile: Profile
    merge: str
    episodes: int
    policy: str = STATE_POLICY

    @property
    def key(self) -> str:
        """Return what distinguishes the cell's episodes from any other's; a file's name."""
        delays = hashlib.sha256(_delays(self.profile.latency)).hexdigest()[:8]
        return f"{self.policy.replace('/', '_')}-{self.task}-{self.merge}-{delays}"


@cache
def _delays(latency: str) -> bytes:
    """Return what a delay process is told by: of a trace its numbers, which may be others tomorrow."""
    kind, _, file = latency.partition(":")
    return Path(file).read_bytes() if kind == "trace" else latency.encode()


@cache
def rig() -> RigConfig:
    """Return the simulated rig without its cameras, for the policies here read the simulator's object states."""
    return msgspec.structs.replace(load_rig(RIG), cameras={})


@cache
def _refuses(merge: str) -> tuple[RigConfig, float]:
    """Return the rig that a merge is played on, and the largest jump that is believed of it.

    Ours is played with all that a rig refuses: what it does here it does there. No workspace is kept from the others:
    those that jump are shown as they are, not as what stops them.
    """
    if merge == OURS:
        return rig(), JUMP_RAD
    unchecked = msgspec.structs.replace(rig(), workspace=Workspace(check=False))
    return unchecked, math.inf if merge in PEERS else LENIENT_RAD


@lru_cache(maxsize=8)
def _plant(task: str) -> Plant:
    return Plant(rig().arms["left"].model, TASKS[task]())


@lru_cache(maxsize=8)
def _sampler(task: str, policy: str) -> Sampler:
    return load_sampler(load_policy(policy), task)


@cache
def _corrector(task: str, policy: str) -> Corrector | None:
    return load_corrector(load_policy(policy), task)


@cache
def _eyes(task: str, policy: str) -> Eyes | None:
    seen = load_policy(policy).manifest.observation
    if not seen.cameras:
        return None
    return Eyes(_plant(task), seen.cameras, seen.width_px, seen.height_px)


def lab(
    task: str,
    latency: str,
    merge: str,
    seed: int,
    *,
    policy: str = STATE_POLICY,
    faults: Schedule = NO_FAULTS,
    keep: bool = False,
    concurrency: int = 1,
    corrector: Corrector | None = None,
) -> Lab:
    """Return the lab of one episode, ready to run; `merge` is one of MERGES or of PEERS.

    `concurrency` is how many requests the server works on at once; `corrector` takes the place of the policy's own.
    """
    model, plant, sampler = parse_latency(latency), _plant(task), _sampler(task, policy)
    plant.reset(seed)
    schema = policy_schema(load_policy(policy), task, model.median_ms)
    observer = Observer(plant, _eyes(task, policy))
    played_on, jump_rad = _refuses(merge)
    driver: Driver
    if merge in PEERS:
        driver = ForeignDriver(played_on, PEERS[merge], observer, sampler, model, seed, schema.horizon)
    else:
        server = LabServer(sampler, model, seed, concurrency)
        schema = msgspec.structs.replace(schema, concurrency=concurrency)
        if corrector is None and MERGES[merge].amends and is_worth_it(schema):
            corrector = _corrector(task, policy)
        driver = OwnDriver(played_on, schema, merge, observer, server, seed, corrector=corrector)
    return Lab(played_on, plant, driver, seed, jump_rad=jump_rad, faults=faults, keep=keep)


def play(task: str, latency: str, merge: str, seed: int, *, policy: str = STATE_POLICY) -> Episode:
    """Play one episode."""
    return lab(task, latency, merge, seed, policy=policy).run()


@cache
def code_version() -> str:
    """Return a hash of the code that decides an episode."""
    digest = hashlib.sha256()
    root = Path(runtime.__file__).parent.parent
    for folder in _CODE:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".py", ".yaml"}:
                digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def policy_version(name: str, task: str) -> str:
    """Return a hash of all that a policy brings to a task: trained again for another, it is the same."""
    policy = load_policy(name)
    manifest = policy.manifest
    said = (policy_schema(policy, task, latency_ms=0.0), manifest.action, manifest.observation)
    digest = hashlib.sha256(repr(said).encode())
    for path in (policy.graph(task), policy.guided_graph(task), policy.corrector(task)):
        digest.update(b"" if path is None else path.read_bytes())
    return digest.hexdigest()[:16]


def _version(cell: Cell) -> dict[str, str]:
    return {"code": code_version(), "policy": policy_version(cell.policy, cell.task)}


def load(folder: Path, cell: Cell) -> list[Episode]:
    """Return the episodes of a cell that an earlier run of the same code and policy left in a folder."""
    path = folder / f"{cell.key}.json"
    if not path.is_file():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept.get("version") != _version(cell):
        return []
    return [msgspec.convert(row, Episode) for row in kept["episodes"]][: cell.episodes]


def save(folder: Path, cell: Cell, episodes: list[Episode]) -> None:
    """Keep a cell's episodes for a run that goes on from here."""
    text = json.dumps({"version": _version(cell), "episodes": [asdict(episode) for episode in episodes]})
    replace_text(folder / f"{cell.key}.json", text)


def score(episodes: list[Episode]) -> dict[str, Any]:
    """Return the contract's figures of a cell, and what explains them."""
    successes = sum(episode.success for episode in episodes)
    low, high = wilson(successes, len(episodes))
    times = [episode.completion_s for episode in episodes if episode.completion_s is not None]
    seams = [seam for episode in episodes for seam in episode.seams_rad]
    ages = [age for episode in episodes for age in episode.ages_ms]
    asked = [episode.inference for episode in episodes]
    delays = [delay for inference in asked for delay in inference.delays_ticks]
    forecasts = sum(inference.forecasts for inference in asked)
    covered = sum(inference.covered for inference in asked)
    overprovision_ticks = sum(inference.overprovision_ticks for inference in asked)
    return {
        "success": _rounded(successes / len(episodes)),
        "ci95": [_rounded(low), _rounded(high)],
        "starved": sum(episode.starved for episode in episodes),
        "seam_jump_rad_p99": _quantile(seams, 99),
        "seam_jump_rad_p50": _quantile(seams, 50),
        "jerk_rms": _rounded(float(np.sqrt(np.mean([episode.jerk_rms**2 for episode in episodes])))),
        "action_age_ms_p50": _quantile(ages, 50),
        "completion_s_p50": _quantile(times, 50),
        "ticks": sum(episode.ticks for episode in episodes),
        "held": sum(episode.held for episode in episodes),
        "limit_violations": sum(episode.violations for episode in episodes),
        "delay_ticks_p50": _quantile(delays, 50),
        "delay_ticks_p95": _quantile(delays, 95),
        "coverage": _rounded(covered / forecasts) if forecasts else None,
        "overprovision_ticks": _rounded(overprovision_ticks / covered) if covered else None,
    }


def _quantile(values: list[float] | list[int], percent: float) -> float | None:
    return _rounded(float(np.percentile(values, percent))) if values else None


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
