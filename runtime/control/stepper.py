"""One arm's target, moved on by a servo tick at a time within the limits of the arm's model.

All steps are per servo tick. Seven joints are quicker in plain floats than in arrays, and exactly as accurate;
quickest by `map` over operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import copysign, sqrt
from operator import sub

import numpy as np

from runtime.arms import ArmModel
from runtime.control.trajectory import Motion
from runtime.layout import ARM_DOF

Joints = list[float]
"""A number for each joint of an arm, (7,)."""


@dataclass(frozen=True, slots=True)
class JointLimits:
    """Limits of one joint: positions, and velocity and acceleration per tick."""

    low: float
    high: float
    v_max: float
    a_max: float

    def allow(self, position: float, last: float, step: float) -> bool:
        """Whether a step may follow the last one: it can still stop before the position's limits."""
        room = self.high - position if step > 0.0 else position - self.low
        size = abs(step)
        if not (last - self.a_max <= step <= last + self.a_max and size <= self.v_max):
            return False
        # Far from the limit, there is no need to know how long a step it would allow.
        return size * (size / self.a_max + 2.0) <= room or size <= _first_step(room, self.a_max)

    def nearest(self, position: float, last: float, step: float, pace: float) -> float:
        """Return the allowed step that leads soonest to a goal `step` away which moves at `pace`."""
        least = max(-_first_step(position - self.low, self.a_max), -self.v_max, last - self.a_max)
        most = min(_first_step(self.high - position, self.a_max), self.v_max, last + self.a_max)
        apart = step - pace
        return _bounded(pace + copysign(_first_step(abs(apart), self.a_max), apart), least, most)

    def inside(self, position: float) -> float:
        """Return the nearest position within limits."""
        return _bounded(position, self.low, self.high)


class Stepper:
    """Where an arm is sent, and how it moves: `target`, the last `step` and the one `before`, each (7,)."""

    def __init__(self, model: ArmModel, dt_s: float) -> None:
        self._dt = dt_s
        limits = (model.position_min, model.position_max, model.velocity_max, model.acceleration_max)
        self.joints = [JointLimits(low, high, v * dt_s, a * dt_s**2) for low, high, v, a in zip(*limits, strict=True)]
        self.rest([0.0] * ARM_DOF)

    @property
    def motion(self) -> Motion:
        """The target's own motion."""
        step, before = np.array(self.step), np.array(self.before)
        return Motion(np.array(self.target), step / self._dt, (step - before) / self._dt**2)

    def rest(self, position: Joints) -> None:
        """Stand still at a position (7,)."""
        self.target = position
        self.step = self.before = [0.0] * ARM_DOF

    def move(self, goal: Joints, pace: Joints) -> bool:
        """Advance by a tick towards a goal (7,) that moves at `pace`; return whether every joint got there."""
        start, last = self.target, self.step
        steps = list(map(sub, goal, start))
        allowed = list(map(JointLimits.allow, self.joints, start, last, steps))
        if all(allowed):
            self.target, self.step, self.before = goal, steps, last
            return True
        moves = zip(self.joints, start, last, steps, strict=True)
        self.target = [
            joint.inside(aim if allow else here + joint.nearest(here, before, step, rate))
            for allow, aim, rate, (joint, here, before, step) in zip(allowed, goal, pace, moves, strict=True)
        ]
        self.step, self.before = list(map(sub, self.target, start)), last
        return False


def _bounded(value: float, least: float, most: float) -> float:
    value = least if value <= least else value
    return most if value >= most else value


def _first_step(distance: float, slower: float) -> float:
    """Return the longest first step with which steps shrinking by `slower` cover no more than a distance."""
    distance = max(distance, 0.0)
    count = 0.5 * (sqrt(1.0 + 8.0 * distance / slower) - 1.0) // 1.0
    return distance / (count + 1.0) + 0.5 * slower * count
