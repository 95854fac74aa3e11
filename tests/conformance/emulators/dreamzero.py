"""DreamZero's server behind roboarena's interface, around a model of one arm that goes on from its joints.

Written from robo-arena/roboarena roboarena/policy_server.py and dreamzero0/dreamzero eval_utils/policy_server.py,
socket_test_optimized_AR.py (`ARDroidRoboarenaPolicy`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.base import Question
from tests.conformance.emulators.numpy_msgpack import packb
from tests.conformance.emulators.websocket_peer import Protocol
from tests.conformance.franka import franka, rig_hand
from tests.conformance.kinematics import x5_hands

CHUNK = 24
IMAGES = ("exterior_image_0_left", "exterior_image_1_left", "wrist_image_left")


def expected(question: Question) -> NDArray[Any]:
    """Return the chunk for the whole rig: each joint of the own arm leads away by 0.002 rad a step, its gripper closes.

    Where its hand is then is from another source than the adapter's.
    """
    here = np.asarray(question.view.position, dtype=np.float64)
    own = franka().told(here)[:7]
    rows = []
    for step in range(1, CHUNK + 1):
        here = x5_hands().joints({"right": rig_hand(own + 0.002 * step)}, here)
        here[13] = question.view.position[13] - 0.004 * step
        rows.append(here)
    return np.array(rows)


class DreamZeroProtocol(Protocol):
    """The server; `frames` are how many pictures a camera each request brought."""

    def __init__(self) -> None:
        super().__init__()
        self.session: str | None = None
        self.frames: list[int] = []

    def hello(self) -> bytes:
        wishes = {
            "image_resolution": (180, 320),
            "needs_wrist_camera": True,
            "n_external_cameras": 2,
            "needs_stereo_camera": False,
            "needs_session_id": True,
            "action_space": "joint_position",
        }
        return packb(wishes)

    def answer(self, request: Any) -> Any:
        if request["endpoint"] == "reset":
            self.episodes += 1
            self.frames = []
            return "reset successful"
        if request["session_id"] != self.session:
            self.session, self.frames = request["session_id"], []
        pictures = [request[f"observation/{name}"] for name in IMAGES]
        assert len({picture.shape for picture in pictures}) == 1
        assert pictures[0].shape[-3:] == (180, 320, 3)
        self.frames.append(1 if pictures[0].ndim == 3 else len(pictures[0]))
        assert request["observation/cartesian_position"].shape == (6,)
        steps = np.arange(1, CHUNK + 1, dtype=np.float32)[:, None]
        arm = request["observation/joint_position"] + 0.002 * steps
        gripper = request["observation/gripper_position"] + 0.004 * steps
        return np.concatenate((arm, gripper), axis=1).astype(np.float32)
