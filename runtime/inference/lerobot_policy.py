"""A policy of LeRobot, loaded and run with the processors that are stored with it, in LeRobot's own environment."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import LeadtimeError, UsageError
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import CHUNK_STEPS_MAX

IMAGES: Final = "observation.images."
STATE: Final = "observation.state"
ACTION: Final = "action"
PICTURES: Final = "observation.images"
"""Under which Diffusion and VQ-BeT keep the pictures of all cameras, stacked."""
PICTURE: Final = "observation.image"
"""What the only camera of a policy may be called, and under which TDMPC keeps its picture."""
COLD_RUNS: Final = 2
"""Runs of a warm-up that are not measured: memory is taken and kernels are chosen in them."""
WARM_RUNS: Final = 7
RATE_HZ: Final = 50
"""Rate of a policy's actions unless its host is told another."""
UNITS: Final[dict[str, NDArray[np.float64]]] = {
    "rad": np.ones(RIG_DOF),
    "deg": np.array([100.0 if i in GRIPPER_INDEX else np.degrees(1.0) for i in range(RIG_DOF)]),
}
"""From rad and gripper fractions to what the policy was trained on; LeRobot's own arms report degrees and per cent."""


@dataclass(frozen=True)
class Options:
    """What the command line says; `rename` is model's camera -> rig's camera, `execute_steps` 0 for a quarter chunk."""

    policy: str
    device: str
    rate_hz: int
    execute_steps: int
    units: str
    rename: Mapping[str, str]


class LeRobotPolicy:
    """A policy and its processors, loaded and run on a blank observation.

    Raises:
        LeadtimeError: LeRobot is not installed or cannot load it, or it fails on a blank observation.
        UsageError: it is not a policy of 14 joints with pictures, or answers with no chunk.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._scale = UNITS[options.units]
        try:
            self._torch: Any = importlib.import_module("torch")
            configs: Any = importlib.import_module("lerobot.configs.policies")
            factory: Any = importlib.import_module("lerobot.policies.factory")
            self._populate: Any = importlib.import_module("lerobot.policies.utils").populate_queues
        except ImportError as error:
            raise LeadtimeError(f"run this where LeRobot is installed: {_line(error)}") from None
        try:
            config = configs.PreTrainedConfig.from_pretrained(options.policy)
            config.device = self._device = self._choose(options.device)
            self._policy = factory.get_policy_class(config.type).from_pretrained(options.policy, config=config)
            self._policy.eval()
            on_device = {"device_processor": {"device": self._device}}
            self._before, self._after = factory.make_pre_post_processors(
                config, pretrained_path=options.policy, preprocessor_overrides=on_device
            )
        except Exception as error:  # whatever LeRobot raises
            raise LeadtimeError(f"LeRobot cannot load policy {options.policy}: {_line(error)}") from error
        self._check(config)
        self.kind = str(config.type)
        self._keys = {key.removeprefix(IMAGES).removeprefix("observation."): key for key in config.image_features}
        self._shapes = {name: tuple(config.image_features[key].shape[-2:]) for name, key in self._keys.items()}
        self.cameras = tuple(options.rename.get(name, name) for name in self._shapes)
        unknown = [name for name in options.rename if name not in self._shapes]
        if unknown:
            raise UsageError(f"--rename {unknown[0]}: no camera of this policy; it reads {', '.join(self._shapes)}")
        blank = np.zeros(RIG_DOF, np.float32)
        pictures = [np.zeros((*shape, 3), np.uint8) for shape in self._shapes.values()]
        times_s = []
        for _ in range(COLD_RUNS + WARM_RUNS):
            begin_s = time.monotonic()
            try:
                chunk = self.infer(pictures, blank, "", seed=0)
            except Exception as error:  # whatever LeRobot raises
                raise LeadtimeError(f"{options.policy} fails on a blank observation: {_line(error)}") from error
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
        seen[STATE] = torch.from_numpy((state * self._scale).astype(np.float32))[None]
        for picture, (name, shape) in zip(pictures, self._shapes.items(), strict=True):
            image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].to(torch.float32) / 255.0
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
        pictures = [seen[key] for key in self._keys.values()]
        if PICTURES in queues:
            seen[PICTURES] = self._torch.stack(pictures, dim=-4)
        if PICTURE in queues:
            seen[PICTURE] = pictures[0]
        self._populate(queues, seen)
        return seen

    def _choose(self, device: str) -> str:
        found = "cuda" if self._torch.cuda.is_available() else "cpu"
        return found if device == "auto" else device

    def _check(self, config: Any) -> None:
        shapes = [feature.shape if feature else () for feature in (config.robot_state_feature, config.action_feature)]
        for what, shape in zip(("state", "action"), shapes, strict=True):
            if tuple(shape) != (RIG_DOF,):
                raise UsageError(
                    f"{self.options.policy}: its {what} is {tuple(shape)}; this rig needs ({RIG_DOF},), two arms of "
                    "6 joints and a gripper"
                )
        other = [key for key in config.input_features if key not in {STATE, PICTURE} and not key.startswith(IMAGES)]
        if other or not config.image_features:
            raise UsageError(f"{self.options.policy} reads {other[0] if other else 'no picture'}, which no rig gives")


def executed_of(horizon: int, told: int = 0) -> int:
    """Return how many steps of a chunk pass until the next one: as many as were told, 0 for a quarter."""
    return min(told or max(horizon // 4, 1), horizon)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
