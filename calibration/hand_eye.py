"""Where a camera is: on a hand that looks at a board which stands still, or standing still before a board on a hand.

Park and Martin 1994, "Robot sensor calibration: solving AX = XB on the Euclidean group", as OpenCV has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

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
        LeadtimeError: too few, too much alike, or they contradict each other.
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
    return HandEye(pose, away_m, float(np.sqrt(np.mean(np.square(away_rad)))), len(hands))


def _turn_aside(hands: Sequence[Array]) -> float:
    """Return the largest turn (rad) between two poses about what is square to the axis that most turns are about."""
    turns = np.array([rotation_vector(one[:3, :3].T @ other[:3, :3]) for one, other in combinations(hands, 2)])
    main = np.linalg.svd(turns, full_matrices=False)[2][0]
    return float(np.linalg.norm(turns - np.outer(turns @ main, main), axis=1).max())
