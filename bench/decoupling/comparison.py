"""`leadtime bench decoupling`: every merge under every delay, in one table and one page."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Final

from bench.decoupling.forecasts import compare, plot
from bench.decoupling.peers.registry import PEERS, PeerKind
from bench.decoupling.profiles import FULL, QUICK, Profile
from bench.decoupling.report import write_report
from bench.decoupling.strips import seam_strips
from bench.decoupling.table import Plan, play_cells, results
from runtime.cli import BenchDecoupling
from runtime.control.merge import MERGES
from runtime.drivers.sim.tasks import TASKS
from runtime.errors import LeadtimeError, UsageError, unknown_name
from runtime.files import make_folder
from runtime.inference.policy import load_policy
from runtime.inference.server.latency import parse_latency

EPISODES: Final = 40
QUICK_EPISODES: Final = 4
QUICK_TASK: Final = "posts"
QUICK_MERGES: Final = ("sync", "naive", "aligned", "ensemble", "weighted_average", "rtc", "prefix", "leadtime")
QUICK_PEERS: Final = ("lerobot", "openpi")
FULL_PEERS: Final = ("lerobot", "lerobot-rad", "lerobot-rtc", "openpi", "openpi-whole-chunk")
"""Other projects' own classes, where they are installed."""
EPISODES_MAX: Final = 10_000
WORKERS_MAX: Final = 64


def run(command: BenchDecoupling) -> int:
    """Play the comparison and leave results.json and report.html in the command's folder."""
    plan = resolve(command)
    make_folder(command.out)
    begun = time.monotonic()
    done = play_cells(plan.cells(), command.out / "episodes", command.workers or os.cpu_count() or 1)
    table = results(plan, done)
    forecasts = compare(seed=0, runs=10 if command.quick else 50, requests=400)
    (command.out / "results.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (command.out / "forecasts.json").write_text(json.dumps(forecasts, indent=1) + "\n", encoding="utf-8")
    strips = seam_strips(plan.tasks[0], plan.merges, plan.policy)
    page = write_report(command.out, table, strips, plot(forecasts))
    sys.stdout.write(f"{len(plan.cells())} cells in {time.monotonic() - begun:.0f} s; report: {page}\n")
    return 0


def resolve(command: BenchDecoupling) -> Plan:
    """Return what was asked for; UsageError names what is wrong and what there is."""
    policy = load_policy(command.policy)
    known = [task for task in sorted(TASKS) if policy.knows(task)]
    tasks = command.tasks or ((QUICK_TASK,) if command.quick else tuple(known))
    ways = [*MERGES, *PEERS]
    merges = command.merges or ((*QUICK_MERGES, *QUICK_PEERS) if command.quick else (*MERGES, *FULL_PEERS))
    for task in tasks:
        if task not in known:
            raise unknown_name("task", task, known)
    for merge in merges:
        if merge not in ways:
            raise unknown_name("merge", merge, ways)
    if not 0 <= command.episodes <= EPISODES_MAX:
        raise UsageError(f"--episodes {command.episodes}: give 1 to {EPISODES_MAX}, or 0 for the default")
    if not 0 <= command.workers <= WORKERS_MAX:
        raise UsageError(f"--workers {command.workers}: give 1 to {WORKERS_MAX}, or 0 for one a core")
    able = tuple(merge for merge in dict.fromkeys(merges) if merge in MERGES or _can_run(PEERS[merge]))
    if not able:
        raise LeadtimeError(f"--merges {' '.join(merges)}: none of them can run here")
    profiles = tuple(_profile(name) for name in dict.fromkeys(command.profiles)) or (QUICK if command.quick else FULL)
    episodes = command.episodes or (QUICK_EPISODES if command.quick else EPISODES)
    return Plan(tuple(dict.fromkeys(tasks)), profiles, able, episodes, command.policy)


def _can_run(kind: PeerKind) -> bool:
    if kind.missing is not None:
        sys.stderr.write(f"{kind.missing}\n")
    return kind.missing is None


def _profile(name: str) -> Profile:
    for profile in FULL:
        if profile.name == name:
            return profile
    if ":" not in name:
        raise unknown_name("profile", name, [profile.name for profile in FULL])
    parse_latency(name)
    return Profile(name, name)
