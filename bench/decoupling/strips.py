"""A seam of each merge as a strip of moments: what was executed so far, and what was planned then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.decoupling.cells import FIRST_SEED, lab, rig
from bench.lab.episode import JOINT_INDEX, Trace
from runtime.inference.server.latency import LATENCY_PROFILES
from runtime.layout import JOINT_NAMES

PROFILE: Final = "gigaworld"
MOMENTS_TICKS: Final = (-8, -1, 0, 4, 10, 16)
"""Policy ticks from the seam to each moment."""
PAST_TICKS: Final = 20
FUTURE_TICKS: Final = 24


@dataclass(frozen=True)
class Moment:
    """One picture: (time s from the seam, position rad) of the commands so far and of the plan."""

    t_s: float
    executed: tuple[tuple[float, float], ...]
    planned: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Strip:
    """The largest seam of an episode, on the joint that jumps the most there."""

    merge: str
    joint: str
    jump_rad: float
    moments: tuple[Moment, ...]


def seam_strips(task: str, merges: tuple[str, ...], policy: str, seed: int = FIRST_SEED) -> list[Strip]:
    """Return the strip of each merge that has a seam in the episode of a seed."""
    latency = f"constant:{LATENCY_PROFILES[PROFILE]:g}"
    strips = []
    for merge in merges:
        played = lab(task, latency, merge, seed, policy=policy, keep=True)
        played.run()
        strip = _strip(merge, played.trace, rig().servo_hz // rig().policy_hz)
        if strip is not None:
            strips.append(strip)
    return strips


def _strip(merge: str, trace: Trace, ratio: int) -> Strip | None:
    """Choose the seam among those that the moments before and after it fit around."""
    early, late = -MOMENTS_TICKS[0] * ratio, trace.ticks - MOMENTS_TICKS[-1] * ratio
    seams = [(jump, tick) for jump, tick in zip(trace.seams_rad, trace.seam_ticks, strict=True) if early <= tick < late]
    if not seams:
        return None
    jump_rad, tick = max(seams)
    joint = _jumping(trace, tick, ratio)
    moments = tuple(_moment(trace, joint, tick, offset, ratio) for offset in MOMENTS_TICKS)
    return Strip(merge, JOINT_NAMES[joint], jump_rad, moments)


def _jumping(trace: Trace, tick: int, ratio: int) -> int:
    """Return the joint whose next planned actions changed the most from the tick before to the seam."""
    old, new = trace.plans[tick - ratio][1:5], trace.plans[tick][:4]
    rows = min(len(old), len(new))
    change = np.abs(old[:rows] - new[:rows]).max(axis=0)
    return max(JOINT_INDEX, key=lambda i: float(change[i]))


def _moment(trace: Trace, joint: int, seam: int, offset: int, ratio: int) -> Moment:
    servo_s, tick_s = 1.0 / trace.servo_hz, ratio / trace.servo_hz
    now = seam + offset * ratio
    first = max(seam - PAST_TICKS * ratio, 0)
    executed = [(round((i - seam) * servo_s, 4), _rad(trace.commands[i][joint])) for i in range(first, now + 1)]
    plan = trace.plans[now][:FUTURE_TICKS]
    planned = [(round((now - seam) * servo_s + i * tick_s, 4), _rad(row[joint])) for i, row in enumerate(plan)]
    return Moment(round(offset * tick_s, 4), tuple(executed), tuple(planned))


def _rad(value: float) -> float:
    return round(float(value), 5)
