"""A camera's intrinsics from pictures of a board, by Zhang's method as OpenCV has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.store import Intrinsics, today
from runtime.errors import LeadtimeError

VIEWS_MIN: Final = 6
RESIDUAL_MAX_PX: Final = 1.5
"""A worse fit has blurred pictures, another board than was said, or a board that is not flat."""
TILT_MIN_RAD: Final = 0.3
"""Between pictures of a board that is turned less, a longer lens and a board farther away look alike."""


def estimate(pictures: Iterable[NDArray[np.uint8]], board: Board, device: str) -> Intrinsics:
    """Estimate from pictures (H, W) of one size.

    Raises:
        LeadtimeError: too few pictures show the board, their sizes differ, the fit is bad, or the board is turned alike
            in all of them.
    """
    shown = list(pictures)
    sizes = {picture.shape for picture in shown}
    if len(sizes) > 1:
        raise LeadtimeError(f"the pictures are of {len(sizes)} sizes; take them all with one camera at one setting")
    views = [view for view in map(board.find, shown) if view is not None]
    if len(views) < VIEWS_MIN:
        raise LeadtimeError(
            f"the board is in {len(views)} of {len(shown)} pictures; it takes {VIEWS_MIN}, from different angles"
        )
    height, width = shown[0].shape
    places = [view[0].astype(np.float32) for view in views]
    corners = [view[1].astype(np.float32) for view in views]
    residual_px, fitted, distortion, turns, _ = cv2.calibrateCamera(places, corners, (width, height), None, None)
    if not residual_px <= RESIDUAL_MAX_PX:
        raise LeadtimeError(f"the fit is off by {residual_px:.1f} px; check --board, and that pictures are sharp")
    tilt_rad = _tilt(turns)
    if not tilt_rad >= TILT_MIN_RAD:
        raise LeadtimeError(
            f"the board is tilted by {tilt_rad:.2f} rad at most between two pictures; tilt it by {TILT_MIN_RAD} or more"
        )
    return Intrinsics(
        device=device,
        date=today(),
        samples=len(views),
        width_px=width,
        height_px=height,
        fx_px=float(fitted[0, 0]),
        fy_px=float(fitted[1, 1]),
        cx_px=float(fitted[0, 2]),
        cy_px=float(fitted[1, 2]),
        distortion=[float(value) for value in np.ravel(distortion)[:5]],
        residual_px=float(residual_px),
    )


def _tilt(turns: Sequence[NDArray[np.float64]]) -> float:
    """Return the largest angle (rad) between the boards of two pictures, from their rotation vectors."""
    normals = np.array([cv2.Rodrigues(turn)[0][:, 2] for turn in turns])
    return float(np.arccos(np.clip(normals @ normals.T, -1.0, 1.0)).max())
