"""Fast-WAM in this process, from a checkout of its repository.

Checked against yuantianyuan01/FastWAM experiments/robotwin/fastwam_policy/deploy_policy.py: `get_model` loads the
checkpoint and the statistics; the policy tiles three pictures to 384x320, normalises the joints, denoises in 10 steps
and returns absolute joints.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from runtime.inference.adapters import answers
from runtime.inference.adapters.base import Card, ChunkSettings, Question, RateHz, Reply, Steps
from runtime.inference.adapters.in_process import ReleasedPolicy, as_array, robotwin

FILE: Final = "experiments/robotwin/fastwam_policy/deploy_policy.py"


class FastWamSettings(ChunkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the checkout does not say of itself. `checkpoint` and `statistics` are files, `task` a config's name."""

    checkpoint: str
    statistics: str
    task: str = ""
    device: str = "cuda"
    name: str = "fast-wam"
    rate_hz: RateHz = 25
    horizon: Steps = 32
    execute_steps: Steps = 24
    steps: Annotated[int, Meta(ge=1, le=100)] = 10


class FastWam:
    """The policy of one rig."""

    def __init__(self, checkout: str, settings: FastWamSettings) -> None:
        """Note where it is. UsageError for a folder that is no checkout."""
        self._settings = settings
        self._released = ReleasedPolicy(checkout, FILE, settings.name)
        self._prompt = ""

    def open(self, timeout_s: float) -> Card:  # noqa: ARG002 - loading cannot be stopped
        """Load it, which takes as long as it takes; AdapterError if that fails."""
        settings = self._settings
        options: dict[str, Any] = {
            "ckpt_setting": settings.checkpoint,
            "dataset_stats_path": settings.statistics,
            "device": settings.device,
            "action_horizon": settings.horizon,
            "replan_steps": settings.execute_steps,
            "num_inference_steps": settings.steps,
        }
        self._released.load({**options, "sim_task": settings.task} if settings.task else options)
        return settings.card("WAM, actions only at test time")

    def reset(self, prompt: str) -> None:
        """Begin an episode: what the policy keeps of a prompt is dropped."""
        self._prompt = prompt
        self._released.call(lambda policy: policy.reset(), float("inf"))

    def infer(self, question: Question) -> Reply:
        """Answer a request; see Adapter."""
        seen, prompt = robotwin(question.view), question.prompt or self._prompt
        found = self._released.call(
            lambda policy: as_array(policy._infer_action_chunk(observation=seen, instruction=prompt)),
            question.timeout_s,
        )
        return Reply(answers.as_targets(answers.chunk(found, self._settings.horizon, self._released.error)))

    def close(self) -> None:
        """Let go of the policy, and with it of its memory."""
        self._released.policy = None
