"""The camera process: grab, stamp, publish."""

from __future__ import annotations

from typing import Any

from runtime import records
from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.factory import open_cameras
from runtime.shm import blank


def run_capture(board: Board, clock: Clock, heart: Heart) -> None:
    """Publish every camera's frames at its rate until the run stops."""
    cameras = board.spec.rig.cameras
    driver = open_cameras(board, clock)
    blanks: dict[str, Any] = {
        name: blank(records.frame_dtype(camera.width_px, camera.height_px)) for name, camera in cameras.items()
    }
    period_ns = NS_PER_S // max(camera.rate_hz for camera in cameras.values())
    due_ns = clock.now_ns()
    try:
        while not board.stopping:
            clock.sleep_until_ns(due_ns)
            for frame in driver.grab(100 * NS_PER_MS):
                record = blanks[frame.camera]
                record["seq"] += 1
                record["t_capture_ns"] = frame.t_capture_ns
                record["t_published_ns"] = clock.now_ns()
                record["image"] = frame.image
                board[f"frame/{frame.camera}"].push(record)
            now_ns = clock.now_ns()
            heart.beat(now_ns)
            # A late picture shifts the grid: cameras that lag are not sped up afterwards.
            due_ns = max(due_ns + period_ns, now_ns)
    finally:
        driver.close()
