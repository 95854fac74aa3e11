"""The commanded path is kept clear ahead of time: no step is taken from which braking would end in a collision.

A step is tried on a copy of the limiter. If the stop that would follow it keeps clear all the way, the step is taken;
if not, the arms take the first step of the stop that the step before it left open, which was found clear then. So
at every tick there is a way to come to rest that touches nothing, and braking ends before contact. The stop is looked
at in samples: from one to the next, nothing moves further than the clearance that the first has to spare, or a tenth
of the stop where that is more.
"""

from __future__ import annotations

from copy import copy
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.control.clearance import Clearance, Clearances
from runtime.control.limits import RigLimiter
from runtime.control.trajectory import Course, Planner
from runtime.faults import BIT
from runtime.layout import ARM_DOF, SIDES

Array = NDArray[np.float64]

SAMPLES: Final = 10
"""How many poses of a stop are looked at, at most, besides its beginning."""
ALONGSIDE_M: Final = 1e-6
"""By how much (m) a step may bring a pair closer that already has less clearance than it needs: rounding."""


class PathCheck:
    """Steps a limiter along clear ways only. Without a `Clearance` every way is clear."""

    def __init__(self, clearance: Clearance | None, planner: Planner) -> None:
        self._clearance = clearance
        self._planner = planner
        self._speed: tuple[float, ...] = tuple(1.0 for _ in SIDES)
        self._blocked = False

    def fault(self) -> int:
        """Return whether a step was refused since this was last asked, as bits of the fault table."""
        blocked, self._blocked = self._blocked, False
        return BIT["collision_ahead"] if blocked else 0

    def step(self, limiter: RigLimiter, target: Array, pace: Array | None) -> tuple[RigLimiter, int]:
        """Return the limiter a servo tick later, and which joints were not given their target (14,) as a bit mask."""
        clearance = self._clearance
        if clearance is None:
            return limiter, limiter.step(target, pace)
        tried = copy(limiter)
        limited = tried.step(target, pace)
        start = clearance.at(tried.motion.position)
        if float(tried.stop_within.dot(clearance.shared.reach_m)) > start.least_m:
            course = self._planner.brake(tried.motion)
            if not _is_clear(clearance, course, start) and not _leads_away(clearance, limiter.motion.position, course):
                self._blocked = True
                return limiter, limiter.brake()
        if start.speed != self._speed:
            self._speed = start.speed
            tried.slow(np.repeat(start.speed, ARM_DOF))
        return tried, limited


def _is_clear(clearance: Clearance, course: Course, seen: Clearances, need_m: Array | None = None) -> bool:
    """Whether a stop keeps every clearance, from its beginning, where `seen` is near, to its end."""
    reach_m, spare_m, here, end = clearance.shared.reach_m, seen.least_m, course.start, course.at(course.ticks)
    for sample in range(1, SAMPLES + 1):
        if spare_m < 0.0:
            return False
        if float(np.abs(end - here).dot(reach_m)) <= spare_m:
            return True
        pose = course.at(course.ticks * sample // SAMPLES)
        way_m = float(np.abs(pose - here).dot(reach_m))
        spare_m = spare_m - way_m if way_m <= spare_m else clearance.at(pose, need_m).least_m
        here = pose
    return spare_m >= 0.0


def _leads_away(clearance: Clearance, present: Array, course: Course) -> bool:
    """Whether the rig has less clearance than it needs, and no pair without it comes closer through a stop."""
    seen = clearance.at(present)
    if seen.least_m >= 0.0:
        return False
    need_m = clearance.shared.need_m.copy()
    for (first, second), slack_m in zip(seen.pairs.tolist(), seen.slack_m.tolist(), strict=True):
        if slack_m < 0.0:
            least_m = min(need_m[first, second], clearance.shared.need_m[first, second] + slack_m - ALONGSIDE_M)
            need_m[first, second] = need_m[second, first] = least_m
    return _is_clear(clearance, course, clearance.at(course.start, need_m), need_m)
