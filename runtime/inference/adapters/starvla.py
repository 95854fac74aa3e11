"""starVLA's models behind its websocket server, which un-normalises: 14 joints, or steps of one hand.

Checked against starVLA/starVLA: deployment/model_server/tools/websocket_policy_server.py, deployment/model_server/
policy_wrapper.py and examples/simBenchmarks/Robotwin/eval_files/model2robotwin_interface.py. The metadata say the
length of a chunk, the data sets whose statistics the checkpoint has, and the size of its pictures; RoboTwin's chunks
are left 6, right 6, left gripper, right gripper, as targets, as steps or relative to the episode's first state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters import answers, envelope
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply
from runtime.inference.adapters.packed import PackedPeer
from runtime.inference.adapters.pictures import stretched
from runtime.inference.adapters.poses import DeltaHand, Kinematics, delta_rows
from runtime.layout import CAMERAS, RIG_DOF
from runtime.records import CHUNK_STEPS_MAX

PORT: Final = 10093
SIZE_PX: Final = 224
ROBOTWIN_ORDER: Final = (*range(6), 12, *range(6, 12), 13)
"""Where each number of a rig's row is in a row of starVLA's RoboTwin models."""


class StarVlaSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a starVLA server does not say of itself.

    `mode`: what its numbers are. `order`: how its joints are ordered. `state`: whether it was trained with the joints,
    in its own order. `hand`: its chunks are 7 numbers, steps of that arm's hand.
    `horizon`: where its metadata have none.
    """

    name: str = "starvla"
    rate_hz: RateHz = 25
    cameras: tuple[str, ...] = CAMERAS
    unnorm_key: str = ""
    mode: Literal["abs", "delta", "rel"] = "abs"
    order: Literal["robotwin", "rig"] = "robotwin"
    state: bool = False
    hand: DeltaHand | None = None
    api_key: str = ""


class StarVla:
    """One rig's connection to a starVLA server."""

    def __init__(
        self, endpoint: str, settings: StarVlaSettings | None = None, kinematics: Kinematics | None = None
    ) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        self._settings = settings or StarVlaSettings()
        self._kinematics = kinematics
        self._peer = PackedPeer(endpoint, self._settings.name, self._settings.api_key)
        self._order = list(ROBOTWIN_ORDER if self._settings.order == "robotwin" else range(RIG_DOF))
        self._size_px = (SIZE_PX, SIZE_PX)
        self._horizon = 0
        self._first: NDArray[np.float64] | None = None
        self._prompt = ""

    def open(self, timeout_s: float) -> Card:
        """Connect and read what it says of itself.

        Raises:
            AdapterError: it cannot be reached, or its checkpoint has several data sets and none is named.
            UsageError: one hand is to be moved and no arms were named.
        """
        settings = self._settings
        if settings.hand is not None and self._kinematics is None:
            raise UsageError(f"{settings.name} gives steps of one hand; say which arms it drives: arms=MODEL")
        until_s = time.monotonic() + timeout_s
        metadata = self._peer.connect(timeout_s)
        envelope.ping(self._peer, until_s - time.monotonic())
        self._check_key(metadata)
        self._horizon = _whole(metadata.get("action_chunk_size")) or settings.horizon
        if not 1 <= self._horizon <= CHUNK_STEPS_MAX:
            raise self._peer.failed(f"says no length of a chunk from 1 to {CHUNK_STEPS_MAX}; set 'horizon'")
        size = metadata.get("training_obs_image_size")
        if isinstance(size, list) and len(size) == 2 and all(16 <= _whole(side) <= 4096 for side in size):
            self._size_px = (size[0], size[1])
        return settings.card("VLA", self._horizon, cameras=settings.cameras)

    def reset(self, prompt: str) -> None:
        """Begin an episode: the next view is the one that relative actions are relative to."""
        self._first, self._prompt = None, prompt

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        settings, kinematics = self._settings, self._kinematics
        start = np.asarray(question.view.position, dtype=np.float64)
        if self._first is None:
            self._first = start
        width = RIG_DOF if settings.hand is None else 7
        data = envelope.infer(self._peer, self._payload(question), question.timeout_s)
        found = answers.numbers(data.get("actions"), "actions", (1, self._horizon, width), self._peer.refuse)[0]
        if settings.hand is None:
            rows = self._targets(found[:, self._order], question, self._first)
        elif kinematics is not None:
            rows = delta_rows(kinematics, settings.hand, found, start, self._peer.refuse)
        else:
            raise self._peer.refuse("was not opened")
        return Reply(answers.as_targets(rows))

    def close(self) -> None:
        """Let go of the peer."""
        self._peer.close()

    def _targets(
        self, found: NDArray[np.float64], question: Question, first: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        match self._settings.mode:
            case "rel":
                return found + first
            case "delta":
                # Steps go on from what was commanded, as they did in training, not from what was measured: the first
                # target is that of the plan. Where there is none, the joints are those at rest, or a merge's forecast.
                steps = np.cumsum(found, axis=0)
                planned = question.planned[:1].astype(np.float64)
                return steps - steps[0] + planned[0] if len(planned) else steps + question.view.position
            case _:
                return found

    def _payload(self, question: Question) -> dict[str, object]:
        settings = self._settings
        example: dict[str, object] = {
            "image": [stretched(question.view.images[name], *self._size_px) for name in settings.cameras],
            "lang": question.prompt or self._prompt,
        }
        if settings.state:
            state = np.empty((1, RIG_DOF), dtype=np.float32)
            state[0, self._order] = question.view.position
            example["state"] = state
        return {
            "examples": [example],
            "unnorm_key": settings.unnorm_key or None,
            "do_sample": False,
            "use_ddim": True,
            "num_ddim_steps": 10,
        }

    def _check_key(self, metadata: Mapping[str, Any]) -> None:
        keys = metadata.get("available_unnorm_keys")
        names = [key[:64] for key in keys[:16] if isinstance(key, str)] if isinstance(keys, list) else []
        wanted = self._settings.unnorm_key
        if (wanted and names and wanted not in names) or (not wanted and len(names) > 1):
            raise self._peer.failed(f"has statistics of {', '.join(names)}; set 'unnorm_key' to one of them")


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
