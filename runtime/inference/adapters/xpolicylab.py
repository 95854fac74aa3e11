"""Policies behind XPolicyLab's websocket, through which RoboTwin is evaluated.

Checked against XPolicyLab/XPolicyLab: client_server/ws/model_server.py, client_server/ws/protocol/{codec,messages,
schemas,client}.py, policy/demo_policy/model.py and the observation format v1.0 of its README. Frames are msgpack maps
in the spelling of the msgpack_numpy package; each answer carries the id of its request. `hello`, then for an episode
`prepare_case` (where a case is named), `reset` with a new trial, `infer` for chunks, and `trial_end`; `heartbeat` asks
whether it is there, `close` says goodbye, `error` has a code and a message and leaves the connection open. A chunk is a
list of steps, each a map of joints and gripper or hand pose and gripper by arm, or one array.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters import answers
from runtime.inference.adapters.base import AdapterError, Card, ChunkSettings, Question, RateHz, Reply, Steps, View
from runtime.inference.adapters.openpi_codec import MSGPACK_NUMPY, CodecError, pack, unpack
from runtime.inference.adapters.poses import Hands, Kinematics, joint_rows
from runtime.inference.adapters.websocket import Link, one_line
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import quaternion, quaternion_matrix
from runtime.layout import ARM_GRIPPER, ARM_JOINTS, ARM_SLICE, CAMERAS, RIG_DOF, SIDES

PORT: Final = 19000
GOODBYE_S: Final = 0.5
CAMERA_NAMES: Final = {"cam_high": "cam_head"}
"""The rig's names of cameras -> XPolicyLab's, where they differ."""


class XPolicyLabSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What such a server does not say of itself.

    `horizon` is the length of its chunks, `actions` what they are of. `stateful` where the policy behind it remembers
    an episode. `case` is an action case that it is to prepare, if any.
    """

    name: str = "xpolicylab"
    rate_hz: RateHz = 25
    horizon: Steps = 50
    execute_steps: Steps = 25
    cameras: tuple[str, ...] = CAMERAS
    actions: Literal["joint", "ee"] = "joint"
    stateful: bool = False
    case: str = ""


class XPolicyLab:
    """One rig's connection to an XPolicyLab server."""

    def __init__(
        self, endpoint: str, settings: XPolicyLabSettings | None = None, kinematics: Kinematics | None = None
    ) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        self._settings = settings or XPolicyLabSettings()
        self._kinematics = kinematics
        self._link = Link(endpoint, self._settings.name)
        self._evaluation = secrets.token_hex(8)
        self._trial = ""
        self._step = 0
        self._patience_s = 10.0

    def open(self, timeout_s: float) -> Card:
        """Connect and say hello; AdapterError if it cannot be reached, UsageError if hands are to be moved and no arms
        were named."""
        settings = self._settings
        if settings.actions == "ee" and self._kinematics is None:
            raise UsageError(f"{settings.name} is to give hand poses; say which arms it drives: arms=MODEL")
        self._patience_s = timeout_s
        self._begin(timeout_s)
        return replace(settings.card("behind XPolicyLab", cameras=settings.cameras), stateful=settings.stateful)

    def reset(self, prompt: str) -> None:
        """End the trial under way and begin another; connects anew where needed, waits as `open` was granted."""
        until_s = time.monotonic() + self._patience_s
        if not self._link.connected:
            self._begin(self._patience_s)
        elif self._trial:
            self._ask("trial_end", "trial_end_ack", {"trial_id": self._trial}, until_s)
        if self._settings.case:
            case = {"action_case_id": self._settings.case, "instruction": prompt}
            self._ask("prepare_case", "prepare_case_ack", case, until_s)
        self._trial, self._step = secrets.token_hex(8), 0
        try:
            self._ask("reset", "reset_result", {"trial_id": self._trial}, until_s)
        except AdapterError:
            self._trial = ""
            raise

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        if not self._trial or not self._link.connected:
            raise self._link.error("has lost the trial with its connection; it begins anew with a reset")
        until_s = time.monotonic() + question.timeout_s
        payload = self._ask("infer", "infer_result", {"observation": self._observation(question)}, until_s)
        self._step += 1
        rows = self._rows(payload.get("actions"), np.asarray(question.view.position, dtype=np.float64))
        return Reply(answers.as_targets(rows), timing_ms=answers.timings({"latency_ms": payload.get("latency_ms")}))

    def alive(self, timeout_s: float) -> None:
        """Ask whether it is there; AdapterError if not."""
        self._ask("heartbeat", "heartbeat_ack", {}, time.monotonic() + timeout_s)

    def close(self) -> None:
        """End the trial, say goodbye and let go of the peer."""
        if self._link.connected:
            with contextlib.suppress(AdapterError):
                if self._trial:
                    self._ask("trial_end", "trial_end_ack", {"trial_id": self._trial}, time.monotonic() + GOODBYE_S)
                self._link.send(self._frame("close", {"reason": "done"})[1], GOODBYE_S)
        self._trial = ""
        self._link.close()

    def _begin(self, timeout_s: float) -> None:
        until_s = time.monotonic() + timeout_s
        self._trial = ""
        self._link.connect(timeout_s)
        self._ask("hello", "hello_ack", {}, until_s)

    def _frame(self, kind: str, payload: Mapping[str, Any]) -> tuple[str, bytes]:
        message_id = secrets.token_hex(8)
        frame = {
            "message_type": kind,
            "evaluation_id": self._evaluation,
            "action_case_id": self._settings.case or None,
            "trial_id": self._trial or None,
            "repeat_index": None,
            "step": self._step,
            "sent_at": datetime.datetime.now(datetime.UTC).isoformat(),
            "message_id": message_id,
            "payload": payload,
        }
        try:
            return message_id, pack(frame, MSGPACK_NUMPY)
        except CodecError as error:
            raise self._link.error(f"was not asked: {error}") from None

    def _ask(self, kind: str, answered: str, payload: Mapping[str, Any], until_s: float) -> Mapping[str, Any]:
        message_id, message = self._frame(kind, payload)
        received = self._link.exchange(message, until_s - time.monotonic())
        if isinstance(received, str):
            raise self._link.failed(f"sent a text: {one_line(received)}")
        try:
            frame = answers.mapping(unpack(received, MSGPACK_NUMPY), self._link.failed)
        except CodecError as error:
            raise self._link.failed(f"sent {error}") from None
        if frame.get("message_id") != message_id:
            raise self._link.failed("answered another request")
        found = answers.mapping(frame.get("payload"), self._link.failed)
        if frame.get("message_type") == "error":
            said = found.get("message")
            raise self._link.error(f"reports: {one_line(said if isinstance(said, str) else '')}")
        if frame.get("message_type") != answered:
            raise self._link.failed(f"answered {kind!r} with {str(frame.get('message_type'))[:32]!r}")
        return found

    def _observation(self, question: Question) -> dict[str, Any]:
        view = question.view
        vision = {
            CAMERA_NAMES.get(name, name): {"color": np.ascontiguousarray(view.images[name], dtype=np.uint8)}
            for name in self._settings.cameras
        }
        return {
            "data_format_version": "v1.0",
            "instruction": question.prompt,
            "instructions": [question.prompt],
            "vision": vision,
            "state": self._state(view),
        }

    def _state(self, view: View) -> dict[str, NDArray[np.float32]]:
        state: dict[str, NDArray[np.float32]] = {}
        for side in SIDES:
            arm = np.asarray(view.position[ARM_SLICE[side]], dtype=np.float32)
            state[f"{side}_arm_joint_state"] = arm[:ARM_JOINTS]
            state[f"{side}_ee_joint_state"] = arm[ARM_GRIPPER:]
        if self._kinematics is not None:
            for side, hand in self._kinematics.forward(np.asarray(view.position, dtype=np.float64)).items():
                pose = np.concatenate((hand.position, quaternion(hand.rotation)))
                state[f"{side}_ee_pose"] = pose.astype(np.float32)
        return state

    def _rows(self, actions: Any, start: NDArray[np.float64]) -> NDArray[np.float64]:
        refuse, horizon = self._link.error, self._settings.horizon
        if isinstance(actions, np.ndarray) and self._settings.actions == "joint":
            return answers.chunk(actions, horizon, refuse)
        if not isinstance(actions, list) or len(actions) != horizon:
            got = f"{len(actions)} steps" if isinstance(actions, list) else "no list of steps"
            raise refuse(f"answered {got}; 'horizon' is set to {horizon}")
        steps = [answers.mapping(step, refuse) for step in actions]
        arm_key, width = ("arm_joint_state", ARM_JOINTS) if self._settings.actions == "joint" else ("ee_pose", 7)
        parts = [
            [
                answers.numbers(step.get(f"{side}_{key}"), f"{side}_{key}", (length,), refuse)
                for side in SIDES
                for key, length in ((arm_key, width), ("ee_joint_state", 1))
            ]
            for step in steps
        ]
        found = np.array([np.concatenate(part) for part in parts])
        if self._settings.actions == "joint":
            return answers.chunk(found.reshape(-1, RIG_DOF), horizon, refuse)
        if self._kinematics is None:
            raise refuse("was not opened")
        hands = found.reshape(horizon, len(SIDES), width + 1)
        if not (np.linalg.norm(hands[..., 3:7], axis=-1) > 1e-6).all():
            raise refuse("answered a rotation that is none")
        goals: list[Hands] = [
            {side: Pose(hand[:3], quaternion_matrix(hand[3:7])) for side, hand in zip(SIDES, step, strict=True)}
            for step in hands
        ]
        return joint_rows(self._kinematics, goals, hands[..., 7], start, refuse)
