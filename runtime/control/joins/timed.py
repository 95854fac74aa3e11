"""Joins that take a chunk's actions as they are: from its beginning, at their own ticks, or after what is committed."""

from __future__ import annotations

from runtime.control.plan import Chunk, Joined, Plan


class FromStart:
    """Start at the chunk's first action whatever its age, as a queue that is replaced does."""

    def join(self, plan: Plan, chunk: Chunk) -> Joined | None:
        """Return the whole chunk from the next tick on."""
        return Joined(plan.first_tick + 1, chunk.actions)


class Aligned:
    """Every action at its own tick from the next one on, or from the chunk's beginning where that lies ahead."""

    def join(self, plan: Plan, chunk: Chunk) -> Joined | None:
        """Return what of the chunk has not elapsed."""
        return from_tick(plan, chunk, plan.first_tick + 1)


class Prefixed:
    """Aligned, and the plan stays as it is until the end of the prefix that the chunk was conditioned on.

    An answer later than its prefix loses what has elapsed, as `Aligned`.
    """

    def join(self, plan: Plan, chunk: Chunk) -> Joined | None:
        """Return the chunk after its prefix."""
        return from_tick(plan, chunk, chunk.start_tick + chunk.prefix_len)


def from_tick(plan: Plan, chunk: Chunk, tick: int) -> Joined | None:
    """Return the chunk from a tick on, and not before the next; a plan that ends earlier is continued without gap."""
    first_tick = min(max(tick, plan.first_tick + 1, chunk.start_tick), plan.end_tick)
    skipped = first_tick - chunk.start_tick
    if not 0 <= skipped < len(chunk.actions):
        return None
    return Joined(first_tick, chunk.actions[skipped:])
