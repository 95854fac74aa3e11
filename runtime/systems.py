"""The world action models and VLAs that a rig could be driven by, as data: what each answers, how fast, over what.

From the released code and the papers named; latencies are their authors' figures on their authors' hardware, not like
for like. Nothing here has been measured by this project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from runtime.control.strategy import Execution, plan_execution
from runtime.records import CHUNK_STEPS_MAX

JOINTS: Final = "absolute joints"
RELEASED: Final = "its released server code around a stand-in model, and an emulator of it on a real socket"
STAND_IN: Final = "a stand-in package on disk with the signatures of its released code"
NOT_TRIED: Final = "nothing yet"


@dataclass(frozen=True)
class System:
    """One system. `horizon` and `execute_steps` are steps of a chunk and how many of them its authors execute.

    `rate_hz` is the rate of its actions where its authors name one. `latency_ms` is the time for one chunk on
    `hardware`, None where none is published; `source` is the paper with that figure; `profile` is the built-in
    latency profile that stands for it. `obstacle` says what stands between it and the 14 joints of a rig, empty where
    nothing does.
    `tried` is what its adapter has been run against here.
    """

    name: str
    repository: str
    kind: str
    horizon: int
    execute_steps: int
    actions: str
    dof: int
    rate_hz: int | None
    cameras: str
    server: str
    latency_ms: float | None
    hardware: str
    source: str
    profile: str = ""
    obstacle: str = ""
    tried: str = NOT_TRIED

    def ticks(self, steps: int, policy_hz: int) -> int:
        """Return how many policy ticks of a rig its steps are, resampled; at least 1 and at most what a chunk holds.

        A system without a rate of its own is executed one step a tick.
        """
        return max(min(steps * policy_hz // (self.rate_hz or policy_hz), CHUNK_STEPS_MAX), 1)

    def execution(self, policy_hz: int) -> Execution | None:
        """Return how its chunks would be executed at a rate, in that rate's ticks; None without a published latency.

        Its delay is the latency alone. A run adds the age of the observation and the way to the server.
        """
        if self.latency_ms is None:
            return None
        delay_ticks = math.ceil(self.latency_ms * policy_hz / 1000.0)
        horizon, executed = self.ticks(self.horizon, policy_hz), self.ticks(self.execute_steps, policy_hz)
        return plan_execution(horizon, delay_ticks, policy_hz, executed)


SYSTEMS: Final = (
    System(
        name="pi0",
        repository="Physical-Intelligence/openpi",
        kind="VLA",
        horizon=50,
        execute_steps=25,
        actions=JOINTS,
        dof=14,
        rate_hz=50,
        cameras="3 or 4, 224x224",
        server="websocket 8000",
        latency_ms=73.0,
        hardware="RTX 4090, 3 views",
        source="arXiv 2410.24164",
        profile="pi0",
        tried=RELEASED,
    ),
    System(
        name="pi0.5",
        repository="Physical-Intelligence/openpi",
        kind="VLA",
        horizon=50,
        execute_steps=25,
        actions=JOINTS,
        dof=14,
        rate_hz=50,
        cameras="3 or 4, 224x224",
        server="websocket 8000",
        latency_ms=63.0,
        hardware="hardware not stated",
        source="arXiv 2603.22078",
        tried=RELEASED,
    ),
    System(
        name="LingBot-VA",
        repository="Robbyant/lingbot-va",
        kind="WAM, IDM-style, autoregressive",
        horizon=32,
        execute_steps=32,
        actions="end-effector poses of two arms, relative to the first of the episode",
        dof=16,
        rate_hz=None,
        cameras="3, head 256x320, wrists half",
        server="websocket 29536, stateful",
        latency_ms=480.0,
        hardware="hardware not stated; 5230 ms in its RoboTwin setting",
        source="arXiv 2603.22078",
        profile="lingbot-va",
        obstacle="answers with end-effector poses: declare the rig's embodiment to drive it",
        tried=RELEASED,
    ),
    System(
        name="Cosmos-Policy",
        repository="NVlabs/cosmos-policy",
        kind="WAM, joint denoising, value",
        horizon=50,
        execute_steps=50,
        actions=JOINTS,
        dof=14,
        rate_hz=25,
        cameras="3, 224x224",
        server="HTTP 8777",
        latency_ms=390.0,
        hardware="hardware not stated",
        source="arXiv 2603.22078",
        profile="cosmos-policy",
        tried=RELEASED,
    ),
    System(
        name="Fast-WAM",
        repository="yuantianyuan01/FastWAM",
        kind="WAM, joint denoising, actions only at test time",
        horizon=32,
        execute_steps=24,
        actions=JOINTS,
        dof=14,
        rate_hz=None,
        cameras="3, tiled to 384x320",
        server="no server, in process",
        latency_ms=190.0,
        hardware="RTX 5090D, without preprocessing",
        source="arXiv 2603.16666",
        profile="fast-wam",
        tried=STAND_IN,
    ),
    System(
        name="GigaWorld-Policy",
        repository="open-gigaai/giga-world-policy",
        kind="WAM, joint denoising, action first",
        horizon=48,
        execute_steps=30,
        actions=JOINTS,
        dof=14,
        rate_hz=None,
        cameras="3, tiled to 320x384",
        server="ZMQ 11411, pickled tensors",
        latency_ms=360.0,
        hardware="A100",
        source="arXiv 2603.17240",
        profile="gigaworld",
        tried=RELEASED,
    ),
    System(
        name="MOTUS",
        repository="thu-ml/Motus",
        kind="WAM, hybrid",
        horizon=16,
        execute_steps=16,
        actions=JOINTS,
        dof=14,
        rate_hz=None,
        cameras="3, tiled to 384x320",
        server="no server, in process",
        latency_ms=1175.0,
        hardware="hardware not stated; 3231 ms on an A100",
        source="arXiv 2603.22078",
        profile="motus",
        tried=STAND_IN,
    ),
    System(
        name="VLA-JEPA",
        repository="ginwind/VLA-JEPA",
        kind="VLA with a latent prediction loss",
        horizon=7,
        execute_steps=7,
        actions="end-effector deltas of one arm",
        dof=7,
        rate_hz=None,
        cameras="2, 224x224",
        server="websocket 10093",
        latency_ms=None,
        hardware="",
        source="",
        obstacle="answers with end-effector deltas of one arm: declare the rig's embodiment to drive it",
        tried=RELEASED,
    ),
    System(
        name="DreamZero",
        repository="dreamzero0/dreamzero",
        kind="WAM, joint denoising, autoregressive",
        horizon=24,
        execute_steps=24,
        actions="absolute joints of one arm",
        dof=8,
        rate_hz=None,
        cameras="3, 180x320",
        server="websocket 8000 (roboarena)",
        latency_ms=600.0,
        hardware="GB200; 3 s on an H100, 150 ms with every optimisation",
        source="arXiv 2602.15922",
        obstacle="answers for one arm of 7 joints and a gripper: a rig has two of 6",
        tried=RELEASED,
    ),
    System(
        name="V-JEPA 2-AC",
        repository="facebookresearch/vjepa2",
        kind="world model, latent planning",
        horizon=2,
        execute_steps=1,
        actions="end-effector deltas of one arm",
        dof=7,
        rate_hz=4,
        cameras="1, 256x256",
        server="no server, in process",
        latency_ms=16_000.0,
        hardware="RTX 4090",
        source="arXiv 2506.09985",
        obstacle="plans end-effector deltas of one arm: declare the rig's embodiment to drive it",
        tried=STAND_IN,
    ),
    System(
        name="starVLA",
        repository="starVLA/starVLA",
        kind="VLA",
        horizon=16,
        execute_steps=16,
        actions=JOINTS,
        dof=14,
        rate_hz=None,
        cameras="3, 224x224",
        server="websocket 10093, chunk as its metadata say",
        latency_ms=None,
        hardware="",
        source="",
        tried=RELEASED,
    ),
    System(
        name="Isaac-GR00T",
        repository="NVIDIA/Isaac-GR00T",
        kind="VLA",
        horizon=16,
        execute_steps=16,
        actions=JOINTS,
        dof=14,
        rate_hz=None,
        cameras="as its checkpoint says",
        server="ZMQ 5555, msgpack, chunk as its checkpoint says",
        latency_ms=None,
        hardware="",
        source="",
        tried=RELEASED,
    ),
    System(
        name="XPolicyLab",
        repository="XPolicyLab/XPolicyLab",
        kind="host of policies, RoboTwin's evaluation",
        horizon=50,
        execute_steps=50,
        actions=JOINTS,
        dof=14,
        rate_hz=None,
        cameras="3",
        server="websocket 19000, chunk as the policy behind it",
        latency_ms=None,
        hardware="",
        source="",
        tried=RELEASED,
    ),
)
