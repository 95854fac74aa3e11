"""The simulated rig: table, light, cameras, two arms and a task, assembled into one MuJoCo model.

World frame (m): the robot faces +y, left arm at x < 0, table top at z = 0.74. Placement of bases and cameras
follows RoboTwin's aloha-agilex embodiment; a D435's vertical field of view is 37 degrees.
"""

from __future__ import annotations

from typing import Final

import mujoco
import numpy as np

from runtime.arms import ARM_MODELS
from runtime.drivers.sim.arm_builder import DETAIL_GROUP, add_arm
from runtime.drivers.sim.task import Task
from runtime.drivers.sim.texture import floor_texture, wood_texture
from runtime.errors import unknown_name
from runtime.kinematics import ARM_BODIES
from runtime.kinematics.body import ArmBody, Vector3
from runtime.kinematics.rotations import quaternion
from runtime.layout import SIDES, Side

TIMESTEP_S: Final = 0.002
TABLE_TOP_Z_M: Final = 0.74
TABLE_CENTRE_Y_M: Final = -0.10
TABLE_HALF_M: Final[tuple[float, float]] = (0.68, 0.48)
TABLE_THICKNESS_M: Final = 0.04
D435_FOVY_DEG: Final = 37.0

_FIXED_CAMERAS: Final[dict[str, tuple[Vector3, Vector3]]] = {
    "cam_high": ((-0.032, -0.45, 1.35), (0.0, 0.6, -0.8)),
    "cam_front": ((0.20, -0.45, 0.85), (0.0, 1.0, -0.1)),
}


def build_model(arm: str, task: Task | None = None) -> mujoco.MjModel:
    """Build the bimanual rig with arms of the model `arm` and the task's objects.

    Raises UsageError for an unknown arm.
    """
    if arm not in ARM_BODIES:
        raise unknown_name("arm", arm, ARM_BODIES)
    spec = mujoco.MjSpec()
    spec.modelname = f"leadtime-{arm}"
    _set_options(spec)
    _add_materials(spec, ARM_BODIES[arm])
    _add_surroundings(spec)
    _add_cameras(spec)
    for side in SIDES:
        add_arm(spec, ARM_BODIES[arm], ARM_MODELS[arm], side)
    if task is not None:
        task.add_to(spec)
    return spec.compile()


def _set_options(spec: mujoco.MjSpec) -> None:
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.option.iterations = 20
    spec.option.ls_iterations = 20
    spec.compiler.degree = False
    spec.stat.center = (0.0, 0.0, TABLE_TOP_Z_M)
    spec.stat.extent = 1.0
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = 12.0
    spec.visual.map.shadowclip = 1.2
    spec.visual.map.shadowscale = 0.9
    spec.visual.quality.shadowsize = 4096
    spec.visual.headlight.ambient = (0.30, 0.30, 0.32)
    spec.visual.headlight.diffuse = (0.22, 0.22, 0.22)
    spec.visual.headlight.specular = (0.05, 0.05, 0.05)
    spec.visual.rgba.haze = (0.86, 0.88, 0.91, 1.0)


def _add_materials(spec: mujoco.MjSpec, body: ArmBody) -> None:
    wood, floor = wood_texture(), floor_texture()
    for name, pixels in (("wood", wood), ("floor", floor)):
        texture = spec.add_texture(
            name=name,
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            width=pixels.shape[1],
            height=pixels.shape[0],
            nchannel=3,
        )
        texture.data = pixels.tobytes()
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.93, 0.94, 0.96),
        rgb2=(0.52, 0.60, 0.70),
        width=128,
        height=128 * 6,
    )
    table = spec.add_material(name="table", specular=0.25, shininess=0.4, reflectance=0.06)
    table.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "wood"
    ground = spec.add_material(name="floor", specular=0.1, shininess=0.1, reflectance=0.12, texrepeat=(6, 6))
    ground.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    spec.add_material(name="frame", rgba=(0.20, 0.21, 0.23, 1.0), specular=0.4, shininess=0.5)
    for side in SIDES:
        _add_arm_materials(spec, body, side)


def _add_arm_materials(spec: mujoco.MjSpec, body: ArmBody, side: Side) -> None:
    for name, rgba, specular, shininess in (
        ("shell", (0.13, 0.14, 0.155, 1.0), 0.5, 0.5),
        ("body", body.body_rgba, 0.5, 0.6),
        ("accent", body.accent_rgba, 0.4, 0.5),
        ("metal", (0.48, 0.50, 0.53, 1.0), 0.8, 0.7),
        ("rubber", (0.07, 0.07, 0.075, 1.0), 0.1, 0.1),
    ):
        spec.add_material(name=f"{side}_{name}", rgba=rgba, specular=specular, shininess=shininess)


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    world.add_light(
        name="key",
        type=mujoco.mjtLightType.mjLIGHT_SPOT,
        pos=(-0.95, -0.75, 3.1),
        dir=(0.36, 0.26, -0.90),
        cutoff=38.0,
        exponent=2.0,
        diffuse=(0.66, 0.63, 0.58),
        specular=(0.35, 0.35, 0.35),
        castshadow=True,
    )
    world.add_light(
        name="fill",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(1.4, 1.2, 2.2),
        dir=(-0.55, -0.45, -0.7),
        diffuse=(0.14, 0.155, 0.18),
        specular=(0.05, 0.05, 0.05),
        castshadow=False,
    )
    # A slab and not a plane: a plane is its own shadow caster and speckles.
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(0.0, 0.0, -0.1),
        size=(4.0, 4.0, 0.1),
        material="floor",
        friction=(0.8, 0.01, 0.001),
    )
    half_x, half_y = TABLE_HALF_M
    centre_z = TABLE_TOP_Z_M - TABLE_THICKNESS_M / 2
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(0.0, TABLE_CENTRE_Y_M, centre_z),
        size=(half_x, half_y, TABLE_THICKNESS_M / 2),
        material="table",
        friction=(1.0, 0.01, 0.001),
    )
    for x in (-1.0, 1.0):
        for y in (-1.0, 1.0):
            _add_decor(
                spec,
                (
                    x * (half_x - 0.06),
                    TABLE_CENTRE_Y_M + y * (half_y - 0.06),
                    (TABLE_TOP_Z_M - TABLE_THICKNESS_M) / 2,
                ),
                (0.03, 0.03, (TABLE_TOP_Z_M - TABLE_THICKNESS_M) / 2),
            )
    # The head camera's mast and crossbar.
    _add_decor(spec, (-0.032, -0.545, (TABLE_TOP_Z_M + 1.36) / 2), (0.018, 0.018, (1.36 - TABLE_TOP_Z_M) / 2))
    _add_decor(spec, (-0.032, -0.50, 1.355), (0.015, 0.05, 0.012))


def _add_decor(spec: mujoco.MjSpec, pos: Vector3, half_m: Vector3) -> None:
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=pos,
        size=half_m,
        material="frame",
        contype=0,
        conaffinity=0,
        group=DETAIL_GROUP,
    )


def _add_cameras(spec: mujoco.MjSpec) -> None:
    for name, (pos, forward) in _FIXED_CAMERAS.items():
        back = -np.array(forward) / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(back, right), back], axis=1)
        spec.worldbody.add_camera(name=name, pos=pos, quat=quaternion(axes), fovy=D435_FOVY_DEG)
