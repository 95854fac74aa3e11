"""What the grippers touch, read from the contacts of the physics."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.layout import SIDES

FINGERS = 2


class Touch:
    """Contacts between the arms and one object; bound to a model once, read at any state."""

    def __init__(self, model: mujoco.MjModel, body: str) -> None:
        """`body`: the object's name. A finger is a body that slides on an arm."""
        geom_body = model.geom_bodyid
        self._is_object: NDArray[np.bool_] = geom_body == model.body(body).id
        self._side = np.full(model.ngeom, -1)
        self._finger = np.full(model.ngeom, -1)
        for side_index, side in enumerate(SIDES):
            bodies = [b for b in range(model.nbody) if model.body(b).name.startswith(f"{side}_")]
            self._side[np.isin(geom_body, bodies)] = side_index
            sliding = [
                int(model.jnt_bodyid[j])
                for j in range(model.njnt)
                if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_SLIDE and model.jnt_bodyid[j] in bodies
            ]
            for finger_index, finger in enumerate(sliding[:FINGERS]):
                self._finger[geom_body == finger] = side_index * FINGERS + finger_index

    def fingers(self, data: mujoco.MjData) -> NDArray[np.bool_]:
        """Which fingers touch the object: shape (2 sides, 2 fingers), `runtime.layout.SIDES` order."""
        touching = np.zeros(len(SIDES) * FINGERS + 1, dtype=np.bool_)
        touching[self._finger[self._others(data)]] = True
        return touching[:-1].reshape(len(SIDES), FINGERS)

    def sides(self, data: mujoco.MjData) -> NDArray[np.bool_]:
        """Which arms touch the object with any part: shape (2,)."""
        touching = np.zeros(len(SIDES) + 1, dtype=np.bool_)
        touching[self._side[self._others(data)]] = True
        return touching[:-1]

    def _others(self, data: mujoco.MjData) -> NDArray[np.int32]:
        pairs: NDArray[np.int32] = data.contact.geom
        first, second = self._is_object[pairs[:, 0]], self._is_object[pairs[:, 1]]
        return np.concatenate((pairs[first, 1], pairs[second, 0]))
