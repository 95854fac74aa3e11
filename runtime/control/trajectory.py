"""Braking and moving: ruckig's jerk-limited trajectories, sampled once per servo tick.

The states given are finite differences over servo ticks. A difference is the mean of the velocity over the tick
that has passed, so the continuous velocity now is half a tick's acceleration further on; with that, samples of a
trajectory within the limits have differences within the limits from the first one on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ruckig import ControlInterface, InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory

Array = NDArray[np.float64]

LONGEST_S: Final = 30.0
"""A trajectory that would take longer is not planned: no arm needs it."""
_PLANNED: Final = (Result.Working, Result.Finished)


class Motion(NamedTuple):
    """A state in finite differences over servo ticks, shapes (dof,): rad, rad/s, rad/s^2."""

    position: Array
    velocity: Array
    acceleration: Array


@dataclass(frozen=True)
class Rates:
    """The rates a planned motion stays within, shapes (dof,): rad/s, rad/s^2, rad/s^3."""

    velocity_max: Array
    acceleration_max: Array
    jerk_max: Array


class Course(NamedTuple):
    """A planned motion: at rest after `ticks` servo ticks. Without a plan it stays at its start."""

    start: Array
    trajectory: Trajectory | None
    dt_s: float
    ticks: int

    def at(self, tick: int) -> Array:
        """Return the position (dof,) `tick` servo ticks after the start."""
        if self.trajectory is None:
            return self.start
        return np.array(self.trajectory.at_time(min(tick, self.ticks) * self.dt_s)[0], dtype=np.float64)


class Planner:
    """Plans motions (dof,) within rates, for samples `dt_s` apart; ruckig is told what never changes once."""

    def __init__(self, rates: Rates, dt_s: float) -> None:
        self._dt = dt_s
        self._a_max = rates.acceleration_max
        self._dof = dof = len(self._a_max)
        self._otg = Ruckig(dof)
        self._plan = plan = InputParameter(dof)
        plan.target_velocity = plan.target_acceleration = [0.0] * dof
        plan.max_velocity = rates.velocity_max.tolist()
        plan.max_acceleration = rates.acceleration_max.tolist()
        plan.max_jerk = rates.jerk_max.tolist()

    def brake(self, motion: Motion) -> Course:
        """Return the quickest stop of every joint within acceleration and jerk.

        Where ruckig finds no plan the course stays at the present position, which the limits that follow turn into
        the stop they allow.
        """
        self._plan.control_interface = ControlInterface.Velocity
        self._plan.synchronization = Synchronization.No
        return self._solve(motion)

    def move(self, motion: Motion, goal: Array) -> Course:
        """Return a move to rest at `goal` (dof,), all joints arriving together; the fallback is that of `brake`."""
        self._plan.control_interface = ControlInterface.Position
        self._plan.synchronization = Synchronization.Time
        self._plan.target_position = goal.tolist()
        return self._solve(motion)

    def _solve(self, motion: Motion) -> Course:
        plan, trajectory = self._plan, Trajectory(self._dof)
        bounded = np.minimum(np.maximum(motion.acceleration, -self._a_max), self._a_max)
        plan.current_position = motion.position.tolist()
        plan.current_velocity = (motion.velocity + 0.5 * self._dt * bounded).tolist()
        plan.current_acceleration = bounded.tolist()
        try:
            result = self._otg.calculate(plan, trajectory)
        except RuckigError:
            result = Result.Error
        if result not in _PLANNED or not trajectory.duration <= LONGEST_S:
            return Course(motion.position.copy(), None, self._dt, 0)
        ticks = math.ceil(trajectory.duration / self._dt) + 1
        return Course(motion.position.copy(), trajectory, self._dt, ticks)
