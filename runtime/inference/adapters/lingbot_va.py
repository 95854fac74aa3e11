"""LingBot-VA behind its websocket server: one session that remembers an episode and is told what was really done.

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
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters import answers
from runtime.inference.adapters.base import Card, Executed, Question, RateHz, Reply, Steps, View
from runtime.inference.adapters.lingbot_hands import CHANNELS, HAND, Frame, Rotations
from runtime.inference.adapters.packed import PackedPeer
from runtime.inference.adapters.pictures import stretched
from runtime.inference.adapters.poses import Kinematics, joint_rows
from runtime.layout import CAMERAS, GRIPPER_INDEX, SIDES
from runtime.records import CHUNK_STEPS_MAX

PORT: Final = 29536
PICTURE_PX: Final = (240, 320)
"""Height and width of RoboTwin's cameras, which the server was trained on; it resizes to its own."""
KEYS_PER_FRAME: Final = 4


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

    def card(self) -> Card:
        """Return the card of a server that is set so."""
        horizon = min(self.frames * self.steps, CHUNK_STEPS_MAX)
        return Card(
            name=self.name,
            kind="WAM, IDM-style autoregressive",
            horizon=horizon,
            execute_steps=min(self.execute_steps, horizon),
            rate_hz=self.rate_hz,
            cameras=CAMERAS,
            stateful=True,
            key_every=self.steps // KEYS_PER_FRAME,
        )


class LingBotVa:
    """One rig's session with a LingBot-VA server."""

    def __init__(
        self, endpoint: str, settings: LingBotVaSettings | None = None, kinematics: Kinematics | None = None
    ) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        self._settings = settings or LingBotVaSettings()
        self._kinematics = kinematics
        self._peer = PackedPeer(endpoint, self._settings.name, self._settings.api_key)
        self._patience_s = 10.0
        self._frame: Frame | None = None
        self._predicted: NDArray[np.float64] | None = None
        self._committed_frames = 0
        self._begun = False

    def open(self, timeout_s: float) -> Card:
        """Connect; AdapterError if it cannot be reached, UsageError if no arms were named for its hand poses."""
        settings = self._settings
        if self._kinematics is None:
            raise UsageError(f"{settings.name} gives poses of two hands; say which arms it drives: arms=MODEL")
        self._patience_s = timeout_s
        self._peer.connect(timeout_s)
        card = settings.card()
        # Of a chunk that begins with what is told at least a frame is left.
        return replace(card, prefix_max=card.horizon - settings.steps) if self._imagines else card

    def reset(self, prompt: str) -> None:
        """Begin an episode; connects anew where that is needed and waits as long as `open` was granted."""
        self._begun = False
        answer = self._peer.ask({"reset": True, "prompt": prompt}, self._patience_s)
        answers.mapping(answer, self._peer.refuse)
        self._frame, self._predicted, self._committed_frames, self._begun = None, None, 0, True

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
        steps, kinematics = self._settings.steps, self._kinematics
        if kinematics is None:
            raise self._peer.refuse("was not opened")
        start = np.asarray(question.view.position, dtype=np.float64)
        if self._frame is None:
            self._frame = Frame(dict(kinematics.forward(start)), self._settings.rotations)
        leading = np.empty((0, len(start)))
        if question.executed is not None and self._predicted is not None:
            self._commit(question.executed, kinematics, self._frame, until_s)
            leading = self._imagine(question, kinematics, self._frame, until_s)
        request = {"obs": self._observation(question.view, question.prompt), "prompt": question.prompt}
        answer = answers.mapping(self._peer.ask(request, until_s - time.monotonic()), self._peer.refuse)
        shape = (CHANNELS, self._settings.frames, steps)
        self._predicted = answers.numbers(answer.get("action"), "action", shape, self._peer.refuse)
        rows = self._rows(kinematics, self._frame, leading[-1] if len(leading) else start)
        whole = np.concatenate((leading, rows))
        horizon = min(self._settings.frames * steps, CHUNK_STEPS_MAX)
        padded = np.concatenate((whole, np.repeat(whole[-1:], max(horizon - len(whole), 0), axis=0)))
        return Reply(answers.as_targets(padded[:horizon]), timing_ms=answers.timings(answer.get("server_timing")))

    def _rows(self, kinematics: Kinematics, frame: Frame, start: NDArray[np.float64]) -> NDArray[np.float64]:
        predicted = self._predicted
        if predicted is None:
            return np.empty((0, len(start)))
        executed = predicted[:, 0 if self._committed_frames else 1 :].reshape(CHANNELS, -1).T
        if not (np.linalg.norm(executed.reshape(-1, len(SIDES), HAND)[..., 3:7], axis=-1) > 1e-6).all():
            raise self._peer.refuse("answered a rotation that is none")
        goals = [frame.hands(step) for step in executed]
        return joint_rows(kinematics, goals, executed[:, HAND - 1 :: HAND], start, self._peer.refuse)

    def _commit(self, executed: Executed, kinematics: Kinematics, frame: Frame, until_s: float) -> None:
        """Tell what was executed and seen since the last commit, in whole frames."""
        steps, total = self._settings.steps, len(executed.actions)
        if total == 0 or not executed.key_views:
            raise self._peer.refuse("is to be told what was executed, and nothing was recorded")
        frames = max(round(total / steps), 1)
        at = np.round(np.linspace(total / (frames * steps), total, frames * steps)).astype(int) - 1
        state = self._channels(executed.actions[np.maximum(at, 0)], kinematics, frame)
        key_at = at[steps // KEYS_PER_FRAME - 1 :: steps // KEYS_PER_FRAME]
        ticks = np.asarray(executed.key_ticks[: len(executed.key_views)])
        views = [executed.key_views[int(np.argmin(np.abs(ticks - tick)))] for tick in key_at]
        if not self._committed_frames and self._predicted is not None:
            # The episode's first commit carries the first observation's frame too, with the numbers the model gave it.
            state = np.concatenate((self._predicted[:, :1], state), axis=1)
        self._tell([self._observation(view, "") for view in views], state, False, until_s)
        self._committed_frames += state.shape[1]

    def _imagine(self, question: Question, kinematics: Kinematics, frame: Frame, until_s: float) -> NDArray[np.float64]:
        """Tell a server that can predict over them the actions still to be executed; return their rows, if told."""
        steps = self._settings.steps
        frames = round(question.committed / steps)
        if not self._imagines or not frames:
            return np.empty((0, question.planned.shape[1]))
        rows = np.asarray(question.planned[: question.committed], dtype=np.float64)
        at = np.round(np.linspace(len(rows) / (frames * steps), len(rows), frames * steps)).astype(int) - 1
        state = self._channels(rows[np.maximum(at, 0)], kinematics, frame)
        self._tell([self._observation(question.view, question.prompt)], state, True, until_s)
        return rows

    @property
    def _imagines(self) -> bool:
        return self._peer.metadata.get("imagine") is True

    def _tell(self, views: list[dict[str, Any]], state: NDArray[np.float64], imagine: bool, until_s: float) -> None:
        request = {"obs": views, "compute_kv_cache": True, "imagine": imagine, "state": state.astype(np.float32)}
        answers.mapping(self._peer.ask(request, until_s - time.monotonic()), self._peer.refuse)

    def _channels(self, rows: NDArray[Any], kinematics: Kinematics, frame: Frame) -> NDArray[np.float64]:
        """Return rig rows (n, 14) in the model's numbers, (channels, frames, steps)."""
        near = self._predicted[:, -1, 0] if self._predicted is not None else None
        told = []
        for row in np.asarray(rows, dtype=np.float64):
            grippers = {side: float(row[GRIPPER_INDEX[i]]) for i, side in enumerate(SIDES)}
            near = frame.channels(kinematics.forward(row), grippers, near)
            told.append(near)
        return np.array(told).T.reshape(CHANNELS, -1, self._settings.steps)

    def _observation(self, view: View, prompt: str) -> dict[str, Any]:
        images = {f"observation.images.{name}": stretched(view.images[name], *PICTURE_PX) for name in CAMERAS}
        return {**images, "observation.state": np.asarray(view.position, dtype=np.float32), "task": prompt}
