"""GigaWorld-Policy behind its ZeroMQ server, whose messages are archives of torch.

Checked against open-gigaai/giga-models giga_models/sockets/server.py and open-gigaai/giga-world-policy
scripts/inference_openloop.py: `{'endpoint': 'inference', 'data': {...}}` with pictures as tensors (3, height, width)
from 0 to 1, the state (1, 14) and the prompt; the answer is an array (48, 14), or the bytes `ERROR`.

Its replies are pickles. They are read from a host only that the user named as trusted, and by `torch_archive`, which
runs nothing of them. The server itself unpickles what anybody sends it: it belongs on a closed network.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters import answers, torch_archive
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply, Steps
from runtime.inference.adapters.zmq_link import ZmqLink, host_and_port
from runtime.layout import CAMERAS

PORT: Final = 11411
SCHEME: Final = "gigaworld://"
SHOWN: Final = f"{SCHEME}HOST:{PORT}?trust=HOST"


class GigaWorldSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the server does not say of itself; the defaults are its Agilex checkpoint's."""

    name: str = "gigaworld"
    rate_hz: RateHz = 30
    horizon: Steps = 48
    execute_steps: Steps = 30


class GigaWorld:
    """One rig's connection to a GigaWorld-Policy server."""

    def __init__(self, endpoint: str, settings: GigaWorldSettings | None = None) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none, or that names no trusted host."""
        self._settings = settings or GigaWorldSettings()
        host, port = _trusted(endpoint)
        self._link = ZmqLink(host, port, self._settings.name, torch_archive.ARCHIVE_BYTES_MAX)
        self._prompt = ""

    def open(self, timeout_s: float) -> Card:
        """Ask whether it is there; AdapterError if it cannot be reached."""
        settings = self._settings
        answers.mapping(self._ask({"endpoint": "ping"}, timeout_s), self._link.error)
        return settings.card("WAM, action first")

    def reset(self, prompt: str) -> None:
        """Begin an episode; the server remembers none."""
        self._prompt = prompt

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        data: dict[str, Any] = {f"observation.images.{name}": _tensor(question.view.images[name]) for name in CAMERAS}
        data["observation.state"] = np.asarray(question.view.position, dtype=np.float32)[None]
        data["prompt"] = question.prompt or self._prompt
        # Without it the server writes every picture that it is sent to its disk.
        data["_skip_ref_image_save"] = True
        found = self._ask({"endpoint": "inference", "data": data}, question.timeout_s)
        return Reply(answers.as_targets(answers.chunk(found, self._settings.horizon, self._link.error)))

    def close(self) -> None:
        """Let go of the peer."""
        self._link.close()

    def _ask(self, request: dict[str, Any], timeout_s: float) -> Any:
        until_s = time.monotonic() + timeout_s
        message = self._link.ask(torch_archive.dumps(request), until_s - time.monotonic())
        if message == b"ERROR":
            raise self._link.error("reports an error; its own log says which")
        try:
            return torch_archive.loads(message)
        except torch_archive.ArchiveError as error:
            raise self._link.error(f"sent {error}") from None


def _trusted(endpoint: str) -> tuple[str, int]:
    """Return host and port of an endpoint whose host the user named as trusted."""
    if not endpoint.startswith(SCHEME):
        raise UsageError(f"{endpoint[:80]!r} is no GigaWorld server; write {SHOWN}")
    where, _, query = endpoint.removeprefix(SCHEME).partition("?")
    host, port = host_and_port(where, PORT, SHOWN)
    if query != f"trust={host}":
        raise UsageError(
            f"GigaWorld's server answers with pickles; name its host as trusted to read them: "
            f"{SCHEME}{host}:{port}?trust={host}"
        )
    return host, port


def _tensor(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return a picture as (3, height, width) from 0 to 1; the server makes whole numbers of it again, cut off."""
    bright = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(np.minimum((bright + np.float32(0.25)) / np.float32(255.0), np.float32(1.0)))
