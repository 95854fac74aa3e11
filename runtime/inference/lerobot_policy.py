"""A policy of LeRobot that answers an observation with a chunk of joints, run with its stored processors."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import LeadtimeError, UsageError
from runtime.inference.lerobot_load import PICTURE, STATE, UNITS, Loaded, Options, check_joints, executed_of, one_line
from runtime.layout import RIG_DOF
from runtime.records import CHUNK_STEPS_MAX

ACTION: Final = "action"
PICTURES: Final = "observation.images"
"""Under which Diffusion and VQ-BeT keep the pictures of all cameras, stacked."""
COLD_RUNS: Final = 2
"""Runs of a warm-up that are not measured: memory is taken and kernels are chosen in them."""
WARM_RUNS: Final = 7


class LeRobotPolicy:
    """A loaded policy that was run on a blank observation.

    Raises:
        LeadtimeError: it fails on a blank observation.
        UsageError: it is not a policy of 14 joints, or answers with no chunk.
    """

    def __init__(self, loaded: Loaded, options: Options) -> None:
        self.options = options
        self._scale = UNITS[options.units]
        self._torch, self._picture = loaded.torch, loaded.picture
        self._populate: Any = importlib.import_module("lerobot.policies.utils").populate_queues
        self._policy, self._before, self._after = loaded.policy, loaded.before, loaded.after
        self._reads_state = loaded.config.robot_state_feature is not None
        if self._reads_state:
            check_joints(options, "state", loaded.config.robot_state_feature)
        check_joints(options, "action", loaded.config.action_feature)
        self.kind = str(loaded.config.type)
        self._keys, self._shapes = loaded.keys, loaded.shapes
        self.cameras = loaded.cameras(options)
        blank = np.zeros(RIG_DOF, np.float32)
        pictures = [np.zeros((*shape, 3), np.uint8) for shape in self._shapes.values()]
        times_s = []
        for _ in range(COLD_RUNS + WARM_RUNS):
            begin_s = time.monotonic()
            try:
                chunk = self.infer(pictures, blank, "", seed=0)
            except Exception as error:  # whatever LeRobot raises
                raise LeadtimeError(f"{options.policy} fails on a blank observation: {one_line(error)}") from error
            times_s.append(time.monotonic() - begin_s)
        if chunk.ndim != 2 or chunk.shape[1] != RIG_DOF:
            raise UsageError(f"{options.policy} answers with {chunk.shape}; a chunk of {RIG_DOF} joints is needed")
        self.latency_ms = 1e3 * statistics.median(times_s[COLD_RUNS:])
        self.horizon = len(chunk)
        self.execute_steps = executed_of(self.horizon, options.execute_steps)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the first camera's pictures, as the policy was trained."""
        height, width = next(iter(self._shapes.values()))
        return width, height

    def reset(self) -> None:
        """Begin an episode: what was observed before is forgotten."""
        self._policy.reset()

    def infer(
        self, pictures: Sequence[NDArray[Any]], state: NDArray[Any], prompt: str, seed: int
    ) -> NDArray[np.float32]:
        """Return the chunk (horizon, 14), rad and fractions, for uint8 (h, w, 3) of each camera, in their order.

        A policy that looks back sees what this was called with since the last `reset`.
        """
        torch = self._torch
        torch.manual_seed(seed)
        seen: dict[str, Any] = {"task": prompt}
        if self._reads_state:
            seen[STATE] = torch.from_numpy((state * self._scale).astype(np.float32))[None]
        for picture, (name, shape) in zip(pictures, self._shapes.items(), strict=True):
            image = self._picture(picture)
            if tuple(image.shape[-2:]) != shape:
                image = torch.nn.functional.interpolate(
                    image, size=shape, mode="bilinear", align_corners=False, antialias=True
                )
            seen[self._keys[name]] = image
        with torch.inference_mode():
            rows = self._policy.predict_action_chunk(self._observed(self._before(seen)))
            # The steps of a chunk go through the processors as a batch would.
            actions = self._after(rows.reshape(-1, rows.shape[-1])[:CHUNK_STEPS_MAX])
        physical = actions.detach().cpu().numpy()
        return np.asarray(physical / self._scale if physical.shape[-1] == RIG_DOF else physical, dtype=np.float32)

    def _observed(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch that is in the policy's queues of observations, if it has such.

        LeRobot fills them in `select_action` alone (0.4.4), and `predict_action_chunk` reads nothing else.
        """
        queues = getattr(self._policy, "_queues", {})
        seen = {key: value for key, value in batch.items() if key != ACTION}
        # A processor may have made something else of them, as GR00T's does.
        pictures = [seen[key] for key in self._keys.values() if key in seen]
        if PICTURES in queues:
            seen[PICTURES] = self._torch.stack(pictures, dim=-4)
        if PICTURE in queues:
            seen[PICTURE] = pictures[0]
        self._populate(queues, seen)
        return seen
