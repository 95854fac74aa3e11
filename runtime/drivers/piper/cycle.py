"""The three pairs of frames that carry six joints: a cycle, gathered from a bus and split for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.clock import NS_PER_MS
from runtime.drivers.piper.codec import JointPair

PAIRS: Final = 3
CYCLE_NS: Final = 4 * NS_PER_MS
"""The pairs of a cycle come within a fraction of its 5 ms; pairs further apart are of two cycles."""


class Cycle:
    """Gathers pairs until they are whole. One that comes again, or after `within_ns`, begins a new cycle.

    Without `within_ns` a pair waits for the others for ever, and one that comes again takes the place of the first.
    """

    def __init__(self, within_ns: int = CYCLE_NS) -> None:
        self._within_ns = within_ns
        self._pairs: dict[int, JointPair] = {}
        self.began_ns = 0
        """When the first pair of the newest cycle came."""
        self.torn = 0
        """How many cycles were begun anew before they were whole."""

    def take(self, index: int, pair: JointPair, now_ns: int) -> list[float] | None:
        """Take pair `index` of three; returns the six joints in rad once they are whole."""
        pairs = self._pairs
        if self._within_ns and (index in pairs or (pairs and now_ns - self.began_ns > self._within_ns)):
            self.torn += 1
            pairs.clear()
        if not pairs:
            self.began_ns = now_ns
        pairs[index] = pair
        if len(pairs) < PAIRS:
            return None
        joints = [rad for i in range(PAIRS) for rad in (pairs[i].first_rad, pairs[i].second_rad)]
        pairs.clear()
        return joints


def split(joints_rad: Sequence[float]) -> tuple[JointPair, ...]:
    """Return six joints, or the first six of more, as the pairs of a cycle."""
    return tuple(JointPair(joints_rad[2 * i], joints_rad[2 * i + 1]) for i in range(PAIRS))
