"""The arm that a policy was made for, where it is not the rig's: joint angles of its own <-> where its hand is."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import mujoco
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.kinematics.body import ZERO3, Vector3
from runtime.kinematics.ik import ArmIk, IkSolution
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import quaternion, rpy_matrix

NAME: Final = "own"
LINK_KG, LINK_KG_M2 = 1.0, 1e-3
"""Any mass above 0: MuJoCo takes no moving body without, and nothing here is moved by forces."""


class OwnJoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A joint by Denavit and Hartenberg's modified parameters (Craig, Introduction to Robotics, 1986).

    From the frame before it: `a_m` along x, `alpha_rad` about x, then `d_m` along z, about which it turns.
    """

    a_m: float = 0.0
    alpha_rad: float = 0.0
    d_m: float = 0.0
    min_rad: float
    max_rad: float


class Placed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place: m, and URDF's roll, pitch, yaw in rad."""

    xyz_m: Vector3 = ZERO3
    rpy_rad: Vector3 = ZERO3

    @property
    def pose(self) -> Pose:
        """The same as a pose."""
        return Pose(np.array(self.xyz_m), rpy_matrix(self.rpy_rad))


class OwnArm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Its joints, base first.

    `hand`: seen from the last joint's frame, the point between the finger tips, x along the fingers and y the way they
    open, as the rig's hands have it. `base`: where it would stand, in the embodiment's frame. `home_rad`: the posture
    near which its own is looked for when an episode begins.
    """

    joints: Annotated[tuple[OwnJoint, ...], Meta(min_length=1, max_length=16)]
    home_rad: tuple[float, ...]
    hand: Placed = Placed()
    base: Placed = Placed()

    def fault(self) -> str:
        """Return what is wrong, in a line; empty where nothing is."""
        if len(self.home_rad) != len(self.joints):
            return f"has {len(self.home_rad)} angles in 'own_arm.home_rad' for {len(self.joints)} joints"
        for i, (joint, home) in enumerate(zip(self.joints, self.home_rad, strict=True)):
            if not joint.min_rad < joint.max_rad:
                return f"has no range from 'min_rad' to 'max_rad' in 'own_arm.joints[{i}]'"
            if not joint.min_rad <= home <= joint.max_rad:
                return f"has {home} in 'own_arm.home_rad[{i}]'; that joint goes from {joint.min_rad} to {joint.max_rad}"
        return ""


class OwnKinematics:
    """Its joints (n,) in rad <-> the pose of its hand in the frame in which its base is given."""

    def __init__(self, arm: OwnArm) -> None:
        """Build its model; `arm` has no fault."""
        spec = mujoco.MjSpec()
        base = arm.base.pose
        body: Any = spec.worldbody.add_body(pos=base.position, quat=quaternion(base.rotation))
        for i, joint in enumerate(arm.joints, 1):
            turn = rpy_matrix((joint.alpha_rad, 0.0, 0.0))
            place = (joint.a_m, *(turn @ (0.0, 0.0, joint.d_m))[1:])
            body = body.add_body(pos=place, quat=quaternion(turn), mass=LINK_KG, inertia=[LINK_KG_M2] * 3)
            body.explicitinertial = True
            limits = (joint.min_rad, joint.max_rad)
            body.add_joint(name=f"{NAME}_joint{i}", type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, 0, 1), range=limits)
        hand = arm.hand.pose
        body.add_site(name=f"{NAME}_tcp", pos=hand.position, quat=quaternion(hand.rotation))
        spec.compiler.degree = False
        self._ik = ArmIk(spec.compile(), NAME, joints=len(arm.joints), margin_rad=0.0)
        self._base = base
        self.home = np.array(arm.home_rad)

    def forward(self, angles: NDArray[np.float64]) -> Pose:
        """Return the pose of its hand."""
        return self._ik.forward(angles)

    def in_base(self, angles: NDArray[np.float64]) -> Pose:
        """Return the pose of its hand in its own base's frame."""
        return self.forward(angles).seen_from(self._base)

    def solve(self, goal: Pose, near: NDArray[np.float64]) -> IkSolution:
        """Return the posture nearest to the pose that is found from `near`."""
        return self._ik.solve(goal, near)
