"""Inverse kinematics of an arm by damped least squares through the MuJoCo model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.errors import LeadtimeError
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import rotation_vector
from runtime.layout import ARM_JOINTS, Side

POSITION_TOLERANCE_M: Final = 2e-4
ROTATION_TOLERANCE_RAD: Final = 1e-3
STEP_MAX_RAD: Final = 0.35
DAMPING: Final = 1e-3
"""Smallest damping; it grows with the error, so that far goals are approached in the gradient's direction."""
ROTATION_WEIGHT_M: Final = 0.15
"""One radian of orientation error weighs as much as this many metres."""


@dataclass(frozen=True)
class IkSolution:
    """Joint angles in rad, shape (n,), and what is left between their pose and the one asked for."""

    joints: NDArray[np.float64]
    position_error_m: float
    rotation_error_rad: float

    @property
    def reached(self) -> bool:
        """Whether the pose is met to a millimetre and a hundredth of a radian."""
        return self.position_error_m < 1e-3 and self.rotation_error_rad < 1e-2


class ArmIk:
    """Kinematics of the `<arm>_tcp` site of an arm of n joints, a rig's by its side.

    They have data of their own: the simulation's is never touched.
    """

    def __init__(
        self, model: mujoco.MjModel, arm: Side | str, *, joints: int = ARM_JOINTS, margin_rad: float = 0.02
    ) -> None:
        """Bind to the arm; solutions keep `margin_rad` from its joint limits. LeadtimeError for a model without it."""
        self._model = model
        self._data = mujoco.MjData(model)
        names = [f"{arm}_joint{j}" for j in range(1, joints + 1)]
        ids = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in names]
        self._site: int = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, f"{arm}_tcp")
        if self._site < 0 or min(ids) < 0:
            raise LeadtimeError(f"the model has no {arm} arm: it needs joints {', '.join(names)} and {arm}_tcp")
        self._qpos: NDArray[np.intp] = np.asarray(model.jnt_qposadr[ids], dtype=np.intp)
        self._dof: NDArray[np.intp] = np.asarray(model.jnt_dofadr[ids], dtype=np.intp)
        self.lower_rad: NDArray[np.float64] = model.jnt_range[ids, 0] + margin_rad
        self.upper_rad: NDArray[np.float64] = model.jnt_range[ids, 1] - margin_rad
        self._jacobian = np.zeros((6, model.nv))

    def forward(self, joints: NDArray[np.float64]) -> Pose:
        """Pose of the tcp site at the joint angles in rad, shape (n,)."""
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return Pose(self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy())

    def jacobian(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivative of (position, rotation) of the tcp by the joints, shape (6, n), in m/rad and rad/rad."""
        self.forward(joints)
        return self._jacobian_here()

    def joint_velocity(self, joints: NDArray[np.float64], linear_m_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Joint velocity in rad/s, shape (n,), that moves the tcp at `linear_m_s` (3,) without turning it."""
        twist = np.concatenate((linear_m_s, np.zeros(3)))
        return _damped_step(self.jacobian(joints), twist, DAMPING)

    def solve(self, goal: Pose, start: NDArray[np.float64], *, iterations: int = 60) -> IkSolution:
        """Closest joint angles inside the limits found from `start` (n,) in rad; see `IkSolution.reached`.

        Damped least squares (Wampler 1986; Nakamura and Hanafusa 1986). A joint at its limit that would be
        pushed beyond it is left out of the step.
        """
        joints = np.clip(start, self.lower_rad, self.upper_rad)
        best = IkSolution(joints, np.inf, np.inf)
        for _ in range(iterations):
            here = self.forward(joints)
            error = np.concatenate((goal.position - here.position, rotation_vector(goal.rotation @ here.rotation.T)))
            solution = IkSolution(joints, float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:])))
            if _cost_m(solution) < _cost_m(best):
                best = solution
            if (
                solution.position_error_m < POSITION_TOLERANCE_M
                and solution.rotation_error_rad < ROTATION_TOLERANCE_RAD
            ):
                break
            joints = self._stepped(joints, error, DAMPING + 0.02 * min(_cost_m(solution), 1.0))
        return best

    def _stepped(self, joints: NDArray[np.float64], error: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
        jacobian = self._jacobian_here()
        step = _damped_step(jacobian, error, damping)
        blocked = ((joints <= self.lower_rad) & (step < 0)) | ((joints >= self.upper_rad) & (step > 0))
        if blocked.any():
            jacobian[:, blocked] = 0.0
            step = _damped_step(jacobian, error, damping)
        step *= min(1.0, STEP_MAX_RAD / max(float(np.abs(step).max()), 1e-9))
        return np.clip(joints + step, self.lower_rad, self.upper_rad)

    def _jacobian_here(self) -> NDArray[np.float64]:
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
        return self._jacobian[:, self._dof]


def _cost_m(solution: IkSolution) -> float:
    return solution.position_error_m + ROTATION_WEIGHT_M * solution.rotation_error_rad


def _damped_step(jacobian: NDArray[np.float64], error: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    gram = jacobian @ jacobian.T
    gram[np.diag_indices_from(gram)] += damping * damping
    return jacobian.T @ np.linalg.solve(gram, error)
