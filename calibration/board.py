"""A ChArUco board: where its corners are in a picture, and where the board is before a camera."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.store import Intrinsics
from runtime.errors import LeadtimeError, UsageError

Array = NDArray[np.float64]

CORNERS_MIN: Final = 8
"""A picture with fewer corners of the board is left out, and so is one with all but one of them on a line."""
MARKERS: Final = 50
"""Markers of the dictionary; every other square of a board has one."""
PICTURES: Final = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Board:
    """`columns` x `rows` squares of `square_m` with markers of `marker_m` from the 4x4_50 dictionary."""

    columns: int
    rows: int
    square_m: float
    marker_m: float

    @classmethod
    def parse(cls, text: str) -> Board:
        """Read COLUMNSxROWS:SQUARE_MM:MARKER_MM; UsageError for anything else."""
        match = re.fullmatch(r"(\d+)x(\d+):(\d+\.?\d*):(\d+\.?\d*)", text)
        if match is None:
            raise UsageError(f"--board {text!r}: write COLUMNSxROWS:SQUARE_MM:MARKER_MM, such as 7x5:30:22")
        columns, rows, square, marker = int(match[1]), int(match[2]), float(match[3]), float(match[4])
        corners = (columns - 1) * (rows - 1)
        if min(columns, rows) < 3 or corners < CORNERS_MIN or not 0.0 < marker < square:
            raise UsageError(f"--board {text!r}: at least 5x3 or 4x4 squares, and markers smaller than them")
        if columns * rows // 2 > MARKERS:
            raise UsageError(f"--board {text!r}: {columns * rows // 2} markers; ArUco's 4x4_50 has {MARKERS}")
        return cls(columns, rows, square / 1000.0, marker / 1000.0)

    @cached_property
    def pattern(self) -> Any:
        """The board as OpenCV has it."""
        dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, dictionary)

    def picture(self, pixels_a_square: int) -> NDArray[np.uint8]:
        """Return the board to print, grey, without a border."""
        drawn: NDArray[np.uint8] = self.pattern.generateImage(
            (self.columns * pixels_a_square, self.rows * pixels_a_square)
        )
        return drawn

    def find(self, picture: NDArray[np.uint8]) -> tuple[Array, Array] | None:
        """Return the corners in a picture: on the board (n, 3) in m and in the picture (n, 2); None where too few."""
        corners, ids, _, _ = cv2.aruco.CharucoDetector(self.pattern).detectBoard(picture)
        if ids is None or len(ids) < CORNERS_MIN:
            return None
        longest = max(int(np.bincount(line).max()) for line in divmod(ids.ravel(), self.columns - 1))
        if len(ids) - longest < 2:
            return None
        places = np.asarray(self.pattern.getChessboardCorners(), dtype=np.float64)[ids.ravel()]
        return places, np.asarray(corners, dtype=np.float64).reshape(-1, 2)

    def pose(self, picture: NDArray[np.uint8], camera: Intrinsics) -> Array | None:
        """Return T_camera_board (4, 4) in m from one picture; None where too little of the board is in it.

        Raises:
            LeadtimeError: the picture is not of the size that the intrinsics are of.
        """
        if picture.shape != (camera.height_px, camera.width_px):
            height, width = picture.shape
            raise LeadtimeError(
                f"a picture of {width}x{height}, but the camera's intrinsics are of"
                f" {camera.width_px}x{camera.height_px}: take the pictures at that setting"
            )
        found = self.find(picture)
        if found is None:
            return None
        done, turn, move = cv2.solvePnP(*found, matrix(camera), np.array(camera.distortion))
        if not done:
            return None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], move.ravel()
        return pose


def matrix(camera: Intrinsics) -> Array:
    """Return the camera matrix (3, 3)."""
    return np.array([[camera.fx_px, 0.0, camera.cx_px], [0.0, camera.fy_px, camera.cy_px], [0.0, 0.0, 1.0]])


def pictures(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Return a folder's pictures by name, grey; UsageError where there are none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)
    found = {path.name: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths}
    unread = [name for name, picture in found.items() if picture is None]
    if unread or not found:
        what = f"{unread[0]} is no picture" if unread else f"no {', '.join(PICTURES)} in it"
        raise UsageError(f"--images {folder}: {what}")
    return {name: np.asarray(picture, dtype=np.uint8) for name, picture in found.items()}
