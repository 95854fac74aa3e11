"""What a request tells the policy about the plan that runs while it thinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.control.merge import MERGES
from runtime.errors import UsageError
from runtime.layout import RIG_DOF
from runtime.records import VIEW_PAST_TICKS, VIEW_TICKS
from runtime.states import Condition

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """`planned` float64 (n, 14): the actions of the observation's tick and after, the first `committed` of them final.

    `lead_ticks` is how far after the observation the chunk shall begin; `state` and `velocity` (14,), rad and
    rad/s, are what is predicted for that tick, None where the measured ones are to be sent.
    """

    condition: Condition
    planned: Array
    committed: int = 0
    lead_ticks: int = 0
    state: Array | None = None
    velocity: Array | None = None

    @property
    def asked(self) -> Condition:
        """The condition as the policy sees it: a predicted state is to it a state like any other."""
        return Condition.PLAIN if self.condition is Condition.FUTURE else self.condition


NOTHING = Terms(Condition.PLAIN, np.empty((0, RIG_DOF)))
"""The terms of a request made at standstill."""


def choose(merge: str, offered: tuple[str, ...], *, remembers: bool) -> Condition:
    """Return the first condition that a merge asks for and a policy can do; FUTURE takes nothing but a plain policy.

    None that `remembers` an episode: its chunk goes on from what it was told was executed, whatever state it is shown.

    Raises:
        UsageError: the policy can do none of them; the message lists the merges that it can.
    """
    able = {*offered, Condition.FUTURE} if Condition.PLAIN in offered and not remembers else set(offered)
    for condition in MERGES[merge].conditions:
        if condition in able:
            return condition
    fit = [name for name, other in MERGES.items() if able.intersection(other.conditions)]
    wanted = " or ".join(MERGES[merge].conditions)
    raise UsageError(f"merge {merge!r} needs a policy that can do {wanted}; with this one use {', '.join(fit)}")


def terms_for(
    condition: Condition, view: NDArray[Any], obs_tick: int, committed: int, *, horizon: int, tick_s: float
) -> Terms:
    """Return the terms of a request about `obs_tick`, with `committed` steps of a TIMELINE_VIEW to be final."""
    match condition:
        case Condition.PREFIX:
            prefix = planned(view, obs_tick, committed)
            return Terms(condition, prefix, len(prefix))
        case Condition.GUIDED | Condition.GUIDED_IDENTITY | Condition.BEST_OF:
            rest = planned(view, obs_tick, horizon)
            return Terms(condition, rest, min(committed, len(rest)))
        case Condition.FUTURE:
            return _future(view, obs_tick, committed, tick_s)
        case _:
            # What is commanded now: a policy that answers in steps goes on from it, whatever the arms lag behind.
            return Terms(condition, planned(view, obs_tick, 1))


def _future(view: NDArray[Any], obs_tick: int, committed: int, tick_s: float) -> Terms:
    """Roll the state forward along the plan: where the last committed action leads (VLASH, absolute actions)."""
    # One row further back, so that the last committed action has a velocity.
    rows = planned(view, obs_tick - 1, committed + 1)
    if len(rows) < 2:
        return NOTHING
    velocity = (rows[-1] - rows[-2]) / tick_s
    return Terms(Condition.FUTURE, NOTHING.planned, lead_ticks=len(rows) - 1, state=rows[-1], velocity=velocity)


def planned(view: NDArray[Any], first_tick: int, length: int) -> Array:
    """Return the actions of a TIMELINE_VIEW for the ticks from `first_tick` on, shape (n, 14), n at most `length`.

    Shorter where the plan ends, and empty when the view does not reach back to `first_tick`.
    """
    first = first_tick - int(view["tick"]) + VIEW_PAST_TICKS
    if not 0 <= first < VIEW_TICKS:
        return np.empty((0, RIG_DOF))
    rows = min(int(view["end_tick"]) - first_tick, VIEW_TICKS - first)
    return np.array(view["actions"][first : first + max(min(length, rows), 0)])
