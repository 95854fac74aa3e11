"""The world action models and VLAs that a rig could be driven by, as data: what each answers, how fast, over what.

From the released code and the papers named; latencies are their authors' figures on their authors' hardware, not like
for like. Nothing here has been measured by this project. Chunks and their rates are those that the adapters have with
nothing set, so what is said of a system is what a run of it comes to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from runtime.control.strategy import Execution, plan_execution
from runtime.inference.adapters.base import Card
from runtime.inference.adapters.cosmos_policy import CosmosPolicySettings
from runtime.inference.adapters.dreamzero import DreamZeroSettings
from runtime.inference.adapters.fast_wam import FastWamSettings
from runtime.inference.adapters.gigaworld import GigaWorldSettings
from runtime.inference.adapters.gr00t import Gr00tSettings
from runtime.inference.adapters.lerobot_remote import MODULE
from runtime.inference.adapters.lingbot_va import LingBotVaSettings
from runtime.inference.adapters.motus import MotusSettings
from runtime.inference.adapters.openpi import OpenPiSettings
from runtime.inference.adapters.starvla import StarVlaSettings
from runtime.inference.adapters.vjepa2_ac import VJepa2AcSettings
from runtime.inference.adapters.vla_jepa import VlaJepaSettings
from runtime.inference.adapters.xpolicylab import XPolicyLabSettings
from runtime.inference.lerobot_load import RATE_HZ, executed_of
from runtime.inference.pacing import ticks_of
from runtime.layout import CAMERAS
from runtime.records import CHUNK_STEPS_MAX

JOINTS: Final = "absolute joints"
RELEASED: Final = "its released server code around a stand-in model, and an emulator of it on a real socket"
STAND_IN: Final = "a stand-in package on disk with the signatures of its released code"
NOT_TRIED: Final = "nothing yet"


@dataclass(frozen=True)
class System:
    """One system. `card` is what its adapter answers with where nothing is set, of the length its authors publish where
    the peer itself says how long its chunks are.

    `hosted`: a server of ours hosts its adapter and brings its steps to the rig's rate; without that its rate has to be
    the rig's, and a step is a tick. `latency_ms` is the time for one chunk on `hardware`, None where none is published;
    `source` is the paper with that figure; `profile` is the built-in latency profile that stands for it. `obstacle`
    says what stands between it and the 14 joints of a rig, empty where nothing does. `tried` is what its adapter has
    been run against here.
    """

    name: str
    repository: str
    card: Card
    actions: str
    dof: int
    cameras: str
    server: str
    latency_ms: float | None
    hardware: str
    source: str
    profile: str = ""
    obstacle: str = ""
    tried: str = NOT_TRIED
    hosted: bool = True

    def ticks(self, steps: int, policy_hz: int) -> int:
        """Return how many policy ticks of a rig its steps are; at least 1 and at most what a chunk holds."""
        pace = Fraction(policy_hz, self.card.rate_hz) if self.hosted else Fraction(1)
        return max(min(ticks_of(steps, pace), CHUNK_STEPS_MAX), 1)

    def execution(self, policy_hz: int) -> Execution | None:
        """Return how its chunks would be executed at a rate, in that rate's ticks; None without a published latency.

        Its delay is the latency alone. A run adds the age of the observation and the way to the server.
        """
        if self.latency_ms is None:
            return None
        delay_ticks = math.ceil(self.latency_ms * policy_hz / 1000.0)
        horizon, executed = self.ticks(self.card.horizon, policy_hz), self.ticks(self.card.execute_steps, policy_hz)
        return plan_execution(horizon, delay_ticks, policy_hz, executed)


SYSTEMS: Final = (
    System(
        name="pi0",
        repository="Physical-Intelligence/openpi",
        card=OpenPiSettings(horizon=50).card("VLA"),
        actions=JOINTS,
        dof=14,
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
        card=OpenPiSettings(horizon=50).card("VLA"),
        actions=JOINTS,
        dof=14,
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
        card=LingBotVaSettings().card(),
        actions="end-effector poses of two arms, relative to the first of the episode",
        dof=16,
        cameras="3, head 256x320, wrists half",
        server="websocket 29536, stateful",
        latency_ms=480.0,
        hardware="hardware not stated; 5230 ms in its RoboTwin setting",
        source="arXiv 2603.22078",
        profile="lingbot-va",
        obstacle="answers with end-effector poses: name the rig's arms to drive it, arms=MODEL",
        tried=RELEASED,
    ),
    System(
        name="Cosmos-Policy",
        repository="NVlabs/cosmos-policy",
        card=CosmosPolicySettings().card("WAM, joint denoising, value"),
        actions=JOINTS,
        dof=14,
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
        card=FastWamSettings(checkpoint="", statistics="").card("WAM, joint denoising, actions only at test time"),
        actions=JOINTS,
        dof=14,
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
        card=GigaWorldSettings().card("WAM, joint denoising, action first"),
        actions=JOINTS,
        dof=14,
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
        card=MotusSettings(checkpoint="", wan="", vlm="").card("WAM, hybrid"),
        actions=JOINTS,
        dof=14,
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
        card=VlaJepaSettings().card("VLA with a latent prediction loss"),
        actions="end-effector deltas of one arm",
        dof=7,
        cameras="2, 224x224",
        server="websocket 10093",
        latency_ms=None,
        hardware="",
        source="",
        obstacle="answers with end-effector deltas of one arm: say which to drive it, hand.arm=SIDE and arms=MODEL",
        tried=RELEASED,
    ),
    System(
        name="DreamZero",
        repository="dreamzero0/dreamzero",
        card=DreamZeroSettings().card("WAM, joint denoising, autoregressive"),
        actions="absolute joints of one arm",
        dof=8,
        cameras="3, 180x320",
        server="websocket 8000 (roboarena)",
        latency_ms=600.0,
        hardware="GB200; 3 s on an H100, 150 ms with every optimisation",
        source="arXiv 2602.15922",
        obstacle="answers for one arm of 7 joints and a gripper: declare it to drive it, embodiment=FILE, arms=MODEL",
        tried=RELEASED,
    ),
    System(
        name="V-JEPA 2-AC",
        repository="facebookresearch/vjepa2",
        card=VJepa2AcSettings(goal="").card(),
        actions="end-effector deltas of one arm",
        dof=7,
        cameras="1, 256x256",
        server="no server, in process",
        latency_ms=16_000.0,
        hardware="RTX 4090",
        source="arXiv 2506.09985",
        obstacle="plans end-effector deltas of one arm: name the rig's arms to drive it, arms=MODEL",
        tried=STAND_IN,
    ),
    System(
        name="starVLA",
        repository="starVLA/starVLA",
        card=StarVlaSettings().card("VLA", 16),
        actions=JOINTS,
        dof=14,
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
        card=Gr00tSettings().card(16, CAMERAS),
        actions=JOINTS,
        dof=14,
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
        card=XPolicyLabSettings().card("host of policies, RoboTwin's evaluation"),
        actions=JOINTS,
        dof=14,
        cameras="3",
        server="websocket 19000, chunk as the policy behind it",
        latency_ms=None,
        hardware="",
        source="",
        tried=RELEASED,
    ),
    System(
        name="LeRobot",
        repository="huggingface/lerobot",
        card=Card(
            name="lerobot",
            kind="host of policies",
            horizon=100,
            execute_steps=executed_of(100),
            rate_hz=RATE_HZ,
            cameras=(),
        ),
        actions=JOINTS,
        dof=14,
        cameras="as its policy says",
        server=f"python -m {MODULE}, chunk as its policy's, here ACT's",
        latency_ms=None,
        hardware="",
        source="",
        tried="LeRobot 0.4.4 and 0.6.1, small policies with random weights: ACT, Diffusion, VQ-BeT, TDMPC, SmolVLA; "
        "0.6.1: pi0, pi0.5, Fast-WAM, VLA-JEPA, LingBot-VA",
        hosted=False,
    ),
)
