"""The tray that both hands hold, and the ball that rolls on it."""

from __future__ import annotations

from typing import Final

import mujoco
import numpy as np

from runtime.drivers.sim.grasp import gripper_rotation
from runtime.kinematics.body import Vector3
from runtime.kinematics.rotations import quaternion
from runtime.layout import SIDES

TRAY_HALF_M: Final = (0.21, 0.18, 0.004)
TRAY_KG: Final = 0.4
BALL_RADIUS_M: Final = 0.02
BALL_KG: Final = 0.05
REST_Z_M: Final = TRAY_HALF_M[2] + BALL_RADIUS_M
"""Height of a ball that lies on the tray, over the tray's middle."""
RING_RADIUS_M: Final = 0.03
GRIP_M: Final = np.array(((-0.30, 0.0, 0.03), (0.30, 0.0, 0.03)))
"""Where the tools hold the tray, from its middle, rows in the order of `SIDES`: as far apart as the X5's homes."""
GRIP_PITCH_RAD: Final = 1.03
"""How far the fingers point down when the tray is level: the X5's home."""
GRIP_ROTATION: Final = gripper_rotation((0.0, np.cos(GRIP_PITCH_RAD), -np.sin(GRIP_PITCH_RAD)), (-1.0, 0.0, 0.0))
GRIP_TIME_S: Final = 0.03
"""Time constant of the grips: soft, about 1 N for each millimetre by which the hands disagree."""
FRICTION: Final = (0.8, 0.005, 0.0001)
CONTACT_TIME_S: Final = 0.006
ON_TRAY_BIT: Final = 2
"""The tray touches nothing but the ball: hands and goal go through it."""

_GREY: Final = (0.72, 0.75, 0.78, 1.0)
_METAL: Final = (0.48, 0.50, 0.53, 1.0)
_WHITE: Final = (0.95, 0.97, 0.95, 1.0)
_GREEN: Final = (0.16, 0.62, 0.36, 1.0)
_ORANGE: Final = (0.93, 0.45, 0.10, 1.0)


def add_tray(spec: mujoco.MjSpec) -> None:
    """Add the free body `tray` with its ring, welded softly to both tools by its handles."""
    # Its weight is carried as the arms' own is: at rest the tray is level.
    tray = spec.worldbody.add_body(name="tray", pos=(0.0, 0.0, 1.0), gravcomp=1.0)
    tray.add_joint(name="tray", type=mujoco.mjtJoint.mjJNT_FREE)
    tray.add_geom(
        name="tray",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=TRAY_HALF_M,
        mass=TRAY_KG,
        rgba=_GREY,
        friction=FRICTION,
        contype=ON_TRAY_BIT,
        conaffinity=ON_TRAY_BIT,
        solref=(CONTACT_TIME_S, 1.0),
    )
    x_m, _, z_m = TRAY_HALF_M
    for radius_m, height_m, rgba in ((RING_RADIUS_M, 0.0006, _WHITE), (RING_RADIUS_M - 0.005, 0.0009, _GREEN)):
        tray.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            pos=(0.0, 0.0, z_m),
            size=(radius_m, height_m, 0.0),
            rgba=rgba,
            contype=0,
            conaffinity=0,
            density=0.0,
        )
    for side, grip_m in zip(SIDES, GRIP_M, strict=True):
        middle_m = float(grip_m[0] + np.sign(grip_m[0]) * x_m) / 2
        _add_decor(tray, (middle_m, 0.0, 0.0), (abs(float(grip_m[0]) - middle_m) + 0.01, 0.02, z_m), _METAL)
        _add_decor(tray, (float(grip_m[0]), 0.0, 0.018), (0.01, 0.014, 0.022), _METAL)
        tray.add_site(name=f"grip_{side}", pos=grip_m, quat=quaternion(GRIP_ROTATION), size=(0.004,) * 3, group=5)
        spec.add_equality(
            name=f"grip_{side}",
            type=mujoco.mjtEq.mjEQ_WELD,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            name1=f"grip_{side}",
            name2=f"{side}_tcp",
            data=(*([0.0] * 10), 1.0, 0.0),
            solref=(GRIP_TIME_S, 1.0),
        )


def add_ball(spec: mujoco.MjSpec) -> None:
    """Add the free body `ball`, and the sensors that say where it is and how it moves, seen from the tray."""
    ball = spec.worldbody.add_body(name="ball", pos=(0.0, 0.0, 1.1))
    ball.add_joint(name="ball", type=mujoco.mjtJoint.mjJNT_FREE)
    ball.add_geom(
        name="ball",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=(BALL_RADIUS_M, 0.0, 0.0),
        mass=BALL_KG,
        rgba=_ORANGE,
        friction=FRICTION,
        contype=1 | ON_TRAY_BIT,
        conaffinity=1 | ON_TRAY_BIT,
        solref=(CONTACT_TIME_S, 1.0),
    )
    for name, kind in (
        ("ball_position", mujoco.mjtSensor.mjSENS_FRAMEPOS),
        ("ball_velocity", mujoco.mjtSensor.mjSENS_FRAMELINVEL),
    ):
        spec.add_sensor(
            name=name,
            type=kind,
            objtype=mujoco.mjtObj.mjOBJ_BODY,
            objname="ball",
            reftype=mujoco.mjtObj.mjOBJ_BODY,
            refname="tray",
        )


def add_frame(spec: mujoco.MjSpec) -> None:
    """Add the mocap body `goal`: the outline of a tray, where the tray is to go."""
    x_m, y_m, _ = TRAY_HALF_M
    goal = spec.worldbody.add_body(name="goal", mocap=True)
    for sign in (-1.0, 1.0):
        _add_decor(goal, (sign * x_m, 0.0, 0.0), (0.003, y_m, 0.003), _GREEN)
        _add_decor(goal, (0.0, sign * y_m, 0.0), (x_m, 0.003, 0.003), _GREEN)


def _add_decor(body: mujoco.MjsBody, position_m: Vector3, half_m: Vector3, rgba: tuple[float, ...]) -> None:
    """Add a box to be seen and not touched."""
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=position_m,
        size=half_m,
        rgba=rgba,
        contype=0,
        conaffinity=0,
        density=0.0,
    )
