"""The last step before a command leaves: position, velocity, acceleration and jerk of every joint, always.

The rates are finite differences of the commanded positions over servo ticks: v = p - p', a = v - v', j = a - a'
per tick. A joint passes its target on, bit for bit, where all four stay within limits and the quickest stop
from there does too. Elsewhere it chases the target: the next acceleration is the one whose stop, seen from the
moving target, ends on it. What is left is the quickest stop, which is always open to a joint that was within
these rules a tick ago: that is why no input whatever can drive a command out of its limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.config import RigConfig
from runtime.control.stopping import Axes
from runtime.control.trajectory import Motion, Rates
from runtime.layout import RIG_DOF

T = TypeVar("T", bound=np.generic)
Array = NDArray[np.float64]
Joints = NDArray[np.bool_]
"""Which joints, shape (14,)."""

_TOUCH: Final = 1e-13
"""By how much a predicted stop may pass a position limit (rad), and a velocity its own (rad per tick): rounding.

The last clip takes back the one and `_SHARE` has room for the other. Without it a joint at its full velocity brakes.
"""
_SHARE: Final = 1.0 - 1e-6
"""The share of the rates that is used: it leaves room for that clip and for rounding."""
_AT_REST: Final = 1e-9
"""A step per tick (rad) that is no motion: 2e-7 rad/s at 200 Hz."""
_CHOICES: Final = 9
"""Accelerations that are compared where a joint chases its target."""
_FRACTIONS: Final = np.linspace(0.0, 1.0, _CHOICES)[:, None]
_JOINTS: Final = np.arange(RIG_DOF)
_CHORDS: Final = np.clip(np.arange(_CHOICES + 1) - 1, 0, _CHOICES - 2) * RIG_DOF
"""Where in a flat grid the chord begins that crosses zero, by how many of a joint's samples are below."""
_BITS: Final = tuple(1 << i for i in range(RIG_DOF))
_EVERY: Final = np.ones(RIG_DOF, dtype=bool)
_ALL: Final = _EVERY.tobytes()


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


class RigLimiter:
    """Bounds a stream of targets (14,), one per servo tick; starts at rest at `position`."""

    def __init__(self, limits: RigLimits, servo_period_s: float, position: Array) -> None:
        self.limits = limits
        self._dt = servo_period_s
        self._low, self._high = limits.position_min, limits.position_max
        self._v_max = limits.velocity_max * servo_period_s * _SHARE
        self._a_max = limits.acceleration_max * servo_period_s**2 * _SHARE
        self._j_max = limits.jerk_max * servo_period_s**3 * _SHARE
        self._axes = Axes(self._a_max, self._j_max)
        rows = _CHOICES, 1
        self._grid_axes = Axes(np.tile(self._a_max, rows), np.tile(self._j_max, rows))
        # At this speed and below, no acceleration that is a tick away leads beyond the velocity's limit.
        self._v_free = self._v_max - 1.01 * self._axes.ramp_sum(self._a_max + self._j_max)
        self._p = np.clip(position, self._low, self._high)
        self._v = np.zeros(RIG_DOF)
        self._a = np.zeros(RIG_DOF)
        self._motion: Motion | None = None
        self._target = self._p
        self._steps: tuple[Array, ...] = (np.zeros(RIG_DOF),) * 3  # the target's last three steps
        self._chasing = ~_EVERY

    def __copy__(self) -> Self:
        """Return another limiter in the same state; no array is ever written to, so that both may share them."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    @property
    def motion(self) -> Motion:
        """The commanded position and its rates, shapes (14,)."""
        if self._motion is None:
            self._motion = Motion(self._p, self._v / self._dt, self._a / self._dt**2)
        return self._motion

    @property
    def at_rest(self) -> bool:
        """Whether the command has stopped, to within rounding."""
        return _is_rest(self._v) and _is_rest(self._a)

    @property
    def stop_within(self) -> Array:
        """A bound, quick to find, of how far each joint goes in the quickest stop from here, shape (14,)."""
        return self._axes.bounds(self._v, self._a)[1]

    def seed(self, position: Array, part: slice) -> None:
        """Start a part of the rig anew: at rest at a position, which is brought inside the limits."""
        position = np.clip(position, self._low[part], self._high[part])
        self._p, self._target = _with(self._p, part, position), _with(self._target, part, position)
        self._v, self._a = _with(self._v, part, 0.0), _with(self._a, part, 0.0)
        self._motion = None
        self._steps = tuple(_with(step, part, 0.0) for step in self._steps)
        self._chasing = _with(self._chasing, part, False)

    def slow(self, share: Array) -> None:
        """Keep velocities to a share (14,) of their limits from now on; a joint that is faster brakes to it."""
        self._v_max = self.limits.velocity_max * self._dt * _SHARE * share
        self._v_free = self._v_max - 1.01 * self._axes.ramp_sum(self._a_max + self._j_max)

    def step(self, target: Array, pace: Array | None = None) -> int:
        """Move on by one servo tick and return which joints were not given their target: bit i for joint i.

        A joint whose target is not finite brakes. `pace` (14,) is the step per tick that the target will keep
        in the near future, where that is known. The command is `motion`.
        """
        sound = np.isfinite(target)
        goal = self._inside(target if _all(sound) else np.where(sound, target, self._p))
        self._steps = (*self._steps[1:], goal - self._target)
        self._target = goal
        v = goal - self._p
        a = v - self._v
        passed = self._passes(goal, v, a, sound)
        self._chasing = ~passed
        self._motion = None
        if not _all(passed):
            chased = self._chase(goal, self._pace if pace is None else pace, sound)
            goal = self._inside(np.where(passed, goal, self._p + (self._v + chased)))
            v = goal - self._p
            a = v - self._v
        self._p, self._v, self._a = goal, v, a
        return _bits(goal != target)

    def brake(self) -> int:
        """Move on by one servo tick of every joint's quickest stop."""
        return self.step(np.full(RIG_DOF, np.nan))

    def _inside(self, position: Array) -> Array:
        inside: Array = np.minimum(np.maximum(position, self._low), self._high)
        return inside

    def _passes(self, goal: Array, v: Array, a: Array, sound: Joints) -> Joints:
        """Which joints may take their goal as it is, with the step `v` to it and the acceleration `a`."""
        within = sound & (np.abs(a - self._a) <= self._j_max) & (np.abs(a) <= self._a_max)
        passed = self._holds(goal, v, a, within)
        if any(self._chasing.tolist()):
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

    def _holds(self, p: Array, v: Array, a: Array, asked: Joints) -> Joints:
        """Which of the joints asked about keep velocity and position within limits, now and through the quickest stop.

        Most are so far from every limit that a bound of the stop says so.
        """
        speed, distance = self._axes.bounds(v, a)
        held: Joints = asked & (speed <= self._v_max) & (p + distance <= self._high) & (p - distance >= self._low)
        if held.tobytes() == asked.tobytes():
            return held
        stop = self._axes.stop(v, a)
        # This tick's velocity is between the last one's and the one it coasts to: that one is to be held.
        held = asked & (np.abs(stop.v_coast) <= self._v_max + _TOUCH)
        return held & (p + stop.up <= self._high + _TOUCH) & (p - stop.down >= self._low - _TOUCH)

    def _safe(self, a: Array) -> Joints:
        """Which joints may take an acceleration."""
        v = self._v + a
        return self._holds(self._p + v, v, a, _EVERY)

    def _chase(self, goal: Array, pace: Array, sound: Joints) -> Array:
        """Return the next acceleration that brings each joint to its moving goal soonest, within its limits.

        Where there is none, and where the goal is not `sound`, it is that of the quickest stop.
        """
        if not any(sound.tolist()):
            return self._axes.brake_step(self._v, self._a)
        pace = np.minimum(np.maximum(pace, -self._v_max), self._v_max)
        grid = self._choices()
        v = self._v + grid
        p = self._p + v
        a = _root(grid, p + self._grid_axes.stop_end(v - pace, grid) - goal)
        safe = self._safe(a)
        if not _all(safe):
            # A goal that moves towards a position limit is followed as far as the stop before the limit allows.
            absolute = self._grid_axes.stop(v, grid)
            a = np.minimum(a, _root(grid, p + absolute.up - self._high))
            a = np.maximum(a, _root(grid, p - absolute.down - self._low))
            safe = self._safe(a)
        chosen = sound & safe
        if _all(chosen):
            return a
        return np.where(chosen, a, self._axes.brake_step(self._v, self._a))

    def _choices(self) -> Array:
        """Return a grid (9, 14) over the next accelerations that keep jerk, acceleration and velocity within limits."""
        least = np.maximum(self._a - self._j_max, -self._a_max)
        most = np.minimum(self._a + self._j_max, self._a_max)
        if not _all(np.abs(self._v) <= self._v_free):
            slowest, fastest = self._change(-self._v_max - self._v), self._change(self._v_max - self._v)
            first, last = least, most
            least = np.minimum(np.maximum(slowest, first), last)
            most = np.minimum(np.maximum(fastest, first), last)
        return least + (most - least) * _FRACTIONS

    def _change(self, v: Array) -> Array:
        """Return the acceleration that changes the velocity by `v` (per tick) while it is taken back to zero."""
        changed: Array = np.copysign(self._axes.ramp_inverse(np.abs(v)), v)
        return changed


def _all(joints: Joints) -> bool:
    return joints.tobytes() == _ALL


def _bits(joints: Joints) -> int:
    return sum(compress(_BITS, joints.tolist()))


def _is_rest(rate: Array) -> bool:
    steps: list[float] = rate.tolist()
    return min(steps) > -_AT_REST and max(steps) < _AT_REST


def _with(array: NDArray[T], part: slice, value: Array | float) -> NDArray[T]:
    """Return a copy with a part replaced."""
    copied = array.copy()
    copied[part] = value
    return copied


def _root(grid: Array, rising: Array) -> Array:
    """Return where a rising function sampled on a grid (K, 14) crosses zero, by chords; else the nearer end."""
    below = np.add.reduce(rising <= 0.0, axis=0)
    left = _CHORDS[below] + _JOINTS
    x0, x1 = grid.take(left), grid[1:].take(left)
    y0, y1 = rising.take(left), rising[1:].take(left)
    share = -y0 / np.maximum(y1 - y0, 1e-300)
    root: Array = x0 + (x1 - x0) * np.minimum(np.maximum(share, 0.0), 1.0)
    return root
