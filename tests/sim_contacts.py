"""What touches in the simulated rig in a pose, as MuJoCo finds it on the rig's own shapes: no part of the check."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.drivers.sim.scene import build_model
from runtime.layout import ARM_DOF, ARM_JOINTS, SIDES


class SimContacts:
    """Contacts of an arm model's simulated rig, but for those that are the fingers' work."""

    def __init__(self, arm: str) -> None:
        self._model = build_model(arm)
        self._data = mujoco.MjData(self._model)
        self._travel_m = ARM_MODELS[arm].gripper_stroke_m / 2.0
        self._body = [str(self._model.body(int(b)).name) for b in self._model.geom_bodyid]

    def at(self, pose: NDArray[np.float64], *, hands: bool) -> list[tuple[str, str]]:
        """Return the bodies that touch in a pose (14,); `hands`: also one hand and the other."""
        for i, side in enumerate(SIDES):
            part = pose[i * ARM_DOF : (i + 1) * ARM_DOF]
            for j in range(ARM_JOINTS):
                self._data.qpos[self._model.joint(f"{side}_joint{j + 1}").qposadr[0]] = part[j]
            for finger in (1, 2):
                self._data.qpos[self._model.joint(f"{side}_finger{finger}").qposadr[0]] = part[6] * self._travel_m
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        touching = []
        for geoms, dist in zip(self._data.contact.geom.tolist(), self._data.contact.dist.tolist(), strict=True):
            first, second = (self._body[g] for g in geoms)
            if dist < 0.0 and not self._is_work(first, second, hands=hands):
                touching.append((first, second))
        return touching

    @staticmethod
    def _is_work(first: str, second: str, *, hands: bool) -> bool:
        fingers = ["finger" in name for name in (first, second)]
        if all(fingers) or (any(fingers) and "world" in {first, second}):
            return True
        sides = {name.partition("_")[0] for name in (first, second)}
        return not hands and len(sides) == 2 and all("finger" in n or n.endswith("link6") for n in (first, second))
