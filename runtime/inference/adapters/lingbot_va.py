"""A session with LingBot-VA: it remembers an episode and is told what was really done.

Checked against Robbyant/lingbot-va: wan_va/wan_va_server.py, wan_va/utils/Simple_Remote_Infer/deploy/
websocket_policy_server.py and evaluation/robotwin/eval_polict_client_openpi.py. An episode is `reset` with the prompt;
a chunk about the first observation, (channels, frames, steps), whose frame 0 stands for that observation and is not
executed; then in turn a commit (`compute_kv_cache`: key views, one every quarter of a frame, and the executed actions
in the model's own numbers) and a chunk about what follows it.

What runs while the model thinks is from the paper (its Algorithm 2), not from the release. The released server is
asked as it is: each commit grounds the cache on the newest views and on what was executed until then, in whole frames,
and the chunk begins at the newest view. Steps that do not fill frames are told as the nearest number of whole frames,
at evenly spaced ticks of what was executed. The actions that are still to be executed meanwhile can only be told to a
server whose metadata say `imagine: True`: it gets them as a second commit with `imagine` set, beside the newest view,
to predict over them; then the chunk begins where they end, and the reply begins with them. The release's client sends
the key `imagine`, always False, and its server does nothing with it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Protocol

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.inference.adapters import answers
from runtime.inference.adapters.base import AdapterError, Card, Executed, Question, RateHz, Reply, Steps, View
from runtime.inference.adapters.lingbot_moves import Moves, Rotations
from runtime.inference.adapters.pictures import stretched
from runtime.layout import CAMERAS
from runtime.records import CHUNK_STEPS_MAX

PORT: Final = 29536
PICTURE_PX: Final = (240, 320)
"""Height and width of RoboTwin's cameras, which the server was trained on; it resizes to its own."""
KEYS_PER_FRAME: Final = 4
PICTURES: Final = "observation.images."


class LingBotVaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a LingBot-VA server does not say of itself; the defaults are its RoboTwin configuration.

    A chunk has `frames` frames of `steps` steps. `execute_steps`: when the next chunk is asked for, in steps.
    """

    name: str = "lingbot-va"
    rate_hz: RateHz = 25
    frames: Annotated[int, Meta(ge=2, le=8)] = 2
    steps: Annotated[int, Meta(ge=4, le=32, multiple_of=4)] = 16
    execute_steps: Steps = 16
    rotations: Rotations = "robotwin"
    api_key: str = ""

    def card(self, cameras: tuple[str, ...] = CAMERAS) -> Card:
        """Return the card of a server that is set so."""
        horizon = min(self.frames * self.steps, CHUNK_STEPS_MAX)
        return Card(
            name=self.name,
            kind="WAM, IDM-style autoregressive",
            horizon=horizon,
            execute_steps=min(self.execute_steps, horizon),
            rate_hz=self.rate_hz,
            cameras=cameras,
            stateful=True,
            key_every=self.steps // KEYS_PER_FRAME,
        )


class Peer(Protocol):
    """What answers as the released server does; `PackedPeer` reaches one."""

    metadata: Mapping[str, Any]

    @property
    def connected(self) -> bool:
        """Whether it can be asked."""

    def connect(self, timeout_s: float) -> Mapping[str, Any]:
        """Reach it and return what it says of itself; AdapterError if it is not there."""

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> Any:
        """Return what it answers; AdapterError if it does not, or not in time."""

    def refuse(self, what: str) -> AdapterError:
        """Return the error for an answer that may not be used."""

    def close(self) -> None:
        """Let go of it."""


class LingBotVa:
    """One rig's session with a LingBot-VA.

    `cameras` are those of the rig that it reads, `picture_px` height and width of the pictures that it is given.
    """

    def __init__(
        self,
        peer: Peer,
        settings: LingBotVaSettings,
        moves: Moves,
        cameras: tuple[str, ...] = CAMERAS,
        picture_px: tuple[int, int] = PICTURE_PX,
    ) -> None:
        self._settings = settings
        self._moves = moves
        self._peer = peer
        self._cameras = cameras
        self._picture_px = picture_px
        self._patience_s = 10.0
        self._predicted: NDArray[np.float64] | None = None
        self._committed_frames = 0
        self._begun = False

    def open(self, timeout_s: float) -> Card:
        """Connect; AdapterError if it cannot be reached."""
        self._patience_s = timeout_s
        self._peer.connect(timeout_s)
        card = self._settings.card(self._cameras)
        # Of a chunk that begins with what is told at least a frame is left.
        return replace(card, prefix_max=card.horizon - self._settings.steps) if self._imagines else card

    def reset(self, prompt: str) -> None:
        """Begin an episode; connects anew where that is needed and waits as long as `open` was granted."""
        self._begun = False
        answer = self._peer.ask({"reset": True, "prompt": prompt}, self._patience_s)
        answers.mapping(answer, self._peer.refuse)
        self._predicted, self._committed_frames, self._begun = None, 0, True

    def infer(self, question: Question) -> Reply:
        """Commit what was executed, then ask for what follows; see Adapter.

        The first chunk of an episode has a frame less than the card says: its last target is held for the rest.
        """
        if not self._begun or not self._peer.connected:
            self._begun = False
            raise self._peer.refuse("has lost the episode; it begins anew with a reset")
        until_s = time.monotonic() + question.timeout_s
        self._begun = False  # until the answer is here, the session does not know where it stands
        reply = self._next(question, until_s)
        self._begun = True
        return reply

    def close(self) -> None:
        """Let go of the peer."""
        self._peer.close()

    def _next(self, question: Question, until_s: float) -> Reply:
        steps = self._settings.steps
        start = np.asarray(question.view.position, dtype=np.float64)
        leading = np.empty((0, len(start)))
        if self._predicted is None:
            self._moves.begin(start)
        elif question.executed is not None:
            self._commit(question.executed, self._predicted, until_s)
            leading = self._imagine(question, self._predicted, until_s)
        request = {"obs": self._observation(question.view, question.prompt), "prompt": question.prompt}
        answer = answers.mapping(self._peer.ask(request, until_s - time.monotonic()), self._peer.refuse)
        shape = (self._moves.channels, self._settings.frames, steps)
        predicted = answers.numbers(answer.get("action"), "action", shape, self._peer.refuse)
        self._predicted = predicted
        ahead = predicted[:, 0 if self._committed_frames else 1 :].reshape(self._moves.channels, -1).T
        rows = self._moves.rows(ahead, leading[-1] if len(leading) else start, self._peer.refuse)
        whole = np.concatenate((leading, rows))
        horizon = min(self._settings.frames * steps, CHUNK_STEPS_MAX)
        padded = np.concatenate((whole, np.repeat(whole[-1:], max(horizon - len(whole), 0), axis=0)))
        return Reply(answers.as_targets(padded[:horizon]), timing_ms=answers.timings(answer.get("server_timing")))

    def _commit(self, executed: Executed, predicted: NDArray[np.float64], until_s: float) -> None:
        """Tell what was executed and seen since the last commit, in whole frames."""
        steps, total = self._settings.steps, len(executed.actions)
        if total == 0 or not executed.key_views:
            raise self._peer.refuse("is to be told what was executed, and nothing was recorded")
        frames = max(round(total / steps), 1)
        at = np.round(np.linspace(total / (frames * steps), total, frames * steps)).astype(int) - 1
        state = self._channels(executed.actions[np.maximum(at, 0)], predicted)
        key_at = at[steps // KEYS_PER_FRAME - 1 :: steps // KEYS_PER_FRAME]
        ticks = np.asarray(executed.key_ticks[: len(executed.key_views)])
        views = [executed.key_views[int(np.argmin(np.abs(ticks - tick)))] for tick in key_at]
        if not self._committed_frames:
            # The episode's first commit carries the first observation's frame too, with the numbers the model gave it.
            state = np.concatenate((predicted[:, :1], state), axis=1)
        self._tell([self._observation(view, "") for view in views], state, False, until_s)
        self._committed_frames += state.shape[1]

    def _imagine(self, question: Question, predicted: NDArray[np.float64], until_s: float) -> NDArray[np.float64]:
        """Tell a server that can predict over them the actions still to be executed; return their rows, if told."""
        steps = self._settings.steps
        frames = round(question.committed / steps)
        if not self._imagines or not frames:
            return np.empty((0, question.planned.shape[1]))
        rows = np.asarray(question.planned[: question.committed], dtype=np.float64)
        at = np.round(np.linspace(len(rows) / (frames * steps), len(rows), frames * steps)).astype(int) - 1
        state = self._channels(rows[np.maximum(at, 0)], predicted)
        self._tell([self._observation(question.view, question.prompt)], state, True, until_s)
        return rows

    @property
    def _imagines(self) -> bool:
        return self._peer.metadata.get("imagine") is True

    def _tell(self, views: list[dict[str, Any]], state: NDArray[np.float64], imagine: bool, until_s: float) -> None:
        request = {"obs": views, "compute_kv_cache": True, "imagine": imagine, "state": state.astype(np.float32)}
        answers.mapping(self._peer.ask(request, until_s - time.monotonic()), self._peer.refuse)

    def _channels(self, rows: NDArray[Any], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rig rows (n, 14) in the model's numbers, (channels, frames, steps)."""
        told = self._moves.steps(np.asarray(rows, dtype=np.float64), predicted[:, -1, 0])
        return told.T.reshape(self._moves.channels, -1, self._settings.steps)

    def _observation(self, view: View, prompt: str) -> dict[str, Any]:
        images = {f"{PICTURES}{name}": stretched(view.images[name], *self._picture_px) for name in self._cameras}
        return {**images, "observation.state": np.asarray(view.position, dtype=np.float32), "task": prompt}
