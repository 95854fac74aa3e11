"""Bidirectional decoding: which of several samples goes on best from the running plan.

Yuejiang Liu et al., Bidirectional Decoding, arXiv 2408.17355. Backward coherence is its decayed distance to the plan
over the overlap. Forward contrast is the distance to what a strong policy would do, less that to what a weak one
would: an earlier checkpoint, which no policy here comes with. A graph has its denoise loop unrolled, so the same
weights with fewer steps are not at hand either. What is left of it is the attraction: a sample shall be near the
other samples that keep to the plan, so that an outlier that happens to begin right is not chosen.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAMPLES: Final = 16
"""Number of samples to choose among (the paper's figure 7: little is gained by more)."""
DECAY: Final = 0.5
"""The paper's rho, as its code sets it."""
MODES: Final = 3
"""One in so many samples is taken to be of the plan's own mode, as in the paper's code."""


def choose(samples: NDArray[Any], plan: NDArray[Any], committed: int) -> int:
    """Return the index of the best of `samples` (N, H, 14) given `plan` (n, 14), n from 0 to H, due with their rows.

    Distances are Euclidean over joints and grippers. Rows of the plan count in full up to the first that is not
    `committed`: those are executed before the sample can act, and say how it would go on.
    """
    if len(plan):
        weight = DECAY ** np.maximum(np.arange(len(plan)) - committed, 0)
        coherence = np.linalg.norm(samples[:, : len(plan)] - plan, axis=2) @ (weight / weight.sum())
        kept = np.argsort(coherence, kind="stable")[: max(len(samples) // MODES, 1)]
    else:
        coherence, kept = np.zeros(len(samples)), np.arange(len(samples))
    near = samples[kept]
    apart = np.linalg.norm(near[:, None] - near[None], axis=3).mean(axis=2)
    spread = apart.sum(axis=1) / max(len(kept) - 1, 1)
    return int(kept[np.argmin(coherence[kept] + spread)])
