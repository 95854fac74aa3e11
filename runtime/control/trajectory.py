"""Braking and moving: ruckig's jerk-limited trajectories, sampled once per servo tick.

The states given are finite differences over servo ticks. A difference is the mean of the velocity over the tick
that has passed, so the continuous velocity now is half a tick's acceleration further on; with that, samples of a
trajectory within the limits have differences within the limits from the first one on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from ruckig import ControlInterface, InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory

Array = NDArray[np.float64]

LONGEST_S: Final = 30.0
"""A trajectory that would take longer is not planned: no arm needs it."""


@dataclass(frozen=True)
class Course:
    """A planned motion: `ticks` samples until it is at rest. Without a plan it stays at its start."""

    start: Array
    trajectory: Trajectory | None
    dt_s: float
    ticks: int

    def at(self, tick: int) -> Array:
        """Return the position (dof,) at the end of servo tick `tick`, counted from 1; at rest from `ticks` on."""
        if self.trajectory is None:
            return self.start
        return np.array(self.trajectory.at_time(min(tick, self.ticks) * self.dt_s)[0], dtype=np.float64)


def plan_brake(
    position: Array, velocity: Array, acceleration: Array, acceleration_max: Array, jerk_max: Array, dt_s: float
) -> Course:
    """Return the quickest stop of every joint.

    Shapes (dof,); rad, rad/s, rad/s^2, rad/s^3. Where ruckig finds no plan the course stays at the present
    position, which the limits that follow turn into the stop they allow.
    """
    plan = InputParameter(len(position))
    plan.control_interface = ControlInterface.Velocity
    plan.synchronization = Synchronization.No
    _begin(plan, position, velocity, acceleration, acceleration_max, jerk_max, dt_s)
    return _solve(plan, position, dt_s)


def plan_move(
    position: Array,
    velocity: Array,
    acceleration: Array,
    goal: Array,
    velocity_max: Array,
    acceleration_max: Array,
    jerk_max: Array,
    dt_s: float,
) -> Course:
    """Return a move to rest at `goal`, all joints arriving together. Units and fallback as in `plan_brake`."""
    plan = InputParameter(len(position))
    plan.control_interface = ControlInterface.Position
    plan.synchronization = Synchronization.Time
    _begin(plan, position, velocity, acceleration, acceleration_max, jerk_max, dt_s)
    plan.max_velocity = velocity_max.tolist()
    plan.target_position = goal.tolist()
    return _solve(plan, position, dt_s)


def _begin(
    plan: InputParameter,
    position: Array,
    velocity: Array,
    acceleration: Array,
    acceleration_max: Array,
    jerk_max: Array,
    dt_s: float,
) -> None:
    rest = [0.0] * len(position)
    bounded = np.clip(acceleration, -acceleration_max, acceleration_max)
    plan.current_position = position.tolist()
    plan.current_velocity = (velocity + 0.5 * dt_s * bounded).tolist()
    plan.current_acceleration = bounded.tolist()
    plan.target_velocity, plan.target_acceleration = rest, rest
    plan.max_acceleration = acceleration_max.tolist()
    plan.max_jerk = jerk_max.tolist()


def _solve(plan: InputParameter, position: Array, dt_s: float) -> Course:
    trajectory = Trajectory(len(position))
    try:
        result = Ruckig(len(position)).calculate(plan, trajectory)
    except RuckigError:
        result = Result.Error
    if result not in (Result.Working, Result.Finished) or not trajectory.duration <= LONGEST_S:
        return Course(position.copy(), None, dt_s, 0)
    return Course(position.copy(), trajectory, dt_s, math.ceil(trajectory.duration / dt_s) + 1)
