"""Turn an arm's data into MuJoCo bodies, joints, actuators and a wrist camera on a spec.

Names carry the side: bodies `left_base`, `left_link1` .. `left_link6`, `left_finger1`, `left_finger2`; joints
`left_joint1` .. `left_joint6`, `left_finger1`, `left_finger2`; actuators `left_joint1` .. and `left_gripper`; site
`left_tcp` between the finger tips (x along the fingers, y the opening direction); camera `cam_left_wrist`.
"""

from __future__ import annotations

from itertools import combinations
from math import pi
from typing import Any, Final

import mujoco
import numpy as np

from runtime.arms import ArmModel
from runtime.kinematics.body import ArmBody, Inertial, Shape, Vector3
from runtime.kinematics.rotations import quaternion, rpy_matrix
from runtime.layout import ARM_GRIPPER, Side

DETAIL_GROUP: Final = 2
"""Geom group of the shapes that only the rich look draws."""

_GEOM_TYPE: Final = {
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
}
_FINGER_SIGN: Final = (1.0, -1.0)
_SELF_CONTACT_DISTANCE: Final = 3
"""Links of one arm nearer than this in the chain never touch each other: their shapes overlap by design."""
PAD_FRICTION: Final[Vector3] = (1.8, 0.02, 0.0005)


def add_arm(spec: mujoco.MjSpec, body: ArmBody, model: ArmModel, side: Side) -> None:
    """Stand one arm at its place in the world, with its limits and servos from `model`."""
    sign = -1.0 if side == "left" else 1.0
    base = spec.worldbody.add_body(
        name=f"{side}_base",
        pos=(sign * body.base_x_m, body.base_y_m, body.base_z_m),
        quat=quaternion(rpy_matrix((0.0, 0.0, pi / 2))),
    )
    _add_shapes(base, body.base_shapes, side)
    chain = [f"{side}_base"]
    parent = base
    for i, link in enumerate(body.links):
        parent = parent.add_body(
            name=f"{side}_link{i + 1}", pos=link.xyz, quat=quaternion(rpy_matrix(link.rpy)), gravcomp=1.0
        )
        chain.append(parent.name)
        _set_inertial(parent, link.inertial)
        _add_shapes(parent, link.shapes, side)
        _add_hinge(spec, parent, body, model, index=i, side=side)
    fingers = _add_gripper(spec, parent, body, model, side)
    _add_camera(parent, body, side)
    for (i, first), (j, second) in combinations(enumerate(chain), 2):
        if j - i < _SELF_CONTACT_DISTANCE:
            spec.add_exclude(bodyname1=first, bodyname2=second)
    for finger in fingers:
        for link_name in chain[-(_SELF_CONTACT_DISTANCE - 1) :]:
            spec.add_exclude(bodyname1=finger, bodyname2=link_name)
    spec.add_exclude(bodyname1=fingers[0], bodyname2=fingers[1])


def _add_hinge(spec: mujoco.MjSpec, link: Any, body: ArmBody, model: ArmModel, *, index: int, side: Side) -> None:
    name = f"{side}_joint{index + 1}"
    limits = (model.position_min[index], model.position_max[index])
    torque = model.torque_max[index]
    link.add_joint(
        name=name,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=body.links[index].axis,
        range=limits,
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        damping=body.joint_damping[index],
        armature=body.armature[index],
        # Gravity is carried by the motors, as in the real controllers: it counts as effort and against the limit.
        actgravcomp=True,
        actfrclimited=mujoco.mjtLimited.mjLIMITED_TRUE,
        actfrcrange=(-torque, torque),
    )
    actuator = spec.add_actuator(
        name=name,
        target=name,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        ctrlrange=limits,
        ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
    )
    actuator.set_to_position(kp=body.stiffness[index], kv=body.damping[index])


def _add_gripper(spec: mujoco.MjSpec, link6: Any, body: ArmBody, model: ArmModel, side: Side) -> tuple[str, ...]:
    gripper = body.gripper
    travel = model.gripper_stroke_m / 2
    turn = rpy_matrix(gripper.rpy)
    names = tuple(f"{side}_finger{i + 1}" for i in range(len(_FINGER_SIGN)))
    tendon = spec.add_tendon(name=f"{side}_gripper")
    for name, sign in zip(names, _FINGER_SIGN, strict=True):
        finger = link6.add_body(name=name, pos=gripper.origin, quat=quaternion(turn), gravcomp=1.0)
        finger.mass = gripper.finger_mass_kg
        finger.ipos = (gripper.tcp_x_m / 2, sign * 0.008, 0.0)
        finger.inertia = (5e-6, 2e-5, 2e-5)
        finger.explicitinertial = True
        finger.add_joint(
            name=name,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0.0, sign, 0.0),
            range=(0.0, travel),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            damping=2.0,
            armature=0.05,
        )
        _add_shapes(finger, tuple(_mirrored(shape, sign) for shape in gripper.finger_shapes), side)
        pad = _add_shape(finger, _mirrored(gripper.pad, sign), side)
        pad.name = f"{name}_pad"
        pad.friction = PAD_FRICTION
        pad.condim = 4
        pad.priority = 1
        pad.solref = (0.004, 1.0)
        pad.solimp = (0.95, 0.99, 0.001, 0.5, 2.0)
        tendon.wrap_joint(name, 0.5)
    link6.add_site(
        name=f"{side}_tcp",
        pos=np.array(gripper.origin) + turn @ np.array([gripper.tcp_x_m, 0.0, 0.0]),
        quat=quaternion(turn),
        size=(0.004, 0.004, 0.004),
        group=5,
    )
    # One motor drives both fingers through a rack: the constraint is the rack, the tendon the motor.
    spec.add_equality(
        name=f"{side}_rack",
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=names[0],
        name2=names[1],
        data=(0.0, 1.0, *([0.0] * 10)),
        solref=(0.004, 1.0),
    )
    force = model.torque_max[ARM_GRIPPER]
    actuator = spec.add_actuator(
        name=f"{side}_gripper",
        target=f"{side}_gripper",
        trntype=mujoco.mjtTrn.mjTRN_TENDON,
        ctrlrange=(0.0, travel),
        ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
        forcerange=(-force, force),
        forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE,
    )
    actuator.set_to_position(kp=gripper.stiffness_n_m, kv=gripper.damping_n_s_m)
    return names


def _add_camera(link6: Any, body: ArmBody, side: Side) -> None:
    # A MuJoCo camera looks along -z with y up: columns are its right, up and backward axes in the gripper's frame.
    c, s = np.cos(body.camera.pitch_rad), np.sin(body.camera.pitch_rad)
    turn = rpy_matrix(body.gripper.rpy)
    axes = np.array([[0.0, s, -c], [-1.0, 0.0, 0.0], [0.0, c, s]])
    link6.add_camera(
        name=f"cam_{side}_wrist",
        pos=turn @ np.array(body.camera.xyz),
        quat=quaternion(turn @ axes),
        fovy=body.camera.fovy_deg,
    )


def _set_inertial(body: Any, inertial: Inertial) -> None:
    xx, yy, zz, xy, xz, yz = inertial.inertia
    turn = rpy_matrix(inertial.rpy)
    full = turn @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn.T
    body.mass = inertial.mass_kg
    body.ipos = inertial.com
    body.fullinertia = (full[0, 0], full[1, 1], full[2, 2], full[0, 1], full[0, 2], full[1, 2])
    body.explicitinertial = True


def _mirrored(shape: Shape, sign: float) -> Shape:
    if sign > 0:
        return shape
    (x, y, z), (ex, ey, ez), (roll, pitch, yaw) = shape.start, shape.end, shape.rpy
    return Shape(
        shape.kind,
        shape.material,
        (x, -y, z),
        (ex, -ey, ez),
        shape.radius_m,
        shape.half_m,
        (-roll, pitch, -yaw),
        shape.collides,
        shape.detail,
    )


def _add_shapes(body: Any, shapes: tuple[Shape, ...], side: Side) -> None:
    for shape in shapes:
        _add_shape(body, shape, side)


def _add_shape(body: Any, shape: Shape, side: Side) -> Any:
    geom = body.add_geom(type=_GEOM_TYPE[shape.kind], material=f"{side}_{shape.material}", density=0.0)
    if shape.kind == "box":
        geom.pos = shape.start
        geom.size = shape.half_m
        geom.quat = quaternion(rpy_matrix(shape.rpy))
    else:
        geom.fromto = (*shape.start, *shape.end)
        geom.size = (shape.radius_m, 0.0, 0.0)
    if not shape.collides:
        geom.contype = 0
        geom.conaffinity = 0
    geom.group = DETAIL_GROUP if shape.detail else 0
    return geom
