"""Merges: every known way to execute action chunks while the next one is computed, and ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from runtime.control.joins.ensemble import Ensemble
from runtime.control.joins.leadtime import Leadtime
from runtime.control.joins.lerobot import Aggregate
from runtime.control.joins.min_jerk import MinJerk
from runtime.control.joins.timed import Aligned, FromStart, Prefixed
from runtime.control.plan import Joiner
from runtime.states import Condition


@dataclass(frozen=True)
class Merge:
    """A way to execute chunks: what its requests tell the policy, and how an answer joins the plan.

    `source` is where it comes from. `conditions` are in order of preference: the first one that the policy can do is
    used. `joiner` makes a new one for every epoch. `stops`: the next chunk is asked for once the last has been
    executed and the arms stand still. `commit_ticks` are committed to however short the delay; `commits_typical`: not
    the delay that is forecast is committed to, which few answers exceed, but the typical one, so that what is seen
    acts sooner; the join must then bear answers that come late. `in_parts`: a chunk may join by its first part and then
    as a whole, which a join that averages over chunks would count twice. `amends`: where the policy has a corrector,
    it puts the next actions right each tick from what was just seen.
    """

    name: str
    source: str
    conditions: tuple[Condition, ...]
    joiner: Callable[[], Joiner]
    stops: bool = False
    commit_ticks: int = 0
    commits_typical: bool = False
    in_parts: bool = False
    amends: bool = False


COMMIT_TICKS: Final = 10
"""200 ms at 50 Hz: a policy that may choose anew every few ticks does not stay with what it has begun."""
_LEROBOT: Final = "LeRobot, src/lerobot/async_inference/configs.py, AGGREGATE_FUNCTIONS"
_PLAIN: Final = (Condition.PLAIN,)
_OURS: Final = (Condition.PREFIX, Condition.GUIDED, Condition.PLAIN)
"""Not FUTURE: a policy that was not trained on states ahead of its pictures fails with them, at any delay."""
_TABLE: Final = (
    Merge("sync", "openpi-client, action_chunk_broker.py: execute, stop, ask, wait", _PLAIN, FromStart, stops=True),
    Merge("naive", "VLASH, arXiv 2512.01031, naive asynchronous: the queue is replaced as it comes", _PLAIN, FromStart),
    Merge(
        "aligned",
        "RTC, arXiv 2506.07339, naive asynchronous: what has elapsed is skipped",
        _PLAIN,
        Aligned,
        in_parts=True,
    ),
    Merge("a2c2", "A2C2, arXiv 2509.23224: a head corrects what is executed each tick", _PLAIN, Aligned, amends=True),
    Merge("ensemble", "ACT, arXiv 2304.13705, algorithm 2", _PLAIN, Ensemble),
    Merge("weighted_average", _LEROBOT, _PLAIN, partial(Aggregate, old=0.3, new=0.7)),
    Merge("latest_only", _LEROBOT, _PLAIN, partial(Aggregate, old=0.0, new=1.0)),
    Merge("average", _LEROBOT, _PLAIN, partial(Aggregate, old=0.5, new=0.5)),
    Merge("conservative", _LEROBOT, _PLAIN, partial(Aggregate, old=0.7, new=0.3)),
    Merge("min_jerk", "LiPo, arXiv 2506.05165; Flash & Hogan 1985, appendix", _PLAIN, MinJerk),
    Merge("bid", "BID, arXiv 2408.17355", (Condition.BEST_OF,), Aligned),
    Merge("future_state", "VLASH, arXiv 2512.01031", (Condition.FUTURE,), Aligned, in_parts=True),
    Merge("rtc", "RTC, arXiv 2506.07339, algorithm 1", (Condition.GUIDED,), Aligned),
    Merge("rtc_identity", "LeRobot, src/lerobot/policies/rtc", (Condition.GUIDED_IDENTITY,), Aligned),
    Merge("prefix", "training-time RTC, arXiv 2512.05964", (Condition.PREFIX,), Prefixed, in_parts=True),
    Merge(
        "leadtime",
        "this runtime, runtime/control/joins/leadtime.py",
        _OURS,
        Leadtime,
        commit_ticks=COMMIT_TICKS,
        commits_typical=True,
        in_parts=True,
        amends=True,
    ),
)
MERGES: Final[dict[str, Merge]] = {merge.name: merge for merge in _TABLE}
"""Every merge by the name that `--merge` takes."""
