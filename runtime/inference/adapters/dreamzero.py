"""DreamZero behind roboarena's websocket: one arm of 7 joints and a gripper, declared as an arm of its own.

Checked against robo-arena/roboarena roboarena/policy_server.py and dreamzero0/dreamzero eval_utils/policy_server.py,
socket_test_optimized_AR.py and test_client_AR.py. The metadata say which pictures are wanted and of what size. Each
request has an `endpoint`: `infer`, answered by a bare packed array (roboarena's newer server: a map with `actions`), or
`reset`, answered by the text "reset successful". A new `session_id` also begins an episode. The first request has one
picture a camera, each further one four, from 23, 16, 8 and 0 steps before: the server keeps the history. Joints and
gripper are DROID's (droid-dataset/droid droid/franka/robot.py): absolute, the gripper 0 open and 1 closed. The released
server reads no `cartesian_position`; it gets the hand's pose in the base of the policy's own arm.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters import answers
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply, Steps, View
from runtime.inference.adapters.embodiment import EmbodimentMap
from runtime.inference.adapters.packed import PackedPeer
from runtime.inference.adapters.pictures import padded
from runtime.inference.adapters.websocket import one_line

PORT: Final = 8000
OWN_JOINTS: Final = 7
ARM_NUMBERS: Final = OWN_JOINTS + 1
FRAME_OFFSETS: Final = (-23, -16, -8, 0)
"""Steps before the newest picture of those in a request (test_client_AR.py, RELATIVE_OFFSETS)."""
RESET_SAYS: Final = "reset successful"


class DreamZeroSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a DreamZero server does not say of itself. `exterior` and `wrist` are the rig's cameras in those places."""

    name: str = "dreamzero"
    rate_hz: RateHz = 15
    horizon: Steps = 24
    execute_steps: Steps = 24
    exterior: tuple[str, ...] = ("cam_high", "cam_left_wrist")
    wrist: str = "cam_right_wrist"


class DreamZero:
    """One rig's session with a DreamZero server."""

    def __init__(
        self, endpoint: str, settings: DreamZeroSettings | None = None, embodiment: EmbodimentMap | None = None
    ) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        self._settings = settings or DreamZeroSettings()
        self._embodiment = embodiment
        self._peer = PackedPeer(endpoint, self._settings.name)
        self._patience_s = 10.0
        self._size_px: tuple[int, int] | None = None
        self._cameras: dict[str, str] = {}
        self._session = ""
        self._answered = False

    def open(self, timeout_s: float) -> Card:
        """Connect and read which pictures it wants.

        Raises:
            AdapterError: it cannot be reached, or wants pictures or actions that are not spoken here.
            UsageError: no embodiment was declared for its arm of 7 joints, or another.
        """
        settings = self._settings
        self._check_embodiment()
        self._patience_s = timeout_s
        self._read_wishes(self._peer.connect(timeout_s))
        return replace(
            settings.card("WAM, joint autoregressive", cameras=tuple(dict.fromkeys(self._cameras.values()))),
            stateful=True,
            key_every=FRAME_OFFSETS[-1] - FRAME_OFFSETS[-2],
        )

    def reset(self, prompt: str) -> None:
        """Begin an episode under a new session id; connects anew where needed, waits as long as `open` was granted."""
        self._answered, self._session = False, ""
        if self._embodiment is not None:
            self._embodiment.begin()
        frame = self._peer.ask_frame({"endpoint": "reset", "prompt": prompt}, self._patience_s)
        if frame != RESET_SAYS:
            said = one_line(frame) if isinstance(frame, str) else "no text"
            raise self._peer.failed(f"did not reset: {said}")
        self._session = secrets.token_hex(16)

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        embodiment = self._embodiment
        if embodiment is None or not self._session or not self._peer.connected:
            raise self._peer.refuse("has lost the episode; it begins anew with a reset")
        session, self._session = self._session, ""
        answer = self._peer.ask(self._request(question, embodiment, session), question.timeout_s)
        found = answer.get("actions") if isinstance(answer, dict) else answer
        shape = (self._settings.horizon, ARM_NUMBERS)
        actions = answers.numbers(found, "actions", shape, self._peer.refuse)
        self._session, self._answered = session, True
        return Reply(answers.as_targets(embodiment.rows(actions, question.view.position)))

    def close(self) -> None:
        """Let go of the peer."""
        self._peer.close()

    def _check_embodiment(self) -> None:
        name = self._settings.name
        if self._embodiment is None:
            raise UsageError(
                f"{name} drives one arm of {OWN_JOINTS} joints and a gripper, this rig has two of 6; say what this rig "
                "makes of it and which arms it drives: embodiment=FILE with an 'own_arm', and arms=MODEL"
            )
        declared = self._embodiment.embodiment
        if declared.own_arm is None or len(declared.own_arm.joints) != OWN_JOINTS or len(declared.arms) != 1:
            raise UsageError(f"{name} drives one arm of {OWN_JOINTS} joints; declare an 'own_arm' so, for one arm")
        if declared.steps or declared.gripper_steps or declared.gripper != "closed_1":
            raise UsageError(f"{name} gives targets, 1 for a closed gripper; declare no steps, and gripper closed_1")

    def _read_wishes(self, metadata: Mapping[str, Any]) -> None:
        settings, exterior = self._settings, metadata.get("n_external_cameras", 1)
        if metadata.get("action_space", "joint_position") != "joint_position":
            raise self._peer.failed("acts in another space than joint_position")
        if metadata.get("needs_stereo_camera"):
            raise self._peer.failed("wants stereo pictures, which this rig has not")
        if not isinstance(exterior, int) or not 0 <= exterior <= len(settings.exterior):
            raise self._peer.failed(f"wants more exterior cameras than the {len(settings.exterior)} that are set")
        cameras = {f"observation/exterior_image_{i}_left": settings.exterior[i] for i in range(exterior)}
        if metadata.get("needs_wrist_camera", True):
            cameras["observation/wrist_image_left"] = settings.wrist
        self._cameras = cameras
        size = metadata.get("image_resolution")
        fits = isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)
        if size is not None and not (fits and all(16 <= side <= 4096 for side in size)):
            raise self._peer.failed("wants pictures of no size")
        self._size_px = None if size is None else (size[0], size[1])

    def _request(self, question: Question, embodiment: EmbodimentMap, session: str) -> dict[str, Any]:
        told = embodiment.told(question.view.position)
        views = self._views(question)
        pictures = {key: np.stack([self._picture(view, name) for view in views]) for key, name in self._cameras.items()}
        return {
            **{key: stack if len(views) > 1 else stack[0] for key, stack in pictures.items()},
            "observation/joint_position": told[:OWN_JOINTS].astype(np.float32),
            "observation/cartesian_position": embodiment.own_hand(told[:OWN_JOINTS]).astype(np.float32),
            "observation/gripper_position": told[OWN_JOINTS:].astype(np.float32),
            "prompt": question.prompt,
            "session_id": session,
            "endpoint": "infer",
        }

    def _views(self, question: Question) -> list[View]:
        """Return the newest view alone in an episode's first request, and with those before it in each further one."""
        seen = question.executed
        if not self._answered or seen is None or not seen.key_views:
            return [question.view]
        newest = len(seen.actions) - 1
        ticks = np.asarray(seen.key_ticks[: len(seen.key_views)])
        before = [seen.key_views[int(np.argmin(np.abs(ticks - newest - offset)))] for offset in FRAME_OFFSETS[:-1]]
        return [*before, question.view]

    def _picture(self, view: View, camera: str) -> NDArray[np.uint8]:
        image = view.images[camera]
        height_px, width_px = self._size_px or image.shape[:2]
        return padded(image, height_px, width_px)
