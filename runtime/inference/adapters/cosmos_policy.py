"""Cosmos-Policy behind its HTTP server: chunks of joints, and with them predicted pictures and a value.

Checked against NVlabs/cosmos-policy cosmos_policy/experiments/robot/aloha/deploy.py (the server) and run_aloha_eval.py
(its client): `POST /act` with pictures of 224x224, `proprio` and `task_description`; 50 rows of 14 joints at 25 Hz.
Whatever goes wrong in the server, it answers with the text "error" and the status 200.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.inference.adapters import answers, json_numpy
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply, Steps
from runtime.inference.adapters.http_link import HttpLink

PORT: Final = 8777
SIZE_PX: Final = 224
PICTURES: Final = {
    "cam_high": ("primary_image", "future_image"),
    "cam_left_wrist": ("left_wrist_image", "future_wrist_image"),
    "cam_right_wrist": ("right_wrist_image", "future_wrist_image2"),
}
"""The rig's camera -> what its picture is called in a request, and in what is predicted."""


class CosmosPolicySettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the server does not say of itself; the defaults are its ALOHA checkpoint's."""

    name: str = "cosmos-policy"
    rate_hz: RateHz = 25
    horizon: Steps = 50
    execute_steps: Steps = 50


class CosmosPolicy:
    """One rig's connection to a Cosmos-Policy server."""

    def __init__(self, endpoint: str, settings: CosmosPolicySettings | None = None) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        self._settings = settings or CosmosPolicySettings()
        self._link = HttpLink(endpoint, self._settings.name, PORT, "/act", json_numpy.BODY_BYTES_MAX)
        self._prompt = ""

    def open(self, timeout_s: float) -> Card:
        """Connect; AdapterError if it cannot be reached. It says nothing of itself."""
        settings = self._settings
        self._link.connect(timeout_s)
        return settings.card("WAM, joint denoising")

    def reset(self, prompt: str) -> None:
        """Begin an episode; the server remembers none."""
        self._prompt = prompt

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        request: dict[str, Any] = {
            name: _resized(question.view.images[camera]) for camera, (name, _) in PICTURES.items()
        }
        request["proprio"] = np.asarray(question.view.position, dtype=np.float32)
        request["task_description"] = question.prompt or self._prompt
        body = self._link.post(json_numpy.dumps(request), question.timeout_s)
        try:
            answer = json_numpy.loads(body)
        except json_numpy.JsonNumpyError as error:
            raise self._link.error(f"sent {error}") from None
        if answer == "error":
            raise self._link.error("reports an error; its own log says which")
        found = answers.mapping(answer, self._link.error)
        rows = answers.chunk(found.get("actions"), self._settings.horizon, self._link.error)
        return Reply(answers.as_targets(rows), frames=self._frames(found), value=self._value(found))

    def close(self) -> None:
        """Let go of the peer."""
        self._link.close()

    def _frames(self, found: Any) -> dict[str, NDArray[np.uint8]]:
        predicted = found.get("future_image_predictions")
        if predicted is None:
            return {}
        pictures = answers.mapping(predicted, self._link.error)
        frames: dict[str, NDArray[np.uint8]] = {}
        for camera, (_, name) in PICTURES.items():
            picture = pictures.get(name)
            if picture is None:
                continue
            if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
                raise self._link.error(f"answered {name!r} that is no picture")
            frames[camera] = picture[None]
        return frames

    def _value(self, found: Any) -> float | None:
        value = found.get("value_prediction")
        if value is None:
            return None
        row = [value] if isinstance(value, int | float) else value
        if isinstance(value, np.ndarray):
            row = value.reshape(-1)
        return float(answers.numbers(row, "value_prediction", (1,), self._link.error)[0])


def _resized(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the whole picture at the model's size, sides stretched each on its own, as the released client does."""
    if image.shape[:2] == (SIZE_PX, SIZE_PX):
        return np.ascontiguousarray(image, dtype=np.uint8)
    return np.asarray(Image.fromarray(np.asarray(image, dtype=np.uint8)).resize((SIZE_PX, SIZE_PX)))
