"""Real-time chunking: how strongly, and in which rows, a chunk is pulled towards the running plan while it is denoised.

Kevin Black, Manuel Y. Galliker, Sergey Levine, Real-Time Execution of Action Chunking Flow Policies, arXiv 2506.07339.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BETA: Final = 5.0
"""Largest guidance weight (section 3 and table of hyperparameters)."""


def soft_mask(delay: int, execute: int, horizon: int) -> NDArray[Any]:
    """Return how much each row of a chunk is held to the plan, float32 (horizon,), 1 to 0 (equation 5).

    The first `delay` rows will be executed before the chunk can act: 1. The last `execute` rows are beyond the old
    chunk: 0. Between them the weight falls exponentially. Where the two overlap, the zeros win.
    """
    rows = np.arange(horizon)
    end = max(horizon - execute, 0)
    start = min(delay, end)
    share = np.clip((end - rows) / (end - start + 1), 0.0, 1.0)
    weight = np.where(rows < start, 1.0, share * np.expm1(share) / math.expm1(1.0))
    return np.where(rows < end, weight, 0.0).astype(np.float32)


def guidance_limit(tau: float) -> float:
    """Return (1 - tau) / (tau r^2) with r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2): inf at tau 0 (equations 2 and 4).

    The factor of the guidance at flow time `tau` in [0, 1) is that, and beta at most.
    """
    return math.inf if tau == 0.0 else (tau**2 + (1.0 - tau) ** 2) / (tau * (1.0 - tau))
