"""Take a moving block off a belt and put it in a bin, before the belt carries it away."""

from __future__ import annotations

from typing import Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.scene import TABLE_TOP_Z_M
from runtime.drivers.sim.tasks.cube import Cube
from runtime.drivers.sim.touch import Touch

BLOCK: Final = Cube(name="block", half_m=0.02, mass_kg=0.06, rgba=(0.98, 0.72, 0.12, 1.0))
BELT_SPEED_M_S: Final = 0.14
"""Constant: one picture shows no speed. 150 ms late is 21 mm beside the block, more than the gripper's play."""
BELT_X_M: Final = (-0.30, 0.40)
BELT_Y_M: Final = -0.03
BELT_HALF_WIDTH_M: Final = 0.065
BELT_TOP_M: Final = TABLE_TOP_Z_M + 0.025
BELT_HALF_THICKNESS_M: Final = 0.008
STRIPE_PITCH_M: Final = 0.05
START_X_M: Final = (-0.18, 0.02)
START_ASIDE_M: Final = 0.025
START_YAW_RAD: Final = 0.35
BIN_XY_M: Final = (0.10, -0.20)
BIN_HALF_M: Final = 0.06
BIN_WALL_M: Final = 0.004
BIN_HEIGHT_M: Final = 0.045
REST_Z_M: Final = BELT_TOP_M + BLOCK.half_m


class Conveyor:
    """The `conveyor` task. The belt is a slab that moves at its speed and is set back at every step: a treadmill.

    The contact sees the slab's velocity, so friction carries the block; no force is put on the block itself.
    """

    name = "conveyor"
    prompt = "take the moving block off the belt with the right arm and put it in the blue bin"
    time_limit_s = 9.0

    def __init__(self) -> None:
        self._addresses: tuple[int, int, int] | None = None
        self._touch: Touch | None = None

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the belt, the block, the bin and the tray of the missed."""
        BLOCK.add_to(spec, (sum(START_X_M) / 2, BELT_Y_M, REST_Z_M))
        _add_belt(spec)
        _add_bin(spec)
        _add_tray(spec)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Put the block somewhere upstream, which decides when it arrives, aside and turned a little."""
        x_m, aside_m = rng.uniform(*START_X_M), rng.uniform(-START_ASIDE_M, START_ASIDE_M)
        BLOCK.place(data, (x_m, BELT_Y_M + aside_m, REST_Z_M), rng.uniform(-START_YAW_RAD, START_YAW_RAD))
        data.joint(BLOCK.name).qvel[0] = BELT_SPEED_M_S
        self.advance(model, data)

    def advance(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Keep the belt running, and its stripes with it."""
        if self._addresses is None:
            joint = model.joint("belt")
            stripes = int(model.body("belt_stripes").mocapid[0])
            self._addresses = (int(joint.qposadr[0]), int(joint.dofadr[0]), stripes)
        qpos, dof, stripes = self._addresses
        data.qpos[qpos] = 0.0
        data.qvel[dof] = BELT_SPEED_M_S
        data.mocap_pos[stripes, 0] = BELT_SPEED_M_S * float(data.time) % STRIPE_PITCH_M

    def outcome(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool | None:
        """True: released in the bin. False: off the belt's end, or lying anywhere else. None: still open."""
        position_m = BLOCK.position_m(data)
        if position_m[2] > REST_Z_M - 0.008:
            return None
        if position_m[0] > BELT_X_M[1]:
            return False
        if self._touch is None:
            self._touch = Touch(model, BLOCK.name)
        if self._touch.sides(data).any():
            return None
        if np.abs(position_m[:2] - BIN_XY_M).max() < BIN_HALF_M:
            return True if position_m[2] < TABLE_TOP_Z_M + BIN_HEIGHT_M else None
        return False if BLOCK.is_at_rest(data) else None

    def object_state(self, model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.float32]:  # noqa: ARG002
        """(7,): block x, y, z in m; sin and cos of four times its yaw; bin x, y in m. The belt's speed is fixed."""
        return np.concatenate((BLOCK.state(data), BIN_XY_M)).astype(np.float32)


def _add_belt(spec: mujoco.MjSpec) -> None:
    centre_m, half_m = sum(BELT_X_M) / 2, (BELT_X_M[1] - BELT_X_M[0]) / 2
    belt = spec.worldbody.add_body(name="belt", pos=(centre_m, BELT_Y_M, BELT_TOP_M - BELT_HALF_THICKNESS_M))
    belt.add_joint(name="belt", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=(1.0, 0.0, 0.0))
    belt.add_geom(
        name="belt",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(half_m, BELT_HALF_WIDTH_M, BELT_HALF_THICKNESS_M),
        mass=20.0,
        rgba=(0.13, 0.14, 0.15, 1.0),
        friction=(1.0, 0.02, 0.002),
    )
    stripes = spec.worldbody.add_body(name="belt_stripes", mocap=True)
    for start_m in np.arange(BELT_X_M[0], BELT_X_M[1] - STRIPE_PITCH_M / 2, STRIPE_PITCH_M):
        _add_decor(
            stripes,
            (float(start_m), BELT_Y_M, BELT_TOP_M),
            (0.004, BELT_HALF_WIDTH_M - 0.004, 0.0006),
            (0.38, 0.40, 0.42, 1.0),
        )
    metal = (0.62, 0.64, 0.67, 1.0)
    for sign in (-1.0, 1.0):
        rail_y_m = BELT_Y_M + sign * (BELT_HALF_WIDTH_M + 0.008)
        height_m = (BELT_TOP_M - TABLE_TOP_Z_M) / 2
        _add_decor(spec.worldbody, (centre_m, rail_y_m, TABLE_TOP_Z_M + height_m), (half_m, 0.007, height_m), metal)
    for end_m in BELT_X_M:
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            fromto=(
                *(end_m, BELT_Y_M - BELT_HALF_WIDTH_M, BELT_TOP_M - 0.0125),
                *(end_m, BELT_Y_M + BELT_HALF_WIDTH_M, BELT_TOP_M - 0.0125),
            ),
            size=(0.012, 0.0, 0.0),
            rgba=metal,
            contype=0,
            conaffinity=0,
        )


def _add_bin(spec: mujoco.MjSpec) -> None:
    x_m, y_m = BIN_XY_M
    blue = (0.16, 0.42, 0.78, 1.0)
    _add_decor(
        spec.worldbody,
        (x_m, y_m, TABLE_TOP_Z_M + 0.001),
        (BIN_HALF_M, BIN_HALF_M, 0.001),
        (0.10, 0.28, 0.55, 1.0),
    )
    outer_m, z_m = BIN_HALF_M + BIN_WALL_M, TABLE_TOP_Z_M + BIN_HEIGHT_M / 2
    for sign in (-1.0, 1.0):
        for centre, size in (
            ((x_m + sign * outer_m, y_m), (BIN_WALL_M, outer_m + BIN_WALL_M)),
            ((x_m, y_m + sign * outer_m), (outer_m + BIN_WALL_M, BIN_WALL_M)),
        ):
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX, pos=(*centre, z_m), size=(*size, BIN_HEIGHT_M / 2), rgba=blue
            )


def _add_tray(spec: mujoco.MjSpec) -> None:
    red = (0.72, 0.22, 0.20, 1.0)
    x_m = BELT_X_M[1] + 0.09
    _add_decor(spec.worldbody, (x_m, BELT_Y_M, TABLE_TOP_Z_M + 0.001), (0.07, 0.08, 0.001), red)
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(x_m + 0.07, BELT_Y_M, TABLE_TOP_Z_M + 0.02),
        size=(0.004, 0.08, 0.02),
        rgba=red,
    )


def _add_decor(
    body: mujoco.MjsBody,
    position_m: tuple[float, float, float],
    half_m: tuple[float, float, float],
    rgba: tuple[float, float, float, float],
) -> None:
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=position_m, size=half_m, rgba=rgba, contype=0, conaffinity=0)
