"""What one arm is made of: frames, inertias and primitive shapes, as data.

Conventions are URDF's: a link's frame sits on its own joint, `xyz` (m) and `rpy` (rad, fixed axes x-y-z) place it
in the parent link, inertias are about the centre of mass. Lengths in m, masses in kg, inertias in kg m^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Vector3 = tuple[float, float, float]
Rgba = tuple[float, float, float, float]
Vector6 = tuple[float, float, float, float, float, float]
Material = Literal["shell", "body", "accent", "metal", "rubber"]
ShapeKind = Literal["capsule", "cylinder", "box"]

ZERO3: Vector3 = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Shape:
    """One primitive on a link.

    Capsule and cylinder run from `start` to `end` with `radius_m`; a box has its centre at `start` and extends
    `half_m` to either side. `collides`: takes part in contacts. `detail`: drawn in the rich look only.
    """

    kind: ShapeKind
    material: Material
    start: Vector3
    end: Vector3 = ZERO3
    radius_m: float = 0.0
    half_m: Vector3 = ZERO3
    rpy: Vector3 = ZERO3
    collides: bool = False
    detail: bool = False


def capsule(
    material: Material,
    start: Vector3,
    end: Vector3,
    radius_m: float,
    *,
    collides: bool = False,
    detail: bool = False,
) -> Shape:
    """A capsule whose axis runs from `start` to `end`."""
    return Shape("capsule", material, start, end, radius_m, collides=collides, detail=detail)


def cylinder(
    material: Material,
    start: Vector3,
    end: Vector3,
    radius_m: float,
    *,
    collides: bool = False,
    detail: bool = False,
) -> Shape:
    """A cylinder whose axis runs from `start` to `end`."""
    return Shape("cylinder", material, start, end, radius_m, collides=collides, detail=detail)


def box(
    material: Material,
    centre: Vector3,
    half_m: Vector3,
    *,
    rpy: Vector3 = ZERO3,
    collides: bool = False,
    detail: bool = False,
) -> Shape:
    """A box at `centre` with half extents `half_m`, turned by `rpy`."""
    return Shape("box", material, centre, half_m=half_m, rpy=rpy, collides=collides, detail=detail)


@dataclass(frozen=True)
class Inertial:
    """Mass, centre of mass in the link's frame, and inertia (xx, yy, zz, xy, xz, yz) about it in axes turned by
    `rpy`.
    """

    mass_kg: float
    com: Vector3
    inertia: Vector6
    rpy: Vector3 = ZERO3


@dataclass(frozen=True)
class Link:
    """One moving link and the hinge that carries it."""

    xyz: Vector3
    rpy: Vector3
    axis: Vector3
    inertial: Inertial
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Gripper:
    """A parallel gripper on link 6: two fingers that slide apart symmetrically.

    `origin`, `rpy`: the gripper's frame in link 6: x along the fingers, y the direction in which they open, z the
    width of the fingers; the origin is on the centre line. `tcp_x_m`: the grasp point on that x axis. `pad`: the
    first finger's contact box, inner face at y = 0 when closed (the second finger is its mirror image).
    """

    origin: Vector3
    rpy: Vector3
    tcp_x_m: float
    pad: Shape
    finger_shapes: tuple[Shape, ...]
    finger_mass_kg: float
    stiffness_n_m: float
    damping_n_s_m: float


@dataclass(frozen=True)
class WristCamera:
    """The wrist camera: `xyz` from link 6's origin in the gripper's axes, looking along x, pitched to the fingers.

    The published mount is x = 0.07, z = 0.065 and 0.4 rad with 37 degrees of view, 32 mm off the centre line;
    ours is centred and wider, so that both finger tips and what is between them stay in view.
    """

    xyz: Vector3
    pitch_rad: float
    fovy_deg: float


@dataclass(frozen=True)
class ArmBody:
    """One arm's body, joint 1 first.

    `base_x_m`, `base_y_m`, `base_z_m`: where the right arm's base stands in the world (the left one mirrored in
    x), yaw +90 degrees. `stiffness` N.m/rad and `damping` N.m.s/rad of the position servos, several times those of
    the vendors' controllers, which add feed-forward terms; their ratio is the lag behind a moving target, about
    30 ms. `armature` kg m^2: the rotor's inertia seen at the joint. `joint_damping` N.m.s/rad.
    """

    name: str
    base_x_m: float
    base_y_m: float
    base_z_m: float
    base_shapes: tuple[Shape, ...]
    links: tuple[Link, Link, Link, Link, Link, Link]
    gripper: Gripper
    camera: WristCamera
    stiffness: Vector6
    damping: Vector6
    armature: Vector6
    joint_damping: Vector6
    body_rgba: Rgba
    accent_rgba: Rgba
