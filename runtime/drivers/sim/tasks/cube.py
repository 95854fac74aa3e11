"""The cube the tasks are about: a free body, its placing and its reading."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.grasp import quarter_yaw_rad

AT_REST_M_S = 0.03
AT_REST_RAD_S = 0.5


@dataclass(frozen=True)
class Cube:
    """A free cube called `name`; `half_m` is half its edge."""

    name: str
    half_m: float
    mass_kg: float
    rgba: tuple[float, float, float, float]

    def add_to(self, spec: mujoco.MjSpec, position_m: tuple[float, float, float]) -> None:
        """Add the body, its free joint and its geom, soft and rough enough to be held by two fingers."""
        body = spec.worldbody.add_body(name=self.name, pos=position_m)
        body.add_joint(name=self.name, type=mujoco.mjtJoint.mjJNT_FREE)
        body.add_geom(
            name=self.name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=(self.half_m,) * 3,
            mass=self.mass_kg,
            rgba=self.rgba,
            friction=(1.0, 0.02, 0.002),
            condim=4,
            solimp=(0.95, 0.99, 0.001, 0.5, 2.0),
            solref=(0.005, 1.0),
        )

    def place(self, data: mujoco.MjData, position_m: tuple[float, float, float], yaw_rad: float) -> None:
        """Put the cube somewhere, at rest."""
        joint = data.joint(self.name)
        joint.qpos[:] = (*position_m, np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2))
        joint.qvel[:] = 0.0

    def position_m(self, data: mujoco.MjData) -> NDArray[np.float64]:
        """Centre in the world, shape (3,)."""
        return np.array(data.joint(self.name).qpos[:3])

    def yaw_rad(self, data: mujoco.MjData) -> float:
        """Smallest yaw in [-pi/4, pi/4) that shows the same cube."""
        return quarter_yaw_rad(self._rotation(data))

    def bottom_m(self, data: mujoco.MjData) -> float:
        """Height of the lowest corner in the world."""
        return float(data.joint(self.name).qpos[2] - self.half_m * np.abs(self._rotation(data)[2]).sum())

    def _rotation(self, data: mujoco.MjData) -> NDArray[np.float64]:
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, data.joint(self.name).qpos[3:7])
        return rotation.reshape(3, 3)

    def is_at_rest(self, data: mujoco.MjData) -> bool:
        """Whether it neither moves nor turns."""
        velocity = data.joint(self.name).qvel
        return bool(np.linalg.norm(velocity[:3]) < AT_REST_M_S and np.linalg.norm(velocity[3:]) < AT_REST_RAD_S)

    def state(self, data: mujoco.MjData) -> NDArray[np.float64]:
        """Centre x, y, z in m, then sin and cos of four times the yaw (the same for every equal view): (5,)."""
        yaw = self.yaw_rad(data)
        return np.array((*self.position_m(data), np.sin(4 * yaw), np.cos(4 * yaw)))
