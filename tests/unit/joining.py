"""Plans and chunks for the tests of the joins."""

from __future__ import annotations

import numpy as np

from runtime.control.plan import PAST_TICKS, Chunk, Joined, Joiner, Plan
from runtime.layout import GRIPPER_INDEX, RIG_DOF

NOW = 100
GRIPPERS = list(GRIPPER_INDEX)
JOINTS = [i for i in range(RIG_DOF) if i not in GRIPPER_INDEX]
SCALE = np.linspace(0.5, 1.5, RIG_DOF)


def line(first: float, count: int) -> np.ndarray:
    """Return actions (count, 14) that tell their tick: one per tick, in every joint."""
    return (first + np.arange(count))[:, None] * np.ones(RIG_DOF)


def wave(ticks: np.ndarray | range, phase: float = 0.0) -> np.ndarray:
    """Return actions (n, 14) of a smooth motion, each joint at its own pace."""
    return np.sin(0.04 * np.asarray(ticks, dtype=float)[:, None] * SCALE + phase)


def plan(count: int = 30) -> Plan:
    """Return a plan whose actions are the ticks at which they are due."""
    return Plan(NOW, line(NOW, count), line(NOW - PAST_TICKS, PAST_TICKS))


def chunk(start_tick: int, prefix_len: int = 0, horizon: int = 50) -> Chunk:
    """Return a chunk whose actions are the ticks at which they are due, and 1000."""
    return Chunk(start_tick, prefix_len, line(start_tick + 1000, horizon))


def joined_by(joiner: Joiner, plan: Plan, chunk: Chunk) -> Joined:
    """Return what a joiner made; it must have made something."""
    joined = joiner.join(plan, chunk)
    assert joined is not None
    return joined
