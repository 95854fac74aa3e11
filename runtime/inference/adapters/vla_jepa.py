"""VLA-JEPA behind its websocket server: two pictures and an instruction give steps of one hand, between -1 and 1.

Checked against ginwind/VLA-JEPA: deployment/model_server/tools/websocket_policy_server.py, examples/LIBERO/
model2libero_interface.py and starVLA/model/framework/VLA_JEPA.py. As its client does, the actions are un-normalised
here with the checkpoint's statistics (it uses the minimum and maximum), and the gripper's number is closed below 0.5.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import numpy as np

from runtime.errors import UsageError
from runtime.inference.adapters import answers, envelope
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply, Steps
from runtime.inference.adapters.packed import PackedPeer
from runtime.inference.adapters.pictures import stretched
from runtime.inference.adapters.poses import DeltaHand, Kinematics, delta_rows
from runtime.inference.adapters.unnormalise import Method, Statistics, load_statistics

PORT: Final = 10093
SIZE_PX: Final = 224
DIMENSIONS: Final = 7
GRIPPER: Final = 6


class VlaJepaSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a VLA-JEPA server does not say of itself.

    `statistics` is the checkpoint's dataset_statistics.json, `unnorm_key` the data set in it; `hand` which arm moves.
    """

    name: str = "vla-jepa"
    rate_hz: RateHz = 20
    horizon: Steps = 7
    execute_steps: Steps = 7
    cameras: tuple[str, ...] = ("cam_high", "cam_right_wrist")
    statistics: str = ""
    unnorm_key: str = ""
    normalisation: Method = "min_max"
    hand: DeltaHand | None = None
    api_key: str = ""


class VlaJepa:
    """One rig's connection to a VLA-JEPA server."""

    def __init__(
        self, endpoint: str, settings: VlaJepaSettings | None = None, kinematics: Kinematics | None = None
    ) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        self._settings = settings or VlaJepaSettings()
        self._kinematics = kinematics
        self._peer = PackedPeer(endpoint, self._settings.name, self._settings.api_key)
        self._statistics: Statistics | None = None

    def open(self, timeout_s: float) -> Card:
        """Connect and read the statistics.

        Raises:
            AdapterError: it cannot be reached.
            UsageError: no arms were named for its 7 numbers, or the statistics are not there or not such.
        """
        settings = self._settings
        if settings.hand is None or self._kinematics is None:
            raise UsageError(
                f"{settings.name} gives 7 steps of one hand, not 14 joints; say which one and which "
                "arms it drives: hand.arm=SIDE and arms=MODEL"
            )
        if not settings.statistics:
            raise UsageError(
                f"{settings.name} gives numbers between -1 and 1; name the checkpoint's dataset_statistics.json as "
                "'statistics'"
            )
        self._statistics = load_statistics(
            Path(settings.statistics), settings.unnorm_key, settings.normalisation, DIMENSIONS
        )
        until_s = time.monotonic() + timeout_s
        self._peer.connect(timeout_s)
        envelope.ping(self._peer, until_s - time.monotonic())
        return settings.card("VLA with JEPA auxiliary", cameras=settings.cameras)

    def reset(self, prompt: str) -> None:
        """Begin an episode: nothing to do, each request stands for itself."""

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        settings, kinematics, statistics = self._settings, self._kinematics, self._statistics
        if settings.hand is None or kinematics is None or statistics is None:
            raise self._peer.refuse("was not opened")
        data = envelope.infer(self._peer, self._payload(question), question.timeout_s)
        shape = (1, settings.horizon, DIMENSIONS)
        normalised = answers.numbers(data.get("normalized_actions"), "normalized_actions", shape, self._peer.refuse)[0]
        normalised[:, GRIPPER] = np.where(normalised[:, GRIPPER] < 0.5, 0.0, 1.0)
        start = np.asarray(question.view.position, dtype=np.float64)
        rows = delta_rows(kinematics, settings.hand, statistics.restore(normalised), start, self._peer.refuse)
        return Reply(answers.as_targets(rows))

    def close(self) -> None:
        """Let go of the peer."""
        self._peer.close()

    def _payload(self, question: Question) -> dict[str, object]:
        images = [stretched(question.view.images[name], SIZE_PX, SIZE_PX) for name in self._settings.cameras]
        return {
            "batch_images": [images],
            "instructions": [question.prompt],
            "unnorm_key": self._settings.unnorm_key or None,
            "do_sample": False,
            "use_ddim": True,
            "num_ddim_steps": 10,
        }
