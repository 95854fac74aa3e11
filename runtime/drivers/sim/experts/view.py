"""What an expert sees of the simulation at one tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks.cube import Cube
from runtime.drivers.sim.touch import Touch
from runtime.kinematics.pose import Pose
from runtime.layout import ARM_GRIPPER, ARM_SLICE, SIDES, Side

STILL_1_S: Final = 0.15
APART_TICKS: Final = 3
"""A grip outlasts contacts that are lost for fewer ticks than this: contacts flicker."""


@dataclass(frozen=True)
class Hand:
    """One gripper: its tool pose, the arm's measured position (7,), and whether it holds the object firmly."""

    tcp: Pose
    measured: NDArray[np.float64]
    grips: bool

    @property
    def opening(self) -> float:
        """Opening of the gripper, 0 closed, 1 open."""
        return float(self.measured[ARM_GRIPPER])


@dataclass(frozen=True)
class View:
    """The object's centre (3,) in m, the height of its lowest corner, its smallest yaw in rad, and both hands."""

    position_m: NDArray[np.float64]
    bottom_m: float
    yaw_rad: float
    hands: dict[Side, Hand]


class Watcher:
    """Reads views from the plant; a grip counts once the fingers have come to rest on the object, until they part."""

    def __init__(self, plant: Plant, cube: Cube) -> None:
        self._cube = cube
        self._touch = Touch(plant.model, cube.name)
        self._apart_ticks = dict.fromkeys(SIDES, APART_TICKS)

    def look(self, plant: Plant) -> View:
        """What is to be seen now."""
        fingers = self._touch.fingers(plant.data)
        position, velocity = plant.position(), plant.velocity()
        hands = {}
        for index, side in enumerate(SIDES):
            site = plant.data.site(f"{side}_tcp")
            part = ARM_SLICE[side]
            still = abs(velocity[part][ARM_GRIPPER]) < STILL_1_S
            hands[side] = Hand(
                Pose(site.xpos.copy(), site.xmat.reshape(3, 3).copy()),
                position[part],
                self._grips(side, touching=bool(fingers[index].all()), still=still),
            )
        cube, data = self._cube, plant.data
        return View(cube.position_m(data), cube.bottom_m(data), cube.yaw_rad(data), hands)

    def _grips(self, side: Side, *, touching: bool, still: bool) -> bool:
        gripped = self._apart_ticks[side] < APART_TICKS
        if touching and (gripped or still):
            self._apart_ticks[side] = 0
        else:
            self._apart_ticks[side] = min(self._apart_ticks[side] + 1, APART_TICKS)
        return self._apart_ticks[side] < APART_TICKS
