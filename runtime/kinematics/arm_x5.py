"""The ARX X5: kinematics and inertias of its published URDF (arx5-interface 0.1.5), shapes of our own."""

from __future__ import annotations

from math import pi
from typing import Final

from runtime.kinematics.body import (
    ArmBody,
    Gripper,
    Inertial,
    Link,
    WristCamera,
    box,
    capsule,
    cylinder,
)

_FINGER_MASS_KG: Final = 0.05
_GRIPPER_X_M: Final = 0.0736
"""The fingers' slide rail in link 6."""
_EEF_X_M: Final = 0.145
"""The URDF's eef_link in link 6."""

_LINKS: Final = (
    Link(
        xyz=(0.0, 0.0, 0.0603),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(0.064, (0.00571213, 0.0002547, 0.01750661), (0.00008, 0.00003, 0.00007, 0.0, 0.00001, 0.0)),
        shapes=(
            cylinder("shell", (0.0, 0.0, -0.006), (0.0, 0.0, 0.016), 0.043),
            box("shell", (0.012, 0.0, 0.028), (0.026, 0.028, 0.022)),
        ),
    ),
    Link(
        xyz=(0.02, 0.0, 0.0402),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 1.0, 0.0),
        inertial=Inertial(
            1.165,
            (-0.13225701, 0.00072373, 4.274e-5),
            (0.00057063, 0.03669927, 0.03683489, 0.00011251, 0.00001979, 1.203e-8),
        ),
        shapes=(
            cylinder("shell", (0.0, -0.043, 0.0), (0.0, 0.043, 0.0), 0.036),
            cylinder("accent", (0.0, -0.046, 0.0), (0.0, 0.046, 0.0), 0.022, detail=True),
            capsule("body", (-0.035, 0.0, 0.0), (-0.235, 0.0, 0.0), 0.029, collides=True),
            cylinder("shell", (-0.264, -0.04, 0.0), (-0.264, 0.04, 0.0), 0.034),
            cylinder("accent", (-0.264, -0.043, 0.0), (-0.264, 0.043, 0.0), 0.020, detail=True),
        ),
    ),
    Link(
        xyz=(-0.264, 0.0, 0.0),
        rpy=(-pi, 0.0, 0.0),
        axis=(0.0, 1.0, 0.0),
        inertial=Inertial(
            0.546,
            (0.19096098, 0.00069065, -0.05342172),
            (0.00178249, 0.02486615, 0.02329476, -0.00003986, 0.00571, 1.346e-5),
        ),
        shapes=(
            capsule("shell", (0.0, 0.0, 0.0), (0.06, 0.0, -0.056), 0.022),
            capsule("body", (0.055, 0.0, -0.056), (0.215, 0.0, -0.056), 0.025, collides=True),
        ),
    ),
    Link(
        xyz=(0.245, 0.0, -0.056),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 1.0, 0.0),
        inertial=Inertial(
            0.080971,
            (0.03092317, 0.0066107, -0.03138504),
            (0.00017832, 0.00021182, 0.00011328, 0.00001697, 0.0000776, -0.00001779),
        ),
        shapes=(
            cylinder("shell", (0.0, -0.034, 0.0), (0.0, 0.034, 0.0), 0.029),
            cylinder("accent", (0.0, -0.037, 0.0), (0.0, 0.037, 0.0), 0.017, detail=True),
            capsule("shell", (0.0, 0.0, -0.004), (0.06575, -0.001, -0.004), 0.022),
            cylinder("body", (0.06575, -0.001, -0.045), (0.06575, -0.001, -0.012), 0.026, collides=True),
        ),
    ),
    Link(
        xyz=(0.06575, -0.001, -0.0825),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(
            0.655,
            (0.0040681, 0.00000885, 0.05120675),
            (0.00254972, 0.00255018, 0.00026961, 2.6e-7, -0.00021534, -5.98e-7),
        ),
        shapes=(cylinder("shell", (0.0, 0.0, 0.062), (0.0, 0.0, 0.108), 0.024),),
    ),
    Link(
        xyz=(0.02845, 0.0, 0.0825),
        rpy=(-pi, 0.0, 0.0),
        axis=(1.0, 0.0, 0.0),
        # The URDF's link 6 carries the gripper with its fingers; ours weighs the fingers on their own.
        inertial=Inertial(
            0.581 - 2 * _FINGER_MASS_KG, (0.04435, 0.0, 0.0), (0.00022, 0.00021, 0.00034, 0.0, 0.0, -0.00001)
        ),
        shapes=(
            cylinder("body", (-0.004, 0.0, 0.0), (0.044, 0.0, 0.0), 0.030),
            cylinder("accent", (0.030, 0.0, 0.0), (0.036, 0.0, 0.0), 0.0305, detail=True),
            box("shell", (0.062, 0.0, 0.0), (0.020, 0.058, 0.021), collides=True),
            box("metal", (0.0835, 0.0, 0.0), (0.0025, 0.055, 0.008), detail=True),
            box("shell", (0.050, 0.0, 0.045), (0.006, 0.012, 0.026), detail=True),
            box("metal", (0.055, 0.0, 0.070), (0.011, 0.045, 0.0125), rpy=(0.0, 0.45, 0.0), detail=True),
        ),
    ),
)

X5_BODY: Final = ArmBody(
    name="x5",
    base_x_m=0.30,
    base_y_m=-0.417,
    base_z_m=0.7775,
    base_shapes=(
        box("metal", (0.0, 0.0, -0.0165), (0.075, 0.075, 0.0205)),
        cylinder("shell", (0.0, 0.0, 0.004), (0.0, 0.0, 0.050), 0.047, collides=True),
        cylinder("accent", (0.0, 0.0, 0.044), (0.0, 0.0, 0.0505), 0.0475, detail=True),
    ),
    links=_LINKS,
    gripper=Gripper(
        origin=(_GRIPPER_X_M, 0.0, 0.0),
        rpy=(0.0, 0.0, 0.0),
        tcp_x_m=_EEF_X_M - _GRIPPER_X_M,
        pad=box("rubber", (0.0585, 0.0045, 0.0), (0.0265, 0.0045, 0.011), collides=True),
        finger_shapes=(
            box("body", (0.032, 0.015, 0.0), (0.018, 0.0065, 0.013)),
            box("body", (0.060, 0.011, 0.0), (0.022, 0.0025, 0.012)),
        ),
        finger_mass_kg=_FINGER_MASS_KG,
        stiffness_n_m=3000.0,
        damping_n_s_m=60.0,
    ),
    camera=WristCamera(xyz=(0.07, 0.0, 0.065), pitch_rad=0.45, fovy_deg=58.0),
    stiffness=(1000.0, 1500.0, 1000.0, 300.0, 150.0, 80.0),
    damping=(30.0, 45.0, 30.0, 8.0, 4.0, 2.0),
    armature=(0.03, 0.03, 0.03, 0.015, 0.01, 0.01),
    joint_damping=(0.5, 0.5, 0.5, 0.2, 0.1, 0.1),
    body_rgba=(0.80, 0.81, 0.83, 1.0),
    accent_rgba=(1.0, 0.46, 0.06, 1.0),
)
