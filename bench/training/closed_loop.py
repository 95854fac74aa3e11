"""One episode of a chunk policy in lock-step with the simulated rig, with an inference delay counted in ticks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.render import SceneRenderer
from runtime.layout import CAMERAS, RIG_DOF

HORIZON: Final = 50
"""Ticks of a chunk, where a recipe names no other."""
POLICY_HZ: Final = 50
IMAGE_WIDTH: Final = 320
IMAGE_HEIGHT: Final = 240
Chunk = NDArray[np.float32]
Step = Callable[[Plant, NDArray[np.float64]], None]


@dataclass(frozen=True)
class Pace:
    """A request every `execute_ticks`; its answer acts from `delay_ticks` after the observation on."""

    delay_ticks: int
    execute_ticks: int
    horizon: int = HORIZON

    def __post_init__(self) -> None:
        """Raise ValueError unless d <= s <= H - d and a prefix of d was trained for."""
        d, s = self.delay_ticks, self.execute_ticks
        if not (0 <= d <= prefix_max(self.horizon) and max(d, 1) <= s <= self.horizon - d):
            raise ValueError(f"delay {d} and execution horizon {s} do not fit a chunk of {self.horizon} ticks")


def prefix_max(horizon: int) -> int:
    """Longest prefix that a policy is trained for.

    With one request at a time a delay beyond H / 2 cannot go on for long, but one slow answer between fast ones can be
    that late, and is better conditioned on than joined by rule.
    """
    return horizon * 5 // 8


class ChunkPolicy:
    """An exported policy in ONNX Runtime on one thread."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.reads_images = any(item.name == "images" for item in self._session.get_inputs())
        self.horizon = int(self._session.get_outputs()[0].shape[0])

    def chunk(
        self, plant: Plant, renderer: SceneRenderer | None, prefix: Chunk, noise: Chunk
    ) -> tuple[Chunk, NDArray[np.float32]]:
        """Actions (H, 14) from the plant as it is now, after `prefix` (d, 14); and the objects' estimate."""
        feed = {
            "state": plant.position().astype(np.float32),
            "velocity": plant.velocity().astype(np.float32),
            "prefix": np.concatenate([prefix, np.zeros((self.horizon - len(prefix), RIG_DOF), np.float32)]),
            "prefix_len": np.array(len(prefix), dtype=np.int64),
            "noise": noise,
        }
        if self.reads_images:
            if renderer is None:
                raise ValueError("this policy reads images: a renderer is needed")
            feed["images"] = np.stack([renderer.render(plant.data, camera) for camera in CAMERAS])
        else:
            feed["object_state"] = plant.task.object_state(plant.model, plant.data)
        outputs = self._session.run(None, feed)
        return np.asarray(outputs[0], np.float32), np.asarray(
            outputs[-1] if self.reads_images else feed["object_state"]
        )


def hold_for_one_tick(plant: Plant, position: NDArray[np.float64]) -> None:
    """Command one policy tick, 20 ms."""
    plant.command(position)
    for _ in range(round(1.0 / POLICY_HZ / plant.timestep_s)):
        plant.step()


def run_episode(
    plant: Plant,
    policy: ChunkPolicy,
    renderer: SceneRenderer | None,
    *,
    pace: Pace,
    seed: int,
    on_tick: Callable[[int, Plant, NDArray[np.float64]], None] | None = None,
) -> tuple[bool, float]:
    """Play one episode from a cold start; (success, simulated seconds until decided)."""
    plant.reset(seed)
    rng = np.random.default_rng((seed, 1))
    ticks = int(plant.task.time_limit_s * POLICY_HZ)
    delay, horizon = pace.delay_ticks, policy.horizon
    plan = np.zeros((ticks + 2 * horizon, RIG_DOF), dtype=np.float32)
    for tick in range(ticks):
        if tick % pace.execute_ticks == 0:
            noise = rng.standard_normal((horizon, RIG_DOF), dtype=np.float32)
            prefix = plan[tick : tick + delay] if tick else plan[:0]
            actions, _ = policy.chunk(plant, renderer, prefix, noise)
            if tick:
                plan[tick + delay : tick + horizon] = actions[delay:]
            else:
                # A cold start: the arms stand still until the answer is there; its first action is the right one.
                plan[:delay] = plant.position()
                plan[delay : delay + horizon] = actions
        command = plan[tick].astype(np.float64)
        if on_tick is not None:
            on_tick(tick, plant, command)
        hold_for_one_tick(plant, command)
        outcome = plant.task.outcome(plant.model, plant.data)
        if outcome is not None:
            return outcome, plant.time_s
    return False, plant.time_s
