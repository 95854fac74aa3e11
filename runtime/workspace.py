"""Where the arms stand and what they must stay clear of, as a rig file has it under `workspace`.

Lengths in m in the world's frame: x to the right and y ahead as the robot faces, z up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from runtime.kinematics import ARM_BODIES
from runtime.kinematics.body import Vector3
from runtime.layout import Side

Margin = Annotated[float, Meta(ge=0.0, le=0.5)]


class Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A box along the world's axes, from `min_m` to `max_m`."""

    min_m: Vector3
    max_m: Vector3

    @property
    def is_solid(self) -> bool:
        """Whether it has a volume."""
        return all(low < high for low, high in zip(self.min_m, self.max_m, strict=True))


class Zone(Box, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A box in which an arm's joints keep to a fraction of their velocity limits."""

    speed_fraction: Annotated[float, Meta(gt=0.0, le=1.0)]


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where an arm's base stands: its origin, and its yaw (rad); at 0 the arm reaches along +x."""

    xyz_m: Vector3
    yaw_rad: float = 1.5707963267948966


class Workspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the commanded path is checked against, ahead of time.

    `bases` are needed for all but an arm against itself: without them the arms are not checked against each other, nor
    may there be a table or boxes. A simulated rig has its own and takes none. `margin_m` is the clearance kept from
    all but an arm's own links, to which it keeps `self_margin_m`, and the other arm's hand, to which a hand keeps
    `hand_margin_m`: below zero, because hands meet in a hand-over, and because the capsules are larger than the hands.
    Fingers may touch the table and each other. `check` false leaves all of it out.
    """

    check: bool = True
    margin_m: Margin = 0.02
    self_margin_m: Margin = 0.005
    hand_margin_m: Annotated[float, Meta(ge=-0.05, le=0.5)] = -0.02
    bases: dict[Side, Base] = {}
    table_z_m: float | None = None
    keep_out: dict[str, Box] = {}
    zones: dict[str, Zone] = {}

    @property
    def needs_bases(self) -> bool:
        """Whether it names a thing that has a place in the world."""
        return self.table_z_m is not None or bool(self.keep_out) or bool(self.zones)

    def boxes(self) -> Iterator[tuple[str, Box]]:
        """Return every box with its key."""
        for room in ("keep_out", "zones"):
            for name, box in getattr(self, room).items():
                yield f"{room}.{name}", box


def simulated_base(arm: str, side: Side) -> Base:
    """Return where an arm of the simulated rig stands; facts of RoboTwin's aloha-agilex and dual Piper."""
    body = ARM_BODIES[arm]
    sign = -1.0 if side == "left" else 1.0
    return Base(xyz_m=(sign * body.base_x_m, body.base_y_m, body.base_z_m))
