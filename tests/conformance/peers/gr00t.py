"""Isaac-GR00T's ZeroMQ server around a model that goes on from the state it is told.

Written from NVIDIA/Isaac-GR00T gr00t/policy/server_client.py and the checks of gr00t_policy.py.
"""

from __future__ import annotations

import io
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.base import Question
from runtime.layout import CAMERAS
from tests.conformance.peers.cosmos_policy import drift
from tests.conformance.peers.zmq_peer import ZmqPeer
from tests.conformance.suite import HIDDEN

HORIZON = 16
MALFORMED = ("garbage", "cut", "deep", "many", "objects", "huge", "nan", "shape", "number", "missing")
PARTS = {"left_arm": (0, 6), "left_gripper": (6, 7), "right_arm": (7, 13), "right_gripper": (13, 14)}


def npy(array: NDArray[Any], *, pickled: bool = False) -> dict[str, Any]:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=pickled)
    return {"__ndarray_class__": True, "as_npy": out.getvalue()}


def packed(tree: Any) -> bytes:
    data: bytes = msgpack.packb(tree, default=npy)
    return data


def hook(found: dict[Any, Any]) -> Any:
    if "__ndarray_class__" in found:
        return np.load(io.BytesIO(found["as_npy"]), allow_pickle=False)
    return found


def modality(keys: Any, steps: int = 1) -> dict[str, Any]:
    config = {"delta_indices": list(range(steps)), "modality_keys": list(keys), "sin_cos_embedding_keys": None}
    return {"__ModalityConfig_class__": True, "as_json": config}


def modalities() -> dict[str, Any]:
    """Return what the server of a checkpoint for two arms says of itself."""
    return {
        "video": modality(CAMERAS),
        "state": modality(PARTS),
        "language": modality(["annotation.human.task_description"]),
        "action": modality(PARTS, HORIZON),
    }


def acted(observation: Any) -> dict[str, Any]:
    """Return the model's action; it is as strict as the released one."""
    for name in CAMERAS:
        video = observation["video"][name]
        assert video.dtype == np.uint8
        assert video.ndim == 5
        assert video.shape[:2] + video.shape[-1:] == (1, 1, 3)
    state = np.empty(14, dtype=np.float32)
    for name, (begin, end) in PARTS.items():
        part = observation["state"][name]
        assert (part.dtype, part.shape) == (np.float32, (1, 1, end - begin))
        state[begin:end] = part[0, 0]
    ((prompt,),) = observation["language"]["annotation.human.task_description"]
    assert isinstance(prompt, str)
    rows = drift(state, HORIZON)
    return {name: rows[None, :, begin:end] for name, (begin, end) in PARTS.items()}


class Gr00tPeer(ZmqPeer):
    """The server of a checkpoint for two arms, or as its configuration is changed."""

    def __init__(self) -> None:
        self.resets = 0
        self.token: str | None = None
        self.config = modalities()
        self.model = acted
        super().__init__(self.reply, "gr00t://127.0.0.1:{port}")

    def revive(self) -> None:
        self.resets = 0
        super().revive()

    def reply(self, message: bytes, how: str) -> bytes:
        request = msgpack.unpackb(message, object_hook=hook)
        if self.token is not None and request.get("api_token") != self.token:
            return packed({"error": "Unauthorized: Invalid API token"})
        if request["endpoint"] == "get_modality_config":
            return packed(self.config)
        if request["endpoint"] == "reset":
            assert request["data"] == {"options": None}
            self.resets += 1
            return packed({})
        assert request["endpoint"] == "get_action"
        return self._action(request["data"]["observation"], how)

    def _action(self, observation: Any, how: str) -> bytes:
        action = self.model(observation)
        match how:
            case "error":
                return packed({"error": f"[Errno 2] No such file or directory: '{HIDDEN}/model.safetensors'"})
            case "garbage":
                return b"\xc1\xc1"
            case "cut":
                return packed([action, {}])[:-9]
            case "deep":
                return b"\x91" * 200 + b"\xc0"
            case "many":
                return packed([[0] * 4000] * 40)
            case "objects":
                action["left_arm"] = npy(np.array([{}, None], dtype=object), pickled=True)
            case "huge":
                header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n"
                data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 16
                action["left_arm"] = {"__ndarray_class__": True, "as_npy": data}
            case "nan":
                action["left_arm"] = np.where(np.arange(6) == 2, np.nan, action["left_arm"])
            case "shape":
                action["left_arm"] = action["left_arm"][:, :-1]
            case "number":
                return packed(7)
            case "missing":
                del action["right_gripper"]
        return packed([action, {}])


def expected(question: Question) -> NDArray[np.float32]:
    return drift(question.view.position, HORIZON)
