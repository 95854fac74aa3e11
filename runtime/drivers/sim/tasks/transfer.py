"""Hand a cube over: the right arm picks it, passes it to the left arm in the air, which places it in the zone."""

from __future__ import annotations

from typing import Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.scene import TABLE_TOP_Z_M
from runtime.drivers.sim.tasks.cube import Cube
from runtime.drivers.sim.touch import Touch
from runtime.layout import SIDES

CUBE: Final = Cube(name="cube", half_m=0.02, mass_kg=0.06, rgba=(0.91, 0.26, 0.18, 1.0))
START_X_M: Final = (0.13, 0.25)
START_Y_M: Final = (-0.13, -0.03)
START_YAW_RAD: Final = 0.65
"""Either way of the table's edges: nearer to 45 degrees the two ways to grasp a cube would be equally good."""
ZONE_XY_M: Final = (-0.22, -0.08)
ZONE_RADIUS_M: Final = 0.065
LIFTED_M: Final = 0.02
"""The cube counts as in the air when it is this far above its resting height."""
LEFT: Final = SIDES.index("left")


class Transfer:
    """The `transfer` task: decided by the physics, from where the cube lies and who has touched it."""

    name = "transfer"
    prompt = "pick up the cube with the right arm, hand it to the left arm and place it in the green zone"
    time_limit_s = 14.0

    def __init__(self) -> None:
        self._touch: Touch | None = None
        self._handed_over = False

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the cube and the zone's marker."""
        CUBE.add_to(spec, (sum(START_X_M) / 2, sum(START_Y_M) / 2, TABLE_TOP_Z_M + CUBE.half_m))
        for name, radius_m, height_m, rgba in (
            ("zone_rim", ZONE_RADIUS_M, 0.0008, (0.95, 0.97, 0.95, 1.0)),
            ("zone", ZONE_RADIUS_M - 0.006, 0.0012, (0.16, 0.62, 0.36, 1.0)),
        ):
            spec.worldbody.add_geom(
                name=name,
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                pos=(*ZONE_XY_M, TABLE_TOP_Z_M + height_m / 2),
                size=(radius_m, height_m / 2, 0.0),
                rgba=rgba,
                contype=0,
                conaffinity=0,
            )

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Put the cube on the right of the table: a random place of 12 x 10 cm, a random yaw."""
        self._touch = Touch(model, CUBE.name)
        self._handed_over = False
        x_m, y_m = rng.uniform(*START_X_M), rng.uniform(*START_Y_M)
        CUBE.place(data, (x_m, y_m, TABLE_TOP_Z_M + CUBE.half_m), rng.uniform(-START_YAW_RAD, START_YAW_RAD))

    def advance(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Remember that the left gripper has held the cube in the air."""
        if self._handed_over or float(data.joint(CUBE.name).qpos[2]) < TABLE_TOP_Z_M + CUBE.half_m + LIFTED_M:
            return
        if self._touch is None:
            self._touch = Touch(model, CUBE.name)
        self._handed_over = bool(self._touch.fingers(data)[LEFT].all())

    def outcome(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool | None:
        """True: handed over, released, at rest in the zone. False: off the table. None: still open."""
        position_m = CUBE.position_m(data)
        if position_m[2] < TABLE_TOP_Z_M - CUBE.half_m:
            return False
        lies = position_m[2] < TABLE_TOP_Z_M + CUBE.half_m + 0.005 and CUBE.is_at_rest(data)
        inside = float(np.hypot(*(position_m[:2] - ZONE_XY_M))) < ZONE_RADIUS_M
        if not (self._handed_over and lies and inside):
            return None
        if self._touch is None:
            self._touch = Touch(model, CUBE.name)
        return None if self._touch.sides(data).any() else True

    def object_state(self, model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.float32]:  # noqa: ARG002
        """(7,): cube x, y, z in m; sin and cos of four times its yaw; zone x, y in m."""
        return np.concatenate((CUBE.state(data), ZONE_XY_M)).astype(np.float32)
