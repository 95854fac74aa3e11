"""The last step before a command leaves: position, velocity, acceleration and jerk of every joint, always.

The rates are finite differences of the commanded positions over servo ticks: v = p - p', a = v - v', j = a - a'
per tick. A joint passes its target on, bit for bit, where all four stay within limits and the quickest stop
from there does too. Elsewhere it chases the target: the next acceleration is the one whose stop, seen from the
moving target, ends on it. What is left is the quickest stop, which is always open to a joint that was within
these rules a tick ago: that is why no input whatever can drive a command out of its limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from runtime.config import RigConfig
from runtime.control.stopping import brake_step, ramp_inverse, stop
from runtime.control.trajectory import Motion, Rates
from runtime.layout import RIG_DOF

Array = NDArray[np.float64]

_TOUCH: Final = 1e-13
"""By how much (rad) a predicted stop may pass a position limit: rounding, which the last clip takes back."""
_SHARE: Final = 1.0 - 1e-6
"""The share of the rates that is used: it leaves room for that clip and for rounding."""
_AT_REST: Final = 1e-9
"""A step per tick (rad) that is no motion: 2e-7 rad/s at 200 Hz."""
_FRACTIONS: Final = np.linspace(0.0, 1.0, 9)[:, None]
_BITS: Final = 1 << np.arange(RIG_DOF, dtype=np.int64)


@dataclass(frozen=True)
class RigLimits:
    """Limits of the rig, shapes (14,): rad, rad/s, rad/s^2, rad/s^3; grippers in fractions of their opening."""

    position_min: Array
    position_max: Array
    velocity_max: Array
    acceleration_max: Array
    jerk_max: Array

    @property
    def rates(self) -> Rates:
        """The limits without the positions."""
        return Rates(self.velocity_max, self.acceleration_max, self.jerk_max)

    @classmethod
    def from_rig(cls, rig: RigConfig) -> Self:
        """Take the share of both arms' limits that the rig's configuration leaves to the control process."""
        return cls(
            position_min=rig.stack("position_min"),
            position_max=rig.stack("position_max"),
            velocity_max=rig.stack("velocity_max") * rig.limits.velocity_fraction,
            acceleration_max=rig.stack("acceleration_max") * rig.limits.acceleration_fraction,
            jerk_max=rig.stack("jerk_max") * rig.limits.jerk_fraction,
        )


@dataclass(frozen=True)
class _Reach:
    """Where candidate accelerations lead, and how far the quickest stop goes from there."""

    p: Array
    v: Array
    up: Array
    down: Array
    v_coast: Array


class RigLimiter:
    """Bounds a stream of targets (14,), one per servo tick; starts at rest at `position`."""

    def __init__(self, limits: RigLimits, servo_period_s: float, position: Array) -> None:
        self.limits = limits
        self._dt = servo_period_s
        self._low, self._high = limits.position_min, limits.position_max
        self._v_max = limits.velocity_max * servo_period_s * _SHARE
        self._a_max = limits.acceleration_max * servo_period_s**2 * _SHARE
        self._j_max = limits.jerk_max * servo_period_s**3 * _SHARE
        self._p = np.clip(position, self._low, self._high)
        self._v = np.zeros(RIG_DOF)
        self._a = np.zeros(RIG_DOF)
        self._target = self._p.copy()
        self._steps = np.zeros((3, RIG_DOF))  # the target's last three steps
        self._chasing = np.zeros(RIG_DOF, dtype=bool)

    @property
    def motion(self) -> Motion:
        """The commanded position and its rates, shapes (14,)."""
        return Motion(self._p, self._v / self._dt, self._a / self._dt**2)

    @property
    def at_rest(self) -> bool:
        """Whether the command has stopped, to within rounding."""
        return bool((np.abs(self._v) < _AT_REST).all() and (np.abs(self._a) < _AT_REST).all())

    def seed(self, position: Array, part: slice) -> None:
        """Start a part of the rig anew: at rest at a position, which is brought inside the limits."""
        self._p = self._p.copy()
        self._p[part] = np.clip(position, self._low[part], self._high[part])
        self._v = self._v.copy()
        self._v[part] = 0.0
        self._a = self._a.copy()
        self._a[part] = 0.0
        self._target[part] = self._p[part]
        self._steps[:, part] = 0.0
        self._chasing[part] = False

    def step(self, target: Array, pace: Array | None = None) -> int:
        """Move on by one servo tick and return which joints were not given their target: bit i for joint i.

        A joint whose target is not finite brakes. `pace` (14,) is the step per tick that the target will keep
        in the near future, where that is known. The command is `motion`.
        """
        sound = np.isfinite(target)
        goal = np.minimum(np.maximum(np.where(sound, target, self._p), self._low), self._high)
        self._steps[:2] = self._steps[1:]
        self._steps[2] = goal - self._target
        self._target = goal
        passed = self._passes(goal, sound)
        if passed.all():
            p = goal
        else:
            pace = self._pace if pace is None else pace
            a = self._chase(goal, np.minimum(np.maximum(pace, -self._v_max), self._v_max))
            a = np.where(sound & self._safe(a), a, self._brake)
            p = np.where(passed, goal, self._p + (self._v + a))
            p = np.minimum(np.maximum(p, self._low), self._high)
        self._chasing = ~passed
        v = p - self._p
        self._p, self._v, self._a = p, v, v - self._v
        return int(_BITS[p != target].sum())

    def _passes(self, goal: Array, sound: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which joints may take their goal as it is."""
        v = goal - self._p
        a = v - self._v
        within = sound & (np.abs(a - self._a) <= self._j_max) & (np.abs(a) <= self._a_max)
        if not within.any():
            return within
        passed: NDArray[np.bool_] = within & self._holds(self._reach(goal, v, np.where(within, a, 0.0)))
        if self._chasing.any():
            # Whoever chases joins the target only where it can stay with it: not when it flies past.
            onward = self._pace - v
            calm = (np.abs(onward) <= self._j_max) & (np.abs(onward - a) <= self._j_max)
            passed &= calm | ~self._chasing
        return passed

    @property
    def _pace(self) -> Array:
        """The target's step per tick: the middle one of the last three, so that a single jump is no velocity."""
        first, second, third = self._steps
        low, high = np.minimum(first, second), np.maximum(first, second)
        middle: Array = np.maximum(low, np.minimum(high, third))
        return middle

    @property
    def _brake(self) -> Array:
        return brake_step(self._v, self._a, self._a_max, self._j_max)

    def _reach(self, p: Array, v: Array, a: Array) -> _Reach:
        end = stop(v, a, self._a_max, self._j_max)
        return _Reach(p, v, end.up, end.down, end.v_coast)

    def _holds(self, reach: _Reach) -> NDArray[np.bool_]:
        """Whether velocity and position stay within limits, now and through the quickest stop."""
        fits: NDArray[np.bool_] = (
            (np.abs(reach.v) <= self._v_max)
            & (np.abs(reach.v_coast) <= self._v_max)
            & (reach.p + reach.up <= self._high + _TOUCH)
            & (reach.p - reach.down >= self._low - _TOUCH)
        )
        return fits

    def _safe(self, a: Array) -> NDArray[np.bool_]:
        v = self._v + a
        return self._holds(self._reach(self._p + v, v, a))

    def _chase(self, goal: Array, pace: Array) -> Array:
        """Return the next acceleration that brings each joint to its moving goal soonest, within its limits."""
        least = np.maximum(self._a - self._j_max, -ramp_inverse(self._v_max + self._v, self._j_max))
        most = np.minimum(self._a + self._j_max, ramp_inverse(self._v_max - self._v, self._j_max))
        least = np.maximum(least, -self._a_max)
        most = np.maximum(np.minimum(most, self._a_max), least)
        grid = least + (most - least) * _FRACTIONS
        v = self._v + grid
        p = self._p + v
        relative = stop(v - pace, grid, self._a_max, self._j_max)
        a = _root(grid, p + relative.end - goal)
        if self._safe(a).all():
            return a
        # A goal that moves towards a position limit is followed as far as the stop before the limit allows.
        absolute = stop(v, grid, self._a_max, self._j_max)
        a = np.minimum(a, _root(grid, p + absolute.up - self._high))
        return np.maximum(a, _root(grid, p - absolute.down - self._low))


def _root(grid: Array, rising: Array) -> Array:
    """Return where a rising function sampled on a grid (K, 14) crosses zero, by chords; else the nearer end."""
    left = np.clip(np.count_nonzero(rising <= 0.0, axis=0) - 1, 0, len(grid) - 2)[None]
    x0, x1 = np.take_along_axis(grid, left, 0)[0], np.take_along_axis(grid, left + 1, 0)[0]
    y0, y1 = np.take_along_axis(rising, left, 0)[0], np.take_along_axis(rising, left + 1, 0)[0]
    share = -y0 / np.maximum(y1 - y0, 1e-300)
    root: Array = x0 + (x1 - x0) * np.minimum(np.maximum(share, 0.0), 1.0)
    return root
