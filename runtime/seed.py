"""Seeds: which a user may give, and the one that decides an episode's layout."""

from __future__ import annotations

from typing import Final

from runtime.errors import UsageError

SEED_MAX: Final = 2**31 - 1
EPISODES_PER_SEED: Final = 100_003
"""A prime beyond any number of episodes, so that no two runs share a layout."""


def check_seed(seed: int) -> None:
    """Refuse a seed that the generators do not take; raises UsageError."""
    if not 0 <= seed <= SEED_MAX:
        raise UsageError(f"--seed {seed}: give a number from 0 to {SEED_MAX}")


def episode_seed(seed: int, episode: int) -> int:
    """Return the seed of an episode's layout: the run's seed and the episode's number decide it."""
    return seed * EPISODES_PER_SEED + episode
