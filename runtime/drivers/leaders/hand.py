"""Leading an arm by its hand: motions in the arm's base axes (x forward, y left, z up) become its joints."""

from __future__ import annotations

from functools import cache
from typing import Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S
from runtime.drivers.sim.scene import build_model
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import vector_matrix
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_JOINTS, Side

Vector = NDArray[np.float64]

LINEAR_M_S: Final = 0.2
ANGULAR_RAD_S: Final = 0.8
"""At full deflection of what steers a hand."""
LAG_MAX_NS: Final = NS_PER_S // 20
"""A pause longer than this is not made up for."""
AHEAD_RAD: Final = 0.2
"""How far what is led may run ahead of an arm that cannot follow."""
JOINT_RAD_S: Final = 1.5
GRIPPER_S: Final = 3.0
"""The fastest that a joint and the gripper are led, rad/s and openings a second."""
ITERATIONS: Final = 8
LAG_M: Final = 0.03
"""A goal further than this from the hand is not moved further away by rates."""
JUMP_M: Final = 0.10
JUMP_RAD: Final = 0.6
"""A goal that moves this far at once, or joints that would, are no person's motion."""


@cache
def _model(arm: str) -> mujoco.MjModel:
    """Both sides share it: it is large, slow to build and never written to."""
    return build_model(arm)


class Hand:
    """One arm's hand, (7,) joints and gripper: goes with the arm while it is let go, else where it is led to.

    A jump is refused, and the hand then stays where it is until it is let go.
    """

    def __init__(self, arm: str, side: Side) -> None:
        """Build the kinematics of a side's arm by its model's name; UsageError for an unknown one."""
        model = _model(arm)
        self._ik = ArmIk(model, side)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        base = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, f"{side}_base")
        self._axes: Vector = data.xmat[base].reshape(3, 3).copy()
        self._origin = self._goal = Pose(np.zeros(3), np.eye(3))
        self._t_ns = 0
        self.position: Vector = np.zeros(ARM_DOF)
        self.refused = False

    def release(self, arm: Vector, now_ns: int) -> None:
        """Go with the arm, (7,): motions count from here."""
        self.position = arm.copy()
        self._origin = self._goal = self._ik.forward(arm[:ARM_JOINTS])
        self._t_ns, self.refused = now_ns, False

    def refuse(self) -> None:
        """Stay until released."""
        self.refused = True

    def place(self, now_ns: int, arm: Vector, shift_m: Vector, turn: Vector, opening: float) -> None:
        """Be `shift_m` (3,) and `turn` (3, 3) from where the hand was let go last; `arm` (7,) is where the arm is."""
        goal = Pose(
            self._origin.position + self._axes @ shift_m,
            self._axes @ turn @ self._axes.T @ self._origin.rotation,
        )
        if not goal.close_to(self._goal, position_m=JUMP_M, rotation_rad=JUMP_RAD):
            self.refuse()
        self._step(now_ns, arm, goal, opening)

    def steer(self, now_ns: int, arm: Vector, deflection: Vector, opening: float) -> None:
        """Move on with deflections (6,) of -1 to 1: x, y, z, roll, pitch and yaw."""
        told = np.clip(deflection, -1.0, 1.0)
        self.push(now_ns, arm, LINEAR_M_S * told[:3], ANGULAR_RAD_S * told[3:], opening)

    def push(self, now_ns: int, arm: Vector, linear_m_s: Vector, angular_rad_s: Vector, opening: float) -> None:
        """Move on at rates, (3,) each; a hand that cannot follow is not pushed further ahead."""
        span_s = self.span_s(now_ns)
        turn = self._axes @ vector_matrix(angular_rad_s * span_s) @ self._axes.T
        before = self._goal
        goal = Pose(before.position + self._axes @ linear_m_s * span_s, turn @ before.rotation)
        self._step(now_ns, arm, goal, opening)
        here = self._ik.forward(self.position[:ARM_JOINTS])
        if not here.close_to(goal, position_m=LAG_M, rotation_rad=LAG_M / 0.15):
            # Taken up from the hand itself, so that the way back has no slack.
            self._goal = here

    def span_s(self, now_ns: int) -> float:
        """Return for how long the next motion counts, s."""
        return min(max(now_ns - self._t_ns, 0), LAG_MAX_NS) / NS_PER_S

    def _step(self, now_ns: int, arm: Vector, goal: Pose, opening: float) -> None:
        span_s = self.span_s(now_ns)
        self._t_ns = now_ns
        if self.refused:
            return
        joints = self.position[:ARM_JOINTS]
        step = self._ik.solve(goal, joints, iterations=ITERATIONS).joints - joints
        if float(np.abs(step).max()) > JUMP_RAD:
            self.refuse()
            return
        self._goal = goal
        step *= min(1.0, JOINT_RAD_S * span_s / max(float(np.abs(step).max()), 1e-9))
        led = np.clip(joints + step, arm[:ARM_JOINTS] - AHEAD_RAD, arm[:ARM_JOINTS] + AHEAD_RAD)
        moved = self.position.copy()
        moved[:ARM_JOINTS] = np.clip(led, self._ik.lower_rad, self._ik.upper_rad)
        most = GRIPPER_S * span_s
        gripper = moved[ARM_GRIPPER] + min(max(opening - moved[ARM_GRIPPER], -most), most)
        moved[ARM_GRIPPER] = min(max(gripper, 0.0), 1.0)
        self.position = moved
