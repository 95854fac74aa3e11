"""The arms as capsules: what a collision check needs of a link, and never less than the link."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import hypot
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.kinematics import ARM_BODIES
from runtime.kinematics.body import Shape, box
from runtime.kinematics.rotations import rpy_matrix

Array = NDArray[np.float64]

PROUD_M: Final = 0.002
"""A shape that sticks out of another of its link by no more than this is left to the other's clearance."""
_SHARES: Final = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True)
class Capsule:
    """All points within `radius_m` of the line from `start` to `end`, each (3,) in m in the link's frame."""

    start: Array
    end: Array
    radius_m: float

    def holds(self, other: Capsule) -> bool:
        """Whether another capsule is inside, but for `PROUD_M`."""
        return all(
            _distance(point, self) + other.radius_m <= self.radius_m + PROUD_M for point in (other.start, other.end)
        )


def enclosing(shape: Shape) -> Capsule:
    """Return the smallest capsule along a shape's longest axis that encloses it."""
    if shape.kind == "capsule":
        return Capsule(np.array(shape.start), np.array(shape.end), shape.radius_m)
    if shape.kind == "cylinder":
        start, end = np.array(shape.start), np.array(shape.end)
        centre, axis = (start + end) / 2.0, (end - start) / 2.0
        half, across = float(np.linalg.norm(axis)), shape.radius_m
    else:
        longest = int(np.argmax(shape.half_m))
        centre, half = np.array(shape.start), shape.half_m[longest]
        axis = rpy_matrix(shape.rpy)[:, longest] * half
        across = hypot(*(shape.half_m[i] for i in range(3) if i != longest))
    # A shorter line takes a larger radius to reach the corners.
    radii = np.hypot(half * (1.0 - _SHARES), across)
    volumes = radii**2 * (2.0 * half * _SHARES + radii * 4.0 / 3.0)
    best = int(np.argmin(volumes))
    return Capsule(centre - axis * _SHARES[best], centre + axis * _SHARES[best], float(radii[best]))


def covering(shapes: tuple[Shape, ...]) -> tuple[Capsule, ...]:
    """Return capsules that cover the shapes of a link, the largest first, without those inside another."""
    kept: list[Capsule] = []
    for capsule in sorted(map(enclosing, shapes), key=_bulk, reverse=True):
        if not any(other.holds(capsule) for other in kept):
            kept.append(capsule)
    return tuple(kept)


@cache
def link_capsules(arm: str) -> tuple[tuple[Capsule, ...], ...]:
    """Return an arm's capsules: the base, links 1 to 6, and the first finger (the second is its mirror image in y)."""
    body = ARM_BODIES[arm]
    links = (covering(shapes) for shapes in (body.base_shapes, *(link.shapes for link in body.links)))
    return *links, (enclosing(_around((*body.gripper.finger_shapes, body.gripper.pad))),)


def _around(boxes: tuple[Shape, ...]) -> Shape:
    """Return the box around boxes that are not turned."""
    low = np.min([np.subtract(part.start, part.half_m) for part in boxes], axis=0)
    high = np.max([np.add(part.start, part.half_m) for part in boxes], axis=0)
    centre, half = ((low + high) / 2.0).tolist(), ((high - low) / 2.0).tolist()
    return box(boxes[0].material, (centre[0], centre[1], centre[2]), (half[0], half[1], half[2]))


def _bulk(capsule: Capsule) -> float:
    return capsule.radius_m + float(np.linalg.norm(capsule.end - capsule.start)) / 2.0


def _distance(point: Array, capsule: Capsule) -> float:
    """Distance from a point to a capsule's line."""
    along = capsule.end - capsule.start
    length = float(along @ along)
    share = float(np.clip((point - capsule.start) @ along / length, 0.0, 1.0)) if length > 0.0 else 0.0
    return float(np.linalg.norm(point - capsule.start - share * along))
