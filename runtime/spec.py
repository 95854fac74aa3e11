"""What one run is: the resolved choices that every process of it reads, as one JSON file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from runtime.clock import TickBase
from runtime.config import RigConfig
from runtime.files import write_text

_SECRETS: Final = re.compile(r"(?<=[?&])(api_key|api_token)=[^&]*")
"""Settings of an adapter that are for its peer alone."""


def public(policy: str) -> str:
    """Return a policy's address without its secrets."""
    return _SECRETS.sub(r"\1=(secret)", policy)


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that the processes of a run share. `endpoint` is where the policy server is reached.

    `serve` says whether the run starts the server itself; `scene_length` is the simulated scene state size, 0
    on a real rig; so is `episode_s`, the time a simulated task has.
    `episodes` ends the run after as many, 0 for no limit. `allow_slow`: where chunks are too short for the delay, the
    policy's steps may be spread over more ticks. `keys` is the folder of the rig's keys, "" for a connection without.
    `corrector` is the graph file of the corrector that is used, "" for none. `teleop`: only a person leads; there is no
    policy.
    """

    rig: RigConfig
    run_dir: str
    policy: str
    endpoint: str
    serve: bool
    task: str
    prompt: str
    latency: str
    merge: str
    corrector: str = ""
    seed: int
    duration_s: float
    episode_s: float
    episodes: int = 0
    allow_slow: bool = False
    scene_length: int
    keys: str = ""
    teleop: bool = False
    backend: Literal["onnx"] = "onnx"

    def tick_base(self, t0_ns: int) -> TickBase:
        """Return the tick grids of this rig from tick zero."""
        return TickBase(t0_ns, self.rig.servo_hz, self.rig.policy_hz)

    def kept(self) -> RunSpec:
        """Return what is shown of it and left by the run: without the secrets of the policy's address."""
        return msgspec.structs.replace(self, policy=public(self.policy))

    def save(self) -> Path:
        """Write the spec to its run folder and return the file."""
        path = Path(self.run_dir) / "spec.json"
        write_text(path, msgspec.json.format(msgspec.json.encode(self)).decode())
        return path

    @classmethod
    def load(cls, path: Path) -> RunSpec:
        """Read a spec written by `save`."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
