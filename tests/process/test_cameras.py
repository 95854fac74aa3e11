"""Promises of a whole run with cameras of several drivers: a lost one comes back, and the others go on meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from runtime.board import Board
from runtime.config import RIG_FOLDER
from runtime.states import CameraLink, Mode
from tests.process.harness import Session, wait_for

STAND_IN = Path(__file__).parent.parent / "unit" / "orbbec_stand_in"


def mixed_rig(folder: Path) -> Path:
    """The X5 rig with an Orbbec camera besides, whose package is a stand-in."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={STAND_IN} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    rig = yaml.safe_load((RIG_FOLDER / "emulated-x5.yaml").read_text())
    rig["name"] = "mixed-cameras"
    rig["cameras"]["cam_table"] = {
        "driver": "orbbec", "serial": "0815", "python": str(python), "width_px": 64, "height_px": 48, "rate_hz": 50,
    }  # fmt: skip
    file = folder / "rig.yaml"
    file.write_text(yaml.safe_dump(rig))
    return file


def status(board: Board, name: str) -> Any:
    record = board[f"camera/{name}"].latest()
    assert record is not None
    return record


def host_pid(camera_pid: int) -> int:
    """The Orbbec camera's own process, a child of the camera process."""
    for task in Path(f"/proc/{camera_pid}/task").iterdir():
        children = (task / "children").read_text().split()
        if children:
            return int(children[0])
    return 0


def test_a_lost_camera_comes_back_and_the_others_go_on(start: Callable[..., Session], tmp_path: Path) -> None:
    session = start("--rig", str(mixed_rig(tmp_path)), "--policy", "demo", "--duration-s", "40")
    board = session.await_mode(Mode.POLICY)
    camera = session.children()["camera"]
    wait_for(lambda: status(board, "cam_table")["frames"] > 10, "the Orbbec camera's frames")
    before = int(status(board, "cam_high")["frames"])
    os.kill(host_pid(camera), signal.SIGKILL)
    wait_for(lambda: status(board, "cam_table")["link"] == CameraLink.LOST, "the loss to be told")
    wait_for(lambda: status(board, "cam_table")["reopened"] == 1, "the camera to be opened again")
    wait_for(lambda: status(board, "cam_high")["frames"] > before + 10, "the other cameras")
    assert status(board, "cam_table")["link"] == CameraLink.OPEN
    assert status(board, "cam_high")["link"] == CameraLink.OPEN
    assert status(board, "cam_high")["reopened"] == 0
    assert session.children()["camera"] == camera
    assert session.interrupt() < 60.0
