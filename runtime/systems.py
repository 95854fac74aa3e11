"""The world action models and VLAs that a rig could be driven by, as data: what each answers, how fast, over what.

From the released code and the papers named; latencies are their authors' figures on their authors' hardware, not like
for like. Nothing here has been measured by this project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from runtime.control.strategy import Execution, plan_execution

JOINTS: Final = "absolute joints"
NOT_TRIED: Final = "nothing yet, the adapter comes with the inference server"


@dataclass(frozen=True)
class System:
    """One system. `horizon` and `execute_steps` are steps of a chunk and how many of them its authors execute.

    `rate_hz` is the rate of its actions where its authors name one. `latency_ms` is the time for one chunk on
    `hardware`, None where none is published; `source` is the paper with that figure; `profile` is the built-in
    latency profile that stands for it. `obstacle` says why it cannot drive the 14 joints of a rig, empty where it can.
    `tried` is what has been run with it here.
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

    def execution(self, policy_hz: int) -> Execution | None:
        """Return how its chunks would be executed at a rate, one step a tick; None without a published latency.

        Its delay is the latency alone. A run adds the age of the observation and the way to the server.
        """
        if self.latency_ms is None:
            return None
        delay_ticks = math.ceil(self.latency_ms * policy_hz / 1000.0)
        return plan_execution(self.horizon, delay_ticks, policy_hz, self.execute_steps)


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
    ),
    System(
        name="LingBot-VA",
        repository="Robbyant/lingbot-va",
        kind="WAM, inverse dynamics, autoregressive",
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
        obstacle="answers with end-effector poses: joints take inverse kinematics, which a run does not do",
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
    ),
    System(
        name="Fast-WAM",
        repository="yuantianyuan01/FastWAM",
        kind="WAM, actions only at test time",
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
    ),
    System(
        name="GigaWorld-Policy",
        repository="open-gigaai/giga-world-policy",
        kind="WAM, action first",
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
    ),
    System(
        name="MOTUS",
        repository="thu-ml/Motus",
        kind="hybrid, joint denoising",
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
        obstacle="answers with end-effector deltas of one arm: neither joints nor two arms",
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
    ),
    System(
        name="V-JEPA 2-AC",
        repository="facebookresearch/vjepa2",
        kind="latent world model, planning",
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
        obstacle="plans end-effector deltas of one arm: neither joints nor two arms",
    ),
)
