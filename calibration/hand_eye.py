"""Where a camera is: on a hand that looks at a board which stands still, or standing still before a board on a hand.

Park and Martin 1994, "Robot sensor calibration: solving AX = XB on the Euclidean group", as OpenCV has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import LeadtimeError
from runtime.kinematics.rotations import rotation_vector

Array = NDArray[np.float64]
Parent = Literal["hand", "base"]

VIEWS_MIN: Final = 5
TURN_MIN_RAD: Final = 0.3
"""Poses that are turned alike, or about one axis alone, leave the camera's place along it undetermined."""
RESIDUAL_MAX_M: Final = 0.02
SIZE_OFF_MAX: Final = 0.05
"""A board of another size than was said is at another distance, and the camera's place off by the difference."""
SIZE_AGREES: Final = 0.6
"""The share of the poses' contradictions that has to be left at most for another size to be believed."""
SPAN_MIN_M: Final = 0.1
"""What the hand has to move over for its way to tell the board's size."""


@dataclass(frozen=True)
class HandEye:
    """`pose` (4, 4) is T_parent_camera in m. The residuals are the root mean square of how far the board, which should
    stand still in the world or on the hand, is from its mean.
    """

    pose: Array
    residual_m: float
    residual_rad: float
    samples: int


def estimate(hands: Sequence[Array], boards: Sequence[Array], parent: Parent) -> HandEye:
    """Estimate from T_base_hand and T_camera_board (4, 4) of the same moments.

    Raises:
        LeadtimeError: too few, too much alike, or they contradict each other or the size of the board.
    """
    if len(hands) < VIEWS_MIN:
        raise LeadtimeError(f"{len(hands)} poses with the board in view; it takes {VIEWS_MIN}")
    aside_rad = _turn_aside(hands)
    if aside_rad < TURN_MIN_RAD:
        raise LeadtimeError(
            f"the hand turned by {aside_rad:.2f} rad at most about a second axis; turn it by {TURN_MIN_RAD} about two"
        )
    # A camera that stands still sees the board on the hand as one on the hand sees a board in the base.
    moving = [hand if parent == "hand" else np.linalg.inv(hand) for hand in hands]
    turn, move = cv2.calibrateHandEye(
        [pose[:3, :3] for pose in moving],
        [pose[:3, 3] for pose in moving],
        [board[:3, :3] for board in boards],
        [board[:3, 3] for board in boards],
        method=cv2.CALIB_HAND_EYE_PARK,
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, np.ravel(move)
    if not np.isfinite(pose).all():
        raise LeadtimeError("the poses do not determine where the camera is; turn the hand about two axes")
    still = [at @ pose @ board for at, board in zip(moving, boards, strict=True)]
    places = np.array([board[:3, 3] for board in still])
    away_m = float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=1).mean()))
    left, _, right = np.linalg.svd(np.mean([board[:3, :3] for board in still], axis=0))
    away_rad = [float(np.linalg.norm(rotation_vector((left @ right).T @ board[:3, :3]))) for board in still]
    if away_m > RESIDUAL_MAX_M:
        raise LeadtimeError(f"the poses contradict each other by {away_m * 1000:.0f} mm; was the board moved?")
    size = _size(turn, moving, boards)
    if abs(size - 1.0) > SIZE_OFF_MAX:
        raise LeadtimeError(f"by the hand's way the board is {size:.2f} times as large as was said; check --board")
    return HandEye(pose, away_m, float(np.sqrt(np.mean(np.square(away_rad)))), len(hands))


def _turn_aside(hands: Sequence[Array]) -> float:
    """Return the largest turn (rad) between two poses about what is square to the axis that most turns are about."""
    turns = np.array([rotation_vector(one[:3, :3].T @ other[:3, :3]) for one, other in combinations(hands, 2)])
    main = np.linalg.svd(turns, full_matrices=False)[2][0]
    return float(np.linalg.norm(turns - np.outer(turns @ main, main), axis=1).max())


def _size(turn: Array, moving: Sequence[NDArray[Any]], boards: Sequence[Array]) -> float:
    """Return how many times as large the board is as it was taken for: the size at which, with the camera's `turn`,
    what was seen agrees best with how far the hand went between each two poses; 1 where none agrees clearly better.
    """
    if max(np.ptp([pose[:3, 3] for pose in moving], axis=0)) < SPAN_MIN_M:
        return 1.0
    ways, seen = [], []
    for (one, before), (other, after) in combinations(zip(moving, boards, strict=True), 2):
        way, shift = np.linalg.inv(one) @ other, before @ np.linalg.inv(after)
        ways.append(way[:3, 3])
        seen.append(np.column_stack([turn @ shift[:3, 3], np.eye(3) - way[:3, :3]]))
    went, saw = np.concatenate(ways), np.vstack(seen)
    best = np.linalg.lstsq(saw, went, rcond=None)[0]
    as_said = np.append(1.0, np.linalg.lstsq(saw[:, 1:], went - saw[:, 0], rcond=None)[0])
    better = np.linalg.norm(saw @ best - went) < SIZE_AGREES * np.linalg.norm(saw @ as_said - went)
    return float(best[0]) if better else 1.0
