"""A corrector of the virtual rig: small amendments once a policy tick, and what can be wrong with them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.faults.plan import FAR_RAD, Kind, Plan
from runtime import records
from runtime.clock import TickBase
from runtime.shm import blank

AMEND_RAD: Final = 0.03
LEAD_TICKS: Final = 2
SPOILT: Final = frozenset({Kind.AMENDMENT_NAN, Kind.AMENDMENT_FAR, Kind.AMENDMENT_WRONG})


class SpoiltCorrector:
    """Amends as a plan of faults says, with draws of its own."""

    def __init__(self, plan: Plan, base: TickBase) -> None:
        self._plan, self._base = plan, base
        self._rng = np.random.default_rng((plan.seed, 2))

    def amendments(self, view: NDArray[Any] | None, now_ns: int, wrong: frozenset[Kind]) -> list[NDArray[Any]]:
        """Return the AMENDMENT records that come at a servo tick, made from the last TIMELINE_VIEW."""
        if view is None or not self._plan.amends or self._base.servo_tick(now_ns) % self._base.ratio:
            return []
        count = int(self._rng.integers(1, records.AMENDMENT_STEPS_MAX + 1))
        first = records.VIEW_PAST_TICKS + LEAD_TICKS
        rows = np.array(view["actions"][first : first + count])
        amendment: Any = blank(records.AMENDMENT)
        amendment["epoch"], amendment["chunk_id"] = view["epoch"], view["chunk_id"]
        amendment["first_tick"], amendment["count"] = int(view["tick"]) + LEAD_TICKS, count
        amendment["t_obs_ns"] = amendment["t_made_ns"] = now_ns
        amendment["actions"][:count] = rows + self._rng.normal(0.0, AMEND_RAD, rows.shape)
        if Kind.AMENDMENT_FAR in wrong:
            amendment["actions"] += FAR_RAD
        if Kind.AMENDMENT_NAN in wrong:
            amendment["actions"][0, 3] = np.nan
        if Kind.AMENDMENT_WRONG in wrong:
            field, value = self._plan.wrong_amendment
            amendment[field] = value
        return [np.array(amendment)]
