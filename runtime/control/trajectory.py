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
class Motion:
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


@dataclass(frozen=True)
class Course:
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


def plan_brake(motion: Motion, rates: Rates, dt_s: float) -> Course:
    """Return the quickest stop of every joint within acceleration and jerk.

    Where ruckig finds no plan the course stays at the present position, which the limits that follow turn into
    the stop they allow.
    """
    plan = _begin(motion, rates, dt_s)
    plan.control_interface = ControlInterface.Velocity
    plan.synchronization = Synchronization.No
    return _solve(plan, motion.position, dt_s)


def plan_move(motion: Motion, goal: Array, rates: Rates, dt_s: float) -> Course:
    """Return a move to rest at `goal` (dof,), all joints arriving together; the fallback is `plan_brake`'s."""
    plan = _begin(motion, rates, dt_s)
    plan.control_interface = ControlInterface.Position
    plan.synchronization = Synchronization.Time
    plan.target_position = goal.tolist()
    return _solve(plan, motion.position, dt_s)


def _begin(motion: Motion, rates: Rates, dt_s: float) -> InputParameter:
    dof = len(motion.position)
    plan = InputParameter(dof)
    bounded = np.clip(motion.acceleration, -rates.acceleration_max, rates.acceleration_max)
    plan.current_position = motion.position.tolist()
    plan.current_velocity = (motion.velocity + 0.5 * dt_s * bounded).tolist()
    plan.current_acceleration = bounded.tolist()
    plan.target_velocity = plan.target_acceleration = [0.0] * dof
    plan.max_velocity = rates.velocity_max.tolist()
    plan.max_acceleration = rates.acceleration_max.tolist()
    plan.max_jerk = rates.jerk_max.tolist()
    return plan


def _solve(plan: InputParameter, position: Array, dt_s: float) -> Course:
    trajectory = Trajectory(len(position))
    try:
        result = Ruckig(len(position)).calculate(plan, trajectory)
    except RuckigError:
        result = Result.Error
    if result not in {Result.Working, Result.Finished} or not trajectory.duration <= LONGEST_S:
        return Course(position.copy(), None, dt_s, 0)
    return Course(position.copy(), trajectory, dt_s, math.ceil(trajectory.duration / dt_s) + 1)
