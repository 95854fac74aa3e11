"""pi0 and pi0.5 behind openpi's websocket server.

Checked against Physical-Intelligence/openpi: src/openpi/serving/websocket_policy_server.py, packages/openpi-client/src/
openpi_client/websocket_client_policy.py and src/openpi/policies/aloha_policy.py. The request is the map that its
`make_aloha_example` shows: `state` (14,), `images` uint8 (3, 224, 224) by the ALOHA camera names, `prompt`. The wire
has no reset: such a policy remembers nothing between two requests.

The server's `adapt_to_pi` is to be False for any arm but the ViperX of the first ALOHA: with it the server turns the
signs of joints and the gripper's scale into those of Physical Intelligence's own arms and back.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta

from runtime.inference.adapters import answers
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply, Steps, View
from runtime.inference.adapters.packed import PackedPeer
from runtime.inference.adapters.pictures import padded
from runtime.layout import CAMERAS, GRIPPER_INDEX, RIG_DOF

PORT: Final = 8000
SIZE_PX: Final = 224


class OpenPiSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an openpi server does not say of itself.

    `horizon` 0: one chunk about grey pictures is asked for when it is opened, which also lets it compile. `cameras`
    are those of ALOHA's names that the model was trained on. `gripper_open` is the number that the model's data has
    for an open gripper, with 0 for a closed one: 1 for fractions, the stroke in metres where it has metres.
    """

    name: str = "pi0"
    rate_hz: RateHz = 50
    execute_steps: Steps = 25
    cameras: tuple[str, ...] = CAMERAS
    gripper_open: Annotated[float, Meta(gt=0.0)] = 1.0
    api_key: str = ""


class OpenPi:
    """One rig's connection to an openpi server."""

    def __init__(self, endpoint: str, settings: OpenPiSettings | None = None) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        self._settings = settings or OpenPiSettings()
        self._peer = PackedPeer(endpoint, self._settings.name, self._settings.api_key)
        self._horizon = self._settings.horizon

    def open(self, timeout_s: float) -> Card:
        """Connect and learn the length of a chunk; AdapterError if it cannot be reached or does not drive 14 joints."""
        until_s = time.monotonic() + timeout_s
        self._peer.connect(timeout_s)
        settings = self._settings
        self._horizon = settings.horizon or len(self._ask(_grey(settings.cameras), "", 0, until_s).actions)
        return settings.card("VLA", self._horizon, cameras=settings.cameras)

    def reset(self, prompt: str) -> None:
        """Begin an episode: nothing to do, each request stands for itself."""

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        until_s = time.monotonic() + question.timeout_s
        return self._ask(question.view, question.prompt, self._horizon, until_s)

    def close(self) -> None:
        """Let go of the peer."""
        self._peer.close()

    def _ask(self, view: View, prompt: str, horizon: int, until_s: float) -> Reply:
        answer = answers.mapping(
            self._peer.ask(self._request(view, prompt), until_s - time.monotonic()), self._peer.refuse
        )
        rows = answers.chunk(answer.get("actions"), horizon, self._peer.refuse)
        rows[:, GRIPPER_INDEX] /= self._settings.gripper_open
        return Reply(
            answers.as_targets(rows),
            timing_ms=answers.timings(answer.get("server_timing"), answer.get("policy_timing")),
        )

    def _request(self, view: View, prompt: str) -> dict[str, Any]:
        state = np.array(view.position, dtype=np.float32)
        state[list(GRIPPER_INDEX)] *= self._settings.gripper_open
        images = {
            name: np.ascontiguousarray(padded(view.images[name], SIZE_PX, SIZE_PX).transpose(2, 0, 1))
            for name in self._settings.cameras
        }
        return {"state": state, "images": images, "prompt": prompt}


def _grey(cameras: tuple[str, ...]) -> View:
    picture = np.full((SIZE_PX, SIZE_PX, 3), 128, dtype=np.uint8)
    still = np.zeros(RIG_DOF, dtype=np.float32)
    return View(dict.fromkeys(cameras, picture), still, still)
