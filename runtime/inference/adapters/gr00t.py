"""Isaac-GR00T behind its ZeroMQ server: chunks by named parts of the robot, put together in the rig's order.

Checked against NVIDIA/Isaac-GR00T gr00t/policy/server_client.py and gr00t_policy.py: `get_modality_config` says which
pictures, states and actions a checkpoint has; `get_action` takes `video` (1, 1, height, width, 3), `state` (1, 1, n)
and `language` [[text]] by their names, and answers [{name: (1, steps, n)}, info] in the robot's own units, absolute.
An exception in the server is answered as {"error": text}.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters import answers
from runtime.inference.adapters.base import AdapterError, Card, Question, RateHz, Reply, StepsOrNone
from runtime.inference.adapters.embodiment import EmbodimentMap
from runtime.inference.adapters.npy_codec import MESSAGE_BYTES_MAX, NpyError, pack, unpack
from runtime.inference.adapters.zmq_link import ZmqLink, host_and_port
from runtime.layout import ARM_SLICE, CAMERAS, GRIPPER_INDEX, RIG_DOF, SIDES
from runtime.records import CHUNK_STEPS_MAX

PORT: Final = 5555
SCHEME: Final = "gr00t://"
PARTS: Final = {
    name: part
    for i, side in enumerate(SIDES)
    for name, part in (
        (f"{side}_arm", (ARM_SLICE[side].start, ARM_SLICE[side].start + 6)),
        (f"{side}_gripper", (GRIPPER_INDEX[i], GRIPPER_INDEX[i] + 1)),
    )
}
"""Name of a part -> the first and the one after the last of its numbers in a row."""


class Gr00tSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a checkpoint's names are the rig's.

    `videos`: the rig's camera -> the checkpoint's picture. `parts`: the checkpoint's name of a state or action -> the
    first and the one after the last of its numbers among the rig's 14. `action_parts`: the same for actions where an
    embodiment is declared, among its numbers; for states too where it has an arm of its own.
    """

    name: str = "gr00t"
    rate_hz: RateHz = 25
    execute_steps: StepsOrNone = 0
    videos: dict[str, str] = msgspec.field(default_factory=lambda: {name: name for name in CAMERAS})
    parts: dict[str, tuple[int, int]] = msgspec.field(default_factory=lambda: dict(PARTS))
    action_parts: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    api_token: str = ""

    def card(self, horizon: int, pictures: Collection[str]) -> Card:
        """Return the card of a checkpoint whose chunks have `horizon` steps and that wants these of its pictures."""
        return Card(
            name=self.name,
            kind="VLA",
            horizon=horizon,
            execute_steps=min(self.execute_steps or horizon, horizon),
            rate_hz=self.rate_hz,
            cameras=tuple(camera for camera, name in self.videos.items() if name in pictures),
        )


class Gr00t:
    """One rig's connection to an Isaac-GR00T server."""

    def __init__(
        self, endpoint: str, settings: Gr00tSettings | None = None, embodiment: EmbodimentMap | None = None
    ) -> None:
        """Note where it is; nothing is sent. UsageError for an endpoint that is none."""
        if not endpoint.startswith(SCHEME):
            raise UsageError(f"{endpoint[:80]!r} is no Isaac-GR00T server; write {SCHEME}HOST:{PORT}")
        self._settings = settings or Gr00tSettings()
        self._embodiment = embodiment
        self._action_parts = self._settings.action_parts or self._settings.parts
        own = embodiment is not None and embodiment.own is not None
        self._state_parts = self._action_parts if own else self._settings.parts
        host, port = host_and_port(endpoint.removeprefix(SCHEME), PORT, f"{SCHEME}HOST:{PORT}")
        self._link = ZmqLink(host, port, self._settings.name, MESSAGE_BYTES_MAX)
        self._patience_s = 10.0
        self._names: dict[str, tuple[str, ...]] = {}
        self._horizon = 0
        self._prompt = ""

    def open(self, timeout_s: float) -> Card:
        """Ask what the checkpoint takes and answers.

        Raises:
            AdapterError: it cannot be reached, its names are not those in the settings, it wants more than the newest
                picture, or its parts do not make up a row.
        """
        self._patience_s = timeout_s
        found = answers.mapping(self._ask("get_modality_config", None, timeout_s), self._link.error)
        self._names = {kind: self._keys(found, kind) for kind in ("video", "state", "language", "action")}
        for kind in ("video", "state", "language"):
            if self._steps(found, kind) != 1:
                raise self._link.error(f"wants {self._steps(found, kind)} of each {kind}; one is given, the newest")
        self._horizon = self._steps(found, "action")
        if not 1 <= self._horizon <= CHUNK_STEPS_MAX:
            raise self._link.error(f"answers chunks of {self._horizon} steps; 1 to {CHUNK_STEPS_MAX} are taken")
        self._check_names()
        return self._settings.card(self._horizon, self._names["video"])

    def reset(self, prompt: str) -> None:
        """Begin an episode; the server is told, and waited for as long as `open` was granted."""
        self._prompt = prompt
        if self._embodiment is not None:
            self._embodiment.begin()
        self._ask("reset", {"options": None}, self._patience_s)

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        if not self._names:
            raise self._link.error("was not opened")
        start = np.asarray(question.view.position, dtype=np.float32)
        told = start if self._embodiment is None else self._embodiment.told(start).astype(np.float32)
        cameras = {name: camera for camera, name in self._settings.videos.items()}
        observation = {
            "video": {
                name: np.ascontiguousarray(question.view.images[cameras[name]], dtype=np.uint8)[None, None]
                for name in self._names["video"]
            },
            "state": {name: told[slice(*self._state_parts[name])][None, None] for name in self._names["state"]},
            "language": {name: [[question.prompt or self._prompt]] for name in self._names["language"]},
        }
        found = self._ask("get_action", {"observation": observation, "options": None}, question.timeout_s)
        if not isinstance(found, list) or len(found) != 2:
            raise self._link.error("answered no action and info")
        rows = self._rows(answers.mapping(found[0], self._link.error))
        if self._embodiment is not None:
            return Reply(answers.as_targets(self._embodiment.rows(rows, start)))
        return Reply(answers.as_targets(rows))

    def close(self) -> None:
        """Let go of the peer."""
        self._link.close()

    def _rows(self, found: Mapping[str, Any]) -> NDArray[np.float64]:
        parts = {name: self._action_parts[name] for name in self._names["action"]}
        rows = np.empty((self._horizon, max(end for _, end in parts.values())))
        for name, (begin, end) in parts.items():
            shape = (1, self._horizon, end - begin)
            rows[:, begin:end] = answers.numbers(found.get(name), name, shape, self._link.error)[0]
        return rows

    def _check_names(self) -> None:
        settings = self._settings
        width = RIG_DOF if self._embodiment is None else self._embodiment.told_numbers
        for kind, where, known in (
            ("video", "videos", settings.videos.values()),
            ("state", "action_parts" if self._state_parts is settings.action_parts else "parts", self._state_parts),
            ("action", "action_parts" if settings.action_parts else "parts", self._action_parts),
        ):
            unknown = [name[:64] for name in self._names[kind] if name not in known]
            if unknown:
                raise self._link.error(f"has the {kind} {', '.join(unknown)}; say in '{where}' what that is here")
        for name in self._names["state"]:
            begin, end = self._state_parts[name]
            if not 0 <= begin < end <= width:
                raise self._link.error(
                    f"has the state {name[:64]}, which 'parts' puts at {begin},{end}; a part lies within 0,{width}"
                )
        covered = sorted(n for name in self._names["action"] for n in range(*self._action_parts[name]))
        if covered != list(range(RIG_DOF)) and self._embodiment is None:
            raise self._link.error(
                f"answers {len(covered)} numbers, not the rig's {RIG_DOF}; declare the rig's embodiment to drive it"
            )
        if covered != list(range(len(covered))):
            raise self._link.error("has actions that leave a gap in a row, or overlap; correct 'parts'")

    def _keys(self, found: Mapping[str, Any], kind: str) -> tuple[str, ...]:
        keys = answers.mapping(found.get(kind), self._link.error).get("modality_keys")
        if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
            raise self._link.error(f"names no {kind}")
        return tuple(keys[:64])

    def _steps(self, found: Mapping[str, Any], kind: str) -> int:
        indices = answers.mapping(found.get(kind), self._link.error).get("delta_indices")
        return len(indices) if isinstance(indices, list) else 0

    def _ask(self, endpoint: str, data: dict[str, Any] | None, timeout_s: float) -> Any:
        request: dict[str, Any] = {"endpoint": endpoint}
        if data is not None:
            request["data"] = data
        if self._settings.api_token:
            request["api_token"] = self._settings.api_token
        until_s = time.monotonic() + timeout_s
        message = self._link.ask(pack(request), until_s - time.monotonic())
        try:
            answer = unpack(message)
        except NpyError as error:
            raise self._link.error(f"sent {error}") from None
        if isinstance(answer, dict) and "error" in answer:
            raise self._refusal(answer["error"])
        return answer

    def _refusal(self, said: Any) -> AdapterError:
        if isinstance(said, str) and said.startswith("Unauthorized"):
            return self._link.error("refuses the API token; set 'api_token'")
        return self._link.error("reports an error; its own log says which")
