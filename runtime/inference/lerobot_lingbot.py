"""LeRobot's LingBot-VA: it remembers an episode, so it is told what was executed and seen before it is asked again.

Checked against LeRobot 0.6.1, lerobot/policies/lingbot_va/modeling_lingbot_va.py. Its `predict_action_chunk` grounds
its memory on what `select_action` gathers tick by tick: the views of the chunk that was executed and the actions, in
the model's own numbers. Without them it goes on from nothing that was seen. Here it has both from the rig, for as much
of the chunk as was really executed. It answers the requests of the released server (see `adapters.lingbot_va`), so the
same session is held with it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.in_process import in_time
from runtime.inference.adapters.lingbot_moves import HANDS, JointMoves, Moves
from runtime.inference.adapters.lingbot_va import KEYS_PER_FRAME, PICTURES, LingBotVa, LingBotVaSettings
from runtime.inference.lerobot_load import UNITS, Loaded, Options, check_joints
from runtime.inference.server.hosted import Hosted, opened

KIND: Final = "LeRobot lingbot_va"


def hosted_lingbot(loaded: Loaded, options: Options) -> Hosted:
    """Return the policy as a server has it, after it has answered some grey pictures.

    Raises:
        AdapterError: it fails.
        UsageError: its numbers move neither 14 joints nor two hands, or no arms are named for the hands.
    """
    config = loaded.config
    if config.action_per_frame % KEYS_PER_FRAME or config.frame_chunk_size < 2:
        raise UsageError(
            f"{options.policy}: {config.frame_chunk_size} frames of {config.action_per_frame} actions; at least 2 "
            f"frames of a multiple of {KEYS_PER_FRAME} are needed"
        )
    names = loaded.cameras(options)
    settings = LingBotVaSettings(
        name=options.name,
        rate_hz=options.rate_hz,
        frames=config.frame_chunk_size,
        steps=config.action_per_frame,
        execute_steps=options.execute_steps or config.action_per_frame,
    )
    peer = LeRobotLingBot(loaded, dict(zip(names, loaded.keys.values(), strict=True)))
    picture_px = next(iter(loaded.shapes.values()))
    return opened(LingBotVa(peer, settings, _moves(loaded, options), names, picture_px), KIND, options.arms or None)


class LeRobotLingBot:
    """The policy as its released server would be asked; `keys` are LeRobot's names of the rig's cameras."""

    metadata: Mapping[str, Any] = {}
    connected = True

    def __init__(self, loaded: Loaded, keys: Mapping[str, str]) -> None:
        normalisers: Any = importlib.import_module("lerobot.processor.normalize_processor")
        steps = [step for step in loaded.after.steps if isinstance(step, normalisers.UnnormalizerProcessorStep)]
        self._torch, self._picture = loaded.torch, loaded.picture
        self._policy, self._before, self._after = loaded.policy, loaded.before, loaded.after
        self._keys = keys
        # What the policy's own processor makes of an action, the other way.
        self._normalise = [
            normalisers.NormalizerProcessorStep(features=step.features, norm_map=step.norm_map, stats=step.stats)
            for step in steps
        ]
        self._channels = list(loaded.config.used_action_channel_ids)
        self._prompt = ""
        self._asked = 0

    def connect(self, timeout_s: float) -> Mapping[str, Any]:
        """Return what it says of itself: nothing."""
        del timeout_s
        return self.metadata

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> Any:
        """Return what the released server answers.

        Raises:
            AdapterError: the policy fails, or is done later than the answer is of use; it cannot be stopped.
        """
        with self._torch.inference_mode():
            return in_time(lambda: self._answer(request), timeout_s, self.refuse)

    def refuse(self, what: str) -> AdapterError:
        """Return the error with the policy's name before it."""
        return AdapterError(f"{KIND} {what}")

    def close(self) -> None:
        """Nothing is held elsewhere."""

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request.get("reset"):
            self._policy.reset()
            self._prompt, self._asked = str(request["prompt"]), 0
            return {}
        if request.get("compute_kv_cache"):
            self._policy._obs_buffer = [self._seen(view) for view in request["obs"]]
            self._policy._executed_actions = self._told(np.asarray(request["state"], np.float32))
            return {}
        self._torch.manual_seed(self._asked)
        self._asked += 1
        self._policy.predict_action_chunk(self._seen(request["obs"]))
        # All frames of the chunk: the call returns the first one's without that of the observation.
        answered = self._policy._executed_actions[0, self._channels].squeeze(-1)
        rows = answered.flatten(1).T.to(self._torch.float32)
        return {"action": self._after(rows).detach().cpu().numpy().T.reshape(answered.shape)}

    def _seen(self, view: Mapping[str, Any]) -> Any:
        pictures = {key: self._picture(view[f"{PICTURES}{name}"]) for name, key in self._keys.items()}
        return self._before({**pictures, "task": self._prompt})

    def _told(self, state: NDArray[np.float32]) -> Any:
        """Return actions (channels, frames, steps) in the model's own numbers, of all of its channels."""
        torch, policy = self._torch, self._policy
        rows = torch.from_numpy(state.reshape(len(state), -1).T.copy())
        for step in self._normalise:
            rows = step({"action": rows})["action"]
        told = torch.zeros((1, policy.config.action_dim, *state.shape[1:], 1))
        told[0, self._channels] = rows.T.reshape(state.shape).to("cpu")[..., None]
        return told.to(policy.config.device, policy.dtype)


def _moves(loaded: Loaded, options: Options) -> Moves:
    """Return what the policy's numbers move."""
    feature = loaded.config.action_feature
    if feature is None or tuple(feature.shape) != (HANDS,):
        check_joints(options, "action", feature)
        return JointMoves(UNITS[options.units])
    if not options.arms:
        raise UsageError(f"{options.policy} gives poses of two hands; say which arms it drives: --arms MODEL")
    # Inverse kinematics want MuJoCo, joints do not.
    hands: Any = importlib.import_module("runtime.inference.adapters.lingbot_hands")
    embodiment: Any = importlib.import_module("runtime.inference.adapters.embodiment")
    moves: Moves = hands.HandMoves(embodiment.RigKinematics(options.arms), "robotwin")
    return moves
