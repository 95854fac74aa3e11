"""The AgileX Piper: kinematics and inertias of its published URDF, shapes of our own.

The URDF is that of firmware S-V1.6-3 and newer (the "new DH" with its 2 degree offsets).
"""

from __future__ import annotations

from math import pi
from typing import Final

from runtime.kinematics.body import ArmBody, Gripper, Inertial, Link, WristCamera, box, capsule, cylinder

_RAIL_Z_M: Final = 0.085
"""Where our gripper's rail sits in link 6."""
_FINGER_Z_M: Final = 0.13503
"""The URDF's finger joints in link 6: the grasp point."""

_LINKS: Final = (
    Link(
        xyz=(0.0, 0.0, 0.123),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(0.71, (0.0001, 0.0001, -0.0044), (4.9e-4, 4.0e-4, 4.4e-4, 0.0, 0.0, 0.0)),
        shapes=(
            cylinder("body", (0.0, 0.0, -0.058), (0.0, 0.0, -0.012), 0.043),
            cylinder("accent", (0.0, 0.0, -0.058), (0.0, 0.0, -0.052), 0.0435, detail=True),
        ),
    ),
    Link(
        xyz=(0.0, 0.0, 0.0),
        rpy=(1.5708, -0.1359, -3.1416),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(1.17, (0.1987, -0.0109, 0.0014), (1.17e-3, 0.0679, 0.0677, 0.0, 0.0, 0.0)),
        shapes=(
            cylinder("shell", (0.0, 0.0, -0.046), (0.0, 0.0, 0.046), 0.041),
            cylinder("accent", (0.0, 0.0, -0.049), (0.0, 0.0, 0.049), 0.024, detail=True),
            capsule("body", (0.038, 0.0, 0.0), (0.250, 0.0, 0.0), 0.031, collides=True),
            cylinder("shell", (0.28503, 0.0, -0.042), (0.28503, 0.0, 0.042), 0.036),
            cylinder("accent", (0.28503, 0.0, -0.045), (0.28503, 0.0, 0.045), 0.021, detail=True),
        ),
    ),
    Link(
        xyz=(0.28503, 0.0, 0.0),
        rpy=(0.0, 0.0, -1.7939),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(0.50, (-0.0203, -0.1339, -0.0005), (0.0136, 4.5e-4, 0.0138, 0.0, 0.0, 0.0)),
        shapes=(
            capsule("shell", (0.0, 0.0, 0.0), (-0.021984, -0.055, 0.0), 0.026),
            capsule("body", (-0.021984, -0.060, 0.0), (-0.021984, -0.185, 0.0), 0.028, collides=True),
        ),
    ),
    Link(
        xyz=(-0.021984, -0.25075, 0.0),
        rpy=(1.5708, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(0.38, (-0.0001, 0.0009, -0.0050), (1.85e-4, 1.90e-4, 1.55e-4, 0.0, 0.0, 0.0)),
        shapes=(
            cylinder("shell", (0.0, 0.0, -0.045), (0.0, 0.0, 0.0), 0.029),
            cylinder("accent", (0.0, 0.0, -0.046), (0.0, 0.0, -0.041), 0.0295, detail=True),
            cylinder("shell", (0.0, -0.036, 0.0), (0.0, 0.036, 0.0), 0.029),
        ),
    ),
    Link(
        xyz=(0.0, 0.0, 0.0),
        rpy=(-1.5708, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(0.383, (0.0, -0.0567, -0.0037), (1.66e-3, 1.85e-4, 1.64e-3, 0.0, 0.0, 0.0)),
        shapes=(
            cylinder("accent", (0.0, 0.0, -0.039), (0.0, 0.0, 0.039), 0.017, detail=True),
            capsule("body", (0.0, -0.030, 0.0), (0.0, -0.055, 0.0), 0.027, collides=True),
        ),
    ),
    Link(
        xyz=(8.8e-5, -0.091, 0.0),
        rpy=(1.5708, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0),
        # The flange (0.007 kg) and the gripper's body, about 0.3 kg.
        inertial=Inertial(0.307, (0.0, 0.0, 0.052), (3.5e-4, 1.6e-4, 3.1e-4, 0.0, 0.0, 0.0)),
        shapes=(
            cylinder("shell", (0.0, 0.0, -0.012), (0.0, 0.0, 0.030), 0.029),
            cylinder("accent", (0.0, 0.0, 0.006), (0.0, 0.0, 0.012), 0.0295, detail=True),
            box("body", (0.0, 0.0, 0.052), (0.027, 0.040, 0.024)),
            box("shell", (0.0, 0.0, 0.076), (0.021, 0.054, 0.012), collides=True),
            box("metal", (0.0, 0.0, 0.0895), (0.008, 0.050, 0.002), detail=True),
            box("shell", (-0.045, 0.0, 0.045), (0.026, 0.012, 0.006), detail=True),
            box("metal", (-0.070, 0.0, 0.048), (0.0125, 0.045, 0.011), rpy=(0.0, -0.45, 0.0), detail=True),
        ),
    ),
)

PIPER_BODY: Final = ArmBody(
    name="piper",
    base_x_m=0.30,
    base_y_m=-0.45,
    base_z_m=0.765,
    base_shapes=(
        box("metal", (0.0, 0.0, -0.0100), (0.075, 0.075, 0.0145)),
        cylinder("shell", (0.0, 0.0, 0.0045), (0.0, 0.0, 0.064), 0.049, collides=True),
        box("shell", (-0.045, 0.0, 0.026), (0.025, 0.030, 0.0215)),
    ),
    links=_LINKS,
    gripper=Gripper(
        origin=(0.0, 0.0, _RAIL_Z_M),
        rpy=(0.0, -pi / 2, 0.0),
        tcp_x_m=_FINGER_Z_M - _RAIL_Z_M,
        pad=box("rubber", (0.0365, 0.0045, 0.0), (0.0255, 0.0045, 0.011), collides=True),
        finger_shapes=(
            box("shell", (0.016, 0.014, 0.0), (0.012, 0.0065, 0.013)),
            box("shell", (0.037, 0.011, 0.0), (0.022, 0.0025, 0.012)),
        ),
        finger_mass_kg=0.026,
        stiffness_n_m=3000.0,
        damping_n_s_m=60.0,
    ),
    camera=WristCamera(xyz=(0.06, 0.0, 0.07), pitch_rad=0.45, fovy_deg=58.0),
    stiffness=(1000.0, 1500.0, 1000.0, 300.0, 150.0, 80.0),
    damping=(30.0, 45.0, 30.0, 8.0, 4.0, 2.0),
    armature=(0.03, 0.03, 0.03, 0.015, 0.01, 0.01),
    joint_damping=(0.5, 0.5, 0.5, 0.2, 0.1, 0.1),
    body_rgba=(0.84, 0.85, 0.86, 1.0),
    accent_rgba=(0.10, 0.45, 0.85, 1.0),
)
