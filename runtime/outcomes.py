"""How the episodes of a recorded run went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.blackbox import Run
from runtime.clock import NS_PER_S


@dataclass(frozen=True)
class Episode:
    """One episode: its number, the layout's seed, when it was laid out, and the verdict when it ended.

    `success` is None for the last one when the run ended before it was decided. `policy_s` is the time from its
    first chunk to the verdict.
    """

    number: int
    seed: int
    t_s: float
    policy_s: float | None
    success: bool | None


def episodes(run: Run) -> list[Episode]:
    """Return the episodes of a run in their order; none where nothing judges."""
    requests = run.records["task_request"]
    requests = requests[np.argsort(requests["t_ns"], kind="stable")]
    verdicts = {int(end["episode"]): end for end in run.records["episode_end"]}
    found = []
    for request in requests:
        number = int(request["episode"])
        end = verdicts.get(number)
        found.append(
            Episode(
                number=number,
                seed=int(request["seed"]),
                t_s=(int(request["t_ns"]) - run.t0_ns) / NS_PER_S,
                policy_s=None if end is None else float(end["policy_s"]),
                success=None if end is None else bool(end["success"]),
            )
        )
    return found
