"""Units of Dynamixel X servos and of the Interbotix gripper's linkage.

A servo whose drive mode is reversed turns its own sign round: ticks become radians alike for all.
"""

from __future__ import annotations

import math
from typing import Final

TICKS: Final = 4096
ZERO_TICKS: Final = 2048
RAD_PER_TICK: Final = 2 * math.pi / TICKS
RAD_S_PER_UNIT: Final = 0.229 * 2 * math.pi / 60
"""0.229 revolutions a minute (ROBOTIS e-Manual)."""
A_PER_UNIT: Final = 0.00269
V_PER_UNIT: Final = 0.1

HORN_M: Final = 0.022
ROD_M: Final = 0.036
"""The ViperX 300 S gripper: a horn turns, a rod of this length pushes the finger along its rail."""
CLOSED_RAD: Final = -0.6213
OPEN_RAD: Final = 1.4910
"""The follower's range in ALOHA."""
LEADER_CLOSED_RAD: Final = -0.6842
LEADER_OPEN_RAD: Final = 0.3083
"""The leader's range in ALOHA."""


def ticks_to_rad(ticks: int) -> float:
    """Return the angle of a position in ticks; 2048 is zero."""
    return (ticks - ZERO_TICKS) * RAD_PER_TICK


def rad_to_ticks(rad: float) -> int:
    """Return the nearest position in ticks."""
    return round(rad / RAD_PER_TICK) + ZERO_TICKS


def finger_m(rad: float) -> float:
    """Return the distance of a finger from the middle, for an angle of the gripper's horn."""
    return HORN_M * math.sin(rad) + math.sqrt(ROD_M**2 - (HORN_M * math.cos(rad)) ** 2)


def finger_rad(distance_m: float) -> float:
    """Return the horn's angle for a finger's distance, which is brought into the reach of the linkage."""
    reach_m = min(max(distance_m, ROD_M - HORN_M), ROD_M + HORN_M)
    return math.asin(min(max((reach_m**2 + HORN_M**2 - ROD_M**2) / (2 * reach_m * HORN_M), -1.0), 1.0))


def finger_m_per_rad(rad: float) -> float:
    """Return how far a finger goes for a small turn of the horn."""
    lever = HORN_M * math.cos(rad)
    return lever + lever * HORN_M * math.sin(rad) / math.sqrt(ROD_M**2 - lever**2)


CLOSED_M: Final = finger_m(CLOSED_RAD)
OPEN_M: Final = finger_m(OPEN_RAD)
SPAN_M: Final = OPEN_M - CLOSED_M
"""0.0184 m to 0.0579 m: the fingers together open 0.079 m."""


def gripper_fraction(rad: float) -> float:
    """Return the opening as a fraction for an angle of the follower's gripper joint."""
    return (finger_m(rad) - CLOSED_M) / SPAN_M


def gripper_rad(fraction: float) -> float:
    """Return the gripper joint's angle for an opening, brought into 0 to 1."""
    return finger_rad(CLOSED_M + min(max(fraction, 0.0), 1.0) * SPAN_M)


def led_fraction(rad: float, closed_rad: float, open_rad: float) -> float:
    """Return the opening that a leader's gripper joint asks for.

    As in ALOHA its share of its own range becomes the follower's share of its joint's range.
    """
    share = min(max((rad - closed_rad) / (open_rad - closed_rad), 0.0), 1.0)
    return min(max(gripper_fraction(CLOSED_RAD + share * (OPEN_RAD - CLOSED_RAD)), 0.0), 1.0)
