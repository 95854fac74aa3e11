"""The minimum-jerk path between two states of motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """A state of motion, arrays (14,): position, velocity per tick, acceleration per tick squared."""

    position: Array
    velocity: Array
    acceleration: Array


def quintic(start: Motion, end: Motion, ticks: int) -> Array:
    """Return the path (ticks + 1, 14) from one state to another, both included.

    The polynomial of fifth degree that meets position, velocity and acceleration at both ends has the least
    integral of jerk squared among all paths that do (Flash & Hogan 1985, appendix).
    """
    c0, c1, c2 = start.position, start.velocity * ticks, 0.5 * start.acceleration * ticks**2
    rise = end.position - (c0 + c1 + c2)
    speed = end.velocity * ticks - (c1 + 2.0 * c2)
    bend = 0.5 * end.acceleration * ticks**2 - c2
    c3 = 10.0 * rise - 4.0 * speed + bend
    c4 = -15.0 * rise + 7.0 * speed - 2.0 * bend
    c5 = 6.0 * rise - 3.0 * speed + bend
    x = (np.arange(ticks + 1) / ticks)[:, None]
    path: Array = c0 + x * (c1 + x * (c2 + x * (c3 + x * (c4 + x * c5))))
    return path
