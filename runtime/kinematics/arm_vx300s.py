"""The Interbotix ViperX 300 S: kinematics and inertias of its published URDF, shapes of our own."""

from __future__ import annotations

from math import pi
from typing import Final

from runtime.kinematics.body import ArmBody, Gripper, Inertial, Link, WristCamera, box, capsule, cylinder

_QUARTER: Final = (0.0, 0.0, pi / 2)
"""The URDF gives most inertias in axes turned a quarter about z."""
_RAIL_X_M: Final = 0.0485
"""Where our gripper's rail sits in the gripper link."""
_EE_X_M: Final = 0.042825 + 0.025875 + 0.0385
"""The URDF's ee_gripper_link in the gripper link: through ee_arm, fingers and ee_gripper."""

_LINKS: Final = (
    Link(
        xyz=(0.0, 0.0, 0.079),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0),
        inertial=Inertial(
            0.798614,
            (0.000259233, -0.0000033552, 0.0116129),
            (0.0009388, 0.001138, 0.001201, -1.0e-9, -1.91e-8, 5.9568e-6),
            _QUARTER,
        ),
        shapes=(
            cylinder("shell", (0.0, 0.0, -0.002), (0.0, 0.0, 0.014), 0.050),
            box("shell", (0.0, 0.0, 0.036), (0.030, 0.050, 0.024)),
            cylinder("accent", (0.0, 0.0, 0.004), (0.0, 0.0, 0.009), 0.0505, detail=True),
        ),
    ),
    Link(
        xyz=(0.0, 0.0, 0.04805),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 1.0, 0.0),
        inertial=Inertial(
            0.792592,
            (0.0206949, 4.0e-10, 0.226459),
            (0.008925, 0.008937, 0.0009357, 0.0, 0.0, 0.001201),
            _QUARTER,
        ),
        shapes=(
            cylinder("body", (0.0, -0.055, 0.0), (0.0, 0.055, 0.0), 0.030),
            cylinder("accent", (0.0, -0.058, 0.0), (0.0, 0.058, 0.0), 0.016, detail=True),
            capsule("shell", (0.0, 0.0, 0.040), (0.0, 0.0, 0.285), 0.028, collides=True),
            capsule("shell", (0.0, 0.0, 0.300), (0.05955, 0.0, 0.300), 0.026),
            cylinder("body", (0.05955, -0.044, 0.300), (0.05955, 0.044, 0.300), 0.030),
            cylinder("accent", (0.05955, -0.047, 0.300), (0.05955, 0.047, 0.300), 0.016, detail=True),
        ),
    ),
    Link(
        xyz=(0.05955, 0.0, 0.3),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 1.0, 0.0),
        inertial=Inertial(
            0.322228,
            (0.105723, 0.0, 0.0),
            (0.0001524, 0.001342, 0.001441, -0.00001883, -0.0000084064, 0.0000012564),
        ),
        shapes=(capsule("shell", (0.020, 0.0, 0.0), (0.160, 0.0, 0.0), 0.026, collides=True),),
    ),
    Link(
        xyz=(0.2, 0.0, 0.0),
        rpy=(0.0, 0.0, 0.0),
        axis=(1.0, 0.0, 0.0),
        inertial=Inertial(
            0.414823,
            (0.0513477, 0.00680462, 0.0),
            (0.0001753, 0.0005269, 0.0005911, -0.00008528, 0.0, 0.0),
            (pi, 0.0, 0.0),
        ),
        shapes=(
            cylinder("accent", (-0.014, 0.0, 0.0), (-0.009, 0.0, 0.0), 0.0285, detail=True),
            cylinder("body", (-0.012, 0.0, 0.0), (0.030, 0.0, 0.0), 0.028),
            capsule("shell", (0.030, 0.0, 0.0), (0.085, 0.0, 0.0), 0.024, collides=True),
        ),
    ),
    Link(
        xyz=(0.1, 0.0, 0.0),
        rpy=(0.0, 0.0, 0.0),
        axis=(0.0, 1.0, 0.0),
        inertial=Inertial(
            0.115395,
            (0.046743, -0.0000076652, 0.010565),
            (0.00004631, 0.00004514, 0.0000527, 1.95e-8, 2.3e-9, 0.0000042002),
            _QUARTER,
        ),
        shapes=(
            cylinder("body", (0.0, -0.036, 0.0), (0.0, 0.036, 0.0), 0.026),
            cylinder("accent", (0.0, -0.039, 0.0), (0.0, 0.039, 0.0), 0.014, detail=True),
            box("shell", (0.036, 0.0, 0.0), (0.028, 0.022, 0.022)),
        ),
    ),
    Link(
        xyz=(0.069744, 0.0, 0.0),
        rpy=(0.0, 0.0, 0.0),
        axis=(1.0, 0.0, 0.0),
        # Gripper link, propeller and bar of the URDF as one body.
        inertial=Inertial(0.256661, (0.03954, 0.0, 0.0039), (3.56e-4, 1.58e-4, 3.76e-4, 0.0, 0.0, 0.0)),
        shapes=(
            cylinder("accent", (-0.009, 0.0, 0.0), (-0.0045, 0.0, 0.0), 0.0265, detail=True),
            box("shell", (0.016, 0.0, 0.006), (0.020, 0.026, 0.026)),
            box("body", (0.042, 0.0, 0.0), (0.0075, 0.062, 0.020), collides=True),
            box("metal", (0.0505, 0.0, 0.0), (0.0015, 0.058, 0.007), detail=True),
            box("shell", (0.020, 0.0, 0.045), (0.006, 0.012, 0.028), detail=True),
            box("metal", (0.023, 0.0, 0.072), (0.011, 0.045, 0.0125), rpy=(0.0, 0.45, 0.0), detail=True),
        ),
    ),
)

VX300S_BODY: Final = ArmBody(
    name="vx300s",
    base_x_m=0.30,
    base_y_m=-0.47,
    base_z_m=0.74,
    base_shapes=(
        box("shell", (-0.020, 0.0, 0.016), (0.085, 0.060, 0.0155)),
        cylinder("shell", (0.0, 0.0, 0.031), (0.0, 0.0, 0.075), 0.052, collides=True),
    ),
    links=_LINKS,
    gripper=Gripper(
        origin=(_RAIL_X_M, 0.0, 0.0),
        rpy=(0.0, 0.0, 0.0),
        tcp_x_m=_EE_X_M - _RAIL_X_M,
        pad=box("rubber", (0.0455, 0.0045, 0.0), (0.0255, 0.0045, 0.011), collides=True),
        finger_shapes=(
            box("body", (0.020, 0.015, 0.0), (0.016, 0.0065, 0.013)),
            box("body", (0.047, 0.011, 0.0), (0.022, 0.0025, 0.012)),
        ),
        finger_mass_kg=0.034796,
        stiffness_n_m=3000.0,
        damping_n_s_m=60.0,
    ),
    camera=WristCamera(xyz=(0.034, 0.0, 0.072), pitch_rad=0.45, fovy_deg=58.0),
    stiffness=(1000.0, 1500.0, 1000.0, 300.0, 150.0, 80.0),
    damping=(30.0, 45.0, 30.0, 8.0, 4.0, 2.0),
    armature=(0.03, 0.03, 0.03, 0.015, 0.01, 0.01),
    joint_damping=(0.5, 0.5, 0.5, 0.2, 0.1, 0.1),
    body_rgba=(0.36, 0.38, 0.41, 1.0),
    accent_rgba=(0.10, 0.62, 0.60, 1.0),
)
