"""Merges: how the rest of a plan and a new chunk become one plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What is planned: `actions[i]` (n, 14) is due at `first_tick` + i; begins with the tick under execution."""

    first_tick: int
    actions: Array

    @property
    def end_tick(self) -> int:
        """The first tick with no planned action."""
        return self.first_tick + len(self.actions)


@dataclass(frozen=True)
class Chunk:
    """A new chunk: `actions[i]` (H, 14) is due at `start_tick` + i; `prefix_len` steps were committed to."""

    start_tick: int
    prefix_len: int
    actions: Array


MergeFn = Callable[[Plan, Chunk], Plan | None]
"""Given the plan from the present tick on and a new chunk, return what replaces the plan from a later tick on.

The first tick returned lies after `plan.first_tick` and at most at `plan.end_tick`. None: nothing of the chunk
can still be executed.
"""


def naive(plan: Plan, chunk: Chunk) -> Plan | None:
    """Start at the chunk's first action whatever its age, as a queue that is replaced does."""
    return Plan(plan.first_tick + 1, chunk.actions)


def aligned(plan: Plan, chunk: Chunk) -> Plan | None:
    """Skip what has elapsed: every action at its own tick, from the next tick on."""
    return _from(plan, chunk, plan.first_tick + 1)


def prefix(plan: Plan, chunk: Chunk) -> Plan | None:
    """Aligned, and the plan stays as it is until the end of the prefix the chunk was conditioned on.

    Training-time RTC (arXiv 2512.05964). An answer later than its prefix loses what has elapsed, as `aligned`.
    """
    return _from(plan, chunk, max(plan.first_tick + 1, chunk.start_tick + chunk.prefix_len))


def _from(plan: Plan, chunk: Chunk, tick: int) -> Plan | None:
    # A plan that ends before the prefix does is continued by the chunk: no gap is left.
    first_tick = min(tick, plan.end_tick)
    skipped = first_tick - chunk.start_tick
    if not 0 <= skipped < len(chunk.actions):
        return None
    return Plan(first_tick, chunk.actions[skipped:])


MERGES: Final[dict[str, MergeFn]] = {"naive": naive, "aligned": aligned, "prefix": prefix}
"""Every merge by the name that `--merge` takes."""
