"""One arm's way to a goal: inverse kinematics, then a smooth joint motion that is planned anew at every tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, OutputParameter, Ruckig, RuckigError, Synchronization

from runtime.arms import ArmModel
from runtime.drivers.sim.plant import Plant
from runtime.errors import LeadtimeError
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.pose import Pose
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_JOINTS, ARM_SLICE, Side

TICK_S: Final = 0.02
SAME_POSE_M: Final = 2e-4
SAME_POSE_RAD: Final = 2e-3
LOST_RAD: Final = 0.3
"""A measured joint this far from the commanded one means somebody else moved the arm: plan from there."""


@dataclass(frozen=True)
class Pace:
    """How briskly an expert moves: joints in rad/s, rad/s^2, rad/s^3; the gripper in 1/s, 1/s^2, 1/s^3."""

    velocity: float = 1.7
    acceleration: float = 7.0
    jerk: float = 70.0
    gripper_velocity: float = 2.2
    gripper_acceleration: float = 20.0
    gripper_jerk: float = 400.0

    def limits(self, arm: ArmModel) -> tuple[list[float], list[float], list[float]]:
        """Velocity, acceleration and jerk limits of the seven axes, at most half of the arm's own."""
        joints = (self.velocity, self.acceleration, self.jerk)
        gripper = (self.gripper_velocity, self.gripper_acceleration, self.gripper_jerk)
        velocity, acceleration, jerk = (
            [min(joint, 0.5 * limit) for limit in bounds[:ARM_JOINTS]] + [min(grip, 0.5 * bounds[ARM_GRIPPER])]
            for joint, grip, bounds in zip(
                joints, gripper, (arm.velocity_max, arm.acceleration_max, arm.jerk_max), strict=True
            )
        )
        return velocity, acceleration, jerk


@dataclass(frozen=True)
class Goal:
    """Where an arm should be: a tool pose (None: the arm's home) and the gripper's opening, 0..1.

    `velocity_m_s` (3,): the goal moves; the arm meets it at `pose` one tick ahead, at that speed.
    """

    pose: Pose | None
    gripper: float
    velocity_m_s: NDArray[np.float64] | None = None


class ArmGuide:
    """Follows goals with one arm: position, velocity, acceleration and jerk of the command stay inside the pace.

    The motion is planned in the goal's own frame: the distance to the goal comes to rest at zero, in the shortest
    time and with all joints together. A goal that moves steadily is thereby met where it will be.
    """

    def __init__(self, plant: Plant, side: Side, pace: Pace) -> None:
        self.side: Side = side
        self.ik = ArmIk(plant.model, side)
        self._home = plant.arm.home_array
        self._otg = Ruckig(ARM_DOF, TICK_S)
        self._input = InputParameter(ARM_DOF)
        self._output = OutputParameter(ARM_DOF)
        self._input.max_velocity, self._input.max_acceleration, self._input.max_jerk = pace.limits(plant.arm)
        self._solved: tuple[Pose, NDArray[np.float64]] | None = None
        self.remaining_s = 0.0
        """How long the joints need from here to their goal."""
        self._position: NDArray[np.float64] = plant.position()[ARM_SLICE[side]]
        self._velocity: NDArray[np.float64] = np.zeros(ARM_DOF)
        self._acceleration: NDArray[np.float64] = np.zeros(ARM_DOF)

    @property
    def commanded(self) -> NDArray[np.float64]:
        """The last command, shape (7,)."""
        return np.array(self._position)

    def adopt(self, position: NDArray[np.float64], velocity: NDArray[np.float64]) -> None:
        """Go on from what was commanded instead of the last command: rad and rad/s, shapes (7,)."""
        self._restart(position)
        self._velocity = velocity.copy()

    def follow(self, goal: Goal, measured: NDArray[np.float64]) -> NDArray[np.float64]:
        """The command for this tick, shape (7,), one tick nearer to the goal; `measured` (7,) is where the arm is.

        Raises LeadtimeError when no motion exists, which means the pace or the goal is wrong.
        """
        if np.abs(measured - self._position)[:ARM_JOINTS].max() > LOST_RAD:
            self._restart(measured)
        joints = self._joints_at(goal.pose)
        target, velocity = np.append(joints, goal.gripper), np.zeros(ARM_DOF)
        if goal.velocity_m_s is not None:
            velocity[:ARM_JOINTS] = self.ik.joint_velocity(joints, goal.velocity_m_s)
        self._input.current_position = (self._position - target + velocity * TICK_S).tolist()
        self._input.current_velocity = (self._velocity - velocity).tolist()
        self._input.current_acceleration = self._acceleration.tolist()
        self._plan(target)
        self._position = target + self._output.new_position
        self._velocity = velocity + self._output.new_velocity
        self._acceleration = np.array(self._output.new_acceleration)
        self.remaining_s = max(self._output.trajectory.independent_min_durations[:ARM_JOINTS])
        return self.commanded

    def _plan(self, target: NDArray[np.float64]) -> None:
        # Synchronising the joints now and then has no numerical solution; alone they have one.
        for joints in (Synchronization.Phase, Synchronization.No):
            self._input.per_dof_synchronization = [joints] * ARM_JOINTS + [Synchronization.No]
            try:
                self._otg.update(self._input, self._output)
            except RuckigError:
                continue
            return
        raise LeadtimeError(f"no motion of the {self.side} arm inside its pace leads to {target.round(3).tolist()}")

    def _joints_at(self, pose: Pose | None) -> NDArray[np.float64]:
        """Joint angles at the pose, shape (6,); solved only when it has changed."""
        if pose is None:
            return self._home[:ARM_JOINTS]
        if self._solved is not None:
            if self._solved[0].close_to(pose, position_m=SAME_POSE_M, rotation_rad=SAME_POSE_RAD):
                return self._solved[1]
            start = self._solved[1]
        else:
            start = self._home[:ARM_JOINTS]
        self._solved = (pose, self.ik.solve(pose, start).joints)
        return self._solved[1]

    def _restart(self, position: NDArray[np.float64]) -> None:
        self._position = position.copy()
        self._velocity = np.zeros(ARM_DOF)
        self._acceleration = np.zeros(ARM_DOF)
