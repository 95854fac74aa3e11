"""One arm chasing a leader that moves: the leader's own motion, estimated, and ruckig's way to meet it.

The way is planned anew every servo tick from where the last plan has led, in the plan's own continuous state, so
that what comes out is one jerk-limited motion however the leader moves.
"""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, OutputParameter, Result, Ruckig, RuckigError, Synchronization

from runtime.control.trajectory import Motion, Rates

Array = NDArray[np.float64]

SMOOTH_S: Final = 0.02
"""Time constant of the estimate: a leader's noise of a milliradian becomes a hundredth of a rad/s."""
LEAP_RAD: Final = 0.35
"""A step between two samples that is no motion: the leader was put elsewhere."""
_ROOM: Final = 0.98
"""The share of the rates that is planned with; the limits that follow round where a plan is exact."""


class Track:
    """Where a leader is and how fast it moves, (7,): a critically damped g-h filter (Brookner 1998, ch. 1)."""

    def __init__(self, dt_s: float) -> None:
        self._dt = dt_s
        self._since = 1
        self.position = np.zeros(0)
        self.velocity = np.zeros(0)

    def begin(self, position: Array) -> None:
        """Start anew at a leader taken to stand still."""
        self.position, self.velocity = position.copy(), np.zeros(len(position))
        self._since = 1

    def step(self, sample: Array | None) -> None:
        """Move on by a servo tick, with the leader's position where there is a new one."""
        self.position = self.position + self.velocity * self._dt
        if sample is None:
            self._since += 1
            return
        off = sample - self.position
        if float(np.abs(off).max()) > LEAP_RAD:
            self.begin(sample)
            return
        span_s = self._since * self._dt
        fade = exp(-span_s / SMOOTH_S)
        self.position = self.position + (1.0 - fade * fade) * off
        self.velocity = self.velocity + (1.0 - fade) ** 2 / span_s * off
        self._since = 1


class Chase:
    """Brings an arm (7,) to a moving goal: quickest within the rates, meeting its position and velocity."""

    def __init__(self, slow: Rates, full: Rates, dt_s: float) -> None:
        """Take the rates of the approach and those once it is done; the two may differ in velocity."""
        dof = len(full.velocity_max)
        self._dt = dt_s
        self._otg = Ruckig(dof, dt_s)
        self._plan, self._next = InputParameter(dof), OutputParameter(dof)
        self._plan.synchronization = Synchronization.No
        self._a_max = full.acceleration_max * _ROOM
        self._v_max = slow.velocity_max * _ROOM, full.velocity_max * _ROOM
        self._plan.max_acceleration = self._a_max.tolist()
        self._plan.max_jerk = (full.jerk_max * _ROOM).tolist()
        self._position: Array | None = None

    def end(self) -> None:
        """Forget the motion."""
        self._position = None

    def step(self, motion: Motion, goal: Array, velocity: Array, *, slow: bool) -> Array:
        """Return the position (7,) of the next tick towards a goal (rad) that moves at a velocity (rad/s).

        `motion` is the arm's command now: where it is not what was returned last, the chase begins from it. Where
        ruckig finds no way it stays, which the limits that follow turn into the stop they allow.
        """
        if self._position is None or not np.array_equal(self._position, motion.position):
            self._begin(motion)
        v_max = self._v_max[0 if slow else 1]
        self._plan.max_velocity = v_max.tolist()
        self._plan.target_position = goal.tolist()
        self._plan.target_velocity = np.clip(velocity, -0.9 * v_max, 0.9 * v_max).tolist()
        try:
            result = self._otg.update(self._plan, self._next)
        except RuckigError:
            result = Result.Error
        if result not in {Result.Working, Result.Finished}:
            self._position = None
            return motion.position
        self._next.pass_to_input(self._plan)
        self._position = np.array(self._next.new_position)
        return self._position

    def _begin(self, motion: Motion) -> None:
        """Start from a motion in finite differences; see `runtime.control.trajectory` for the half tick."""
        acceleration = np.clip(motion.acceleration, -self._a_max, self._a_max)
        self._plan.current_position = motion.position.tolist()
        self._plan.current_velocity = (motion.velocity + 0.5 * self._dt * acceleration).tolist()
        self._plan.current_acceleration = acceleration.tolist()
