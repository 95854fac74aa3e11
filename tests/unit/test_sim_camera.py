"""The simulated cameras keep the promises of any camera."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runtime.board import Board
from runtime.clock import NS_PER_S
from runtime.config import load_rig
from runtime.drivers.conformance_camera import check_camera
from runtime.drivers.sim.camera import SimCameras
from runtime.drivers.sim.plant import Plant, state_size
from runtime.drivers.sim.probe import rendering_obstacle
from runtime.drivers.sim.tasks import TASKS
from runtime.records import scene_dtype
from runtime.shm import blank
from runtime.spec import RunSpec
from tests.fake_arm import SteppedClock


def test_the_driver_keeps_every_promise_of_a_camera() -> None:
    if (obstacle := rendering_obstacle()) is not None:
        pytest.skip(obstacle)
    rig = load_rig("sim-x5")
    small = {name: msgspec.structs.replace(camera, width_px=64, height_px=48) for name, camera in rig.cameras.items()}
    texts = dict.fromkeys(("run_dir", "policy", "endpoint", "prompt", "latency", "merge"), "x")
    plant = Plant("x5", TASKS["transfer"]())
    numbers = {"seed": 0, "duration_s": 1.0, "episode_s": 1.0, "scene_length": state_size(plant.model)}
    spec = RunSpec(rig=msgspec.structs.replace(rig, cameras=small), task="transfer", serve=False, **texts, **numbers)  # type: ignore[arg-type]
    board = Board.create(spec)
    scene: Any = blank(scene_dtype(spec.scene_length))
    scene["state"] = plant.state_vector()

    def publish(now_ns: int) -> None:
        scene["t_ns"] = now_ns
        board["scene"].push(scene)

    clock = SteppedClock(publish)

    class Seldom(SimCameras):
        """Asked at a camera's rate, as the camera process does."""

        due_ns = 0

        def grab(self, timeout_ns: int) -> tuple:  # type: ignore[type-arg]
            if timeout_ns:
                clock.sleep_until_ns(self.due_ns)
                self.due_ns = clock.now_ns() + NS_PER_S // 30
            return super().grab(timeout_ns)

    check_camera(lambda: Seldom(board, clock, tuple(small)), dict.fromkeys(small, (64, 48)), 30, clock)
