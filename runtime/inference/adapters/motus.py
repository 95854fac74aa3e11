"""MOTUS in this process, from a checkout of its repository; the pictures that it predicts are kept.

Checked against thu-ml/Motus inference/robotwin/Motus/deploy_policy.py: `set_instruction`, `update_obs` and `get_action`
tile three pictures to 360x320, padded to the video's size, denoise in 10 steps and return 16 rows of absolute joints.
Inside it, `model.inference_step` returns (frames in [0, 1] or None, actions).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters import answers
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply, Steps
from runtime.inference.adapters.in_process import ReleasedPolicy, as_array, robotwin

FILE: Final = "inference/robotwin/Motus/deploy_policy.py"
TILE_PX: Final = (360, 320)
TILES_PX: Final = {
    "cam_high": (0, 240, 0, 320),
    "cam_left_wrist": (240, 360, 0, 160),
    "cam_right_wrist": (240, 360, 160, 320),
}
"""Where each camera is in a tiled picture: top, bottom, left, right."""


class MotusSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the checkout does not say of itself: its checkpoint, and the folders of the two models inside it."""

    checkpoint: str
    wan: str
    vlm: str
    name: str = "motus"
    rate_hz: RateHz = 25
    horizon: Steps = 16


class Motus:
    """The policy of one rig."""

    def __init__(self, checkout: str, settings: MotusSettings) -> None:
        """Note where it is. UsageError for a folder that is no checkout."""
        self._settings = settings
        self._released = ReleasedPolicy(checkout, FILE, settings.name)
        self._prompt = ""
        self._predicted: Any = None

    def open(self, timeout_s: float) -> Card:  # noqa: ARG002 - loading cannot be stopped
        """Load it, which takes as long as it takes; AdapterError if that fails."""
        settings = self._settings
        if self._released.policy is None:
            self._released.load(
                {"ckpt_setting": settings.checkpoint, "wan_path": settings.wan, "vlm_path": settings.vlm}
            )
            self._released.call(self._listen, float("inf"))
        return settings.card("hybrid, joint denoising")

    def reset(self, prompt: str) -> None:
        """Begin an episode: what the policy keeps of the one before is dropped."""
        self._prompt = prompt
        self._released.call(_forget, float("inf"))

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        self._predicted = None
        found = self._released.call(lambda policy: self._asked(policy, question), question.timeout_s)
        rows = answers.chunk(found, self._settings.horizon, self._released.error)
        return Reply(answers.as_targets(rows), frames=self._frames())

    def close(self) -> None:
        """Let go of the policy, and with it of its memory."""
        self._released.policy = None

    def _asked(self, policy: Any, question: Question) -> NDArray[Any]:
        policy.set_instruction(question.prompt or self._prompt)
        policy.update_obs(robotwin(question.view))
        return as_array(policy.get_action())

    def _listen(self, policy: Any) -> None:
        """Have the frames handed over that `get_action` otherwise writes to a folder."""
        policy.save_images = False
        step = policy.model.inference_step

        def inference_step(*given: Any, **named: Any) -> Any:
            found = step(*given, **named)
            self._predicted = found[0]
            return found

        policy.model.inference_step = inference_step

    def _frames(self) -> dict[str, NDArray[np.uint8]]:
        """Return the predicted pictures of each camera, cut out of the tiled ones."""
        if self._predicted is None:
            return {}
        tiled = as_array(self._predicted)
        if tiled.ndim != 5 or len(tiled) != 1 or 3 not in tiled.shape[1:3]:
            raise self._released.error(f"predicted frames of shape {tiled.shape}, which is not understood")
        frames = tiled[0].transpose(1, 2, 3, 0) if tiled.shape[1] == 3 else tiled[0].transpose(0, 2, 3, 1)
        shown = np.round(np.clip(np.nan_to_num(frames), 0.0, 1.0) * 255.0).astype(np.uint8)
        height, width = shown.shape[1:3]
        scale = min(height / TILE_PX[0], width / TILE_PX[1])
        above, beside = (height - TILE_PX[0] * scale) / 2, (width - TILE_PX[1] * scale) / 2
        found = {}
        for camera, (top, bottom, left, right) in TILES_PX.items():
            rows = slice(round(above + scale * top), round(above + scale * bottom))
            found[camera] = shown[:, rows, round(beside + scale * left) : round(beside + scale * right)]
        return found


def _forget(policy: Any) -> None:
    """Do what the released `reset_model` does to the policy."""
    policy.obs_cache.clear()
    policy.action_cache.clear()
    policy.current_state = policy.prev_action = None
    policy.is_first_step = True
    policy.pipeline_replan_idx = 0
