"""How the episodes of a recorded run went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.blackbox import Run
from runtime.clock import NS_PER_S


@dataclass(frozen=True)
class Episode:
    """One episode: its number, the layout's seed, when it was laid out and decided, and how it ended.

    `success` is None for the last one when the run ended before it was decided; an episode that was followed
    by another without a decision has failed. `decided_s` is the physics' own time since it was laid out.
    """

    number: int
    seed: int
    t_s: float
    decided_s: float | None
    success: bool | None


def episodes(run: Run) -> list[Episode]:
    """Return the episodes of a run in their order; none where nothing judges."""
    status = run.records["task"]
    requests = run.records["task_request"]
    requests = requests[np.argsort(requests["t_ns"], kind="stable")]
    found = []
    for i, request in enumerate(requests):
        number = int(request["episode"])
        own = status[status["episode"] == number]
        decided = own[own["outcome"] >= 0]
        last = i == len(requests) - 1
        success = bool(decided[-1]["outcome"]) if len(decided) else None
        if success is None and not last:
            success = False
        found.append(
            Episode(
                number=number,
                seed=int(request["seed"]),
                t_s=(int(request["t_ns"]) - run.t0_ns) / NS_PER_S,
                decided_s=float(decided[0]["episode_s"]) if len(decided) else None,
                success=success,
            )
        )
    return found
