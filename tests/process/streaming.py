"""`python -m tests.process.streaming ENDPOINT [LATENCY]`: a policy server of a model that writes action after action.

A stand-in for an autoregressive policy: each action takes it `STEP_S`, and what it has written leaves at `PARTS` rows.
It goes on from the committed plan, a hundredth more each step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import zmq

from runtime.clock import MonotonicClock
from runtime.inference.backends.base import ModelInputs, ModelOutputs
from runtime.inference.manifest import ActionSpec, Capabilities, ObservationSpec, PolicyManifest, Units
from runtime.inference.policy import ANY_TASK, Policy
from runtime.inference.sampler import Sampler
from runtime.inference.server.latency import parse_latency
from runtime.inference.server.local import LocalPolicy
from runtime.inference.server.server import PolicyServer
from runtime.layout import JOINT_NAMES, RIG_DOF
from runtime.net.sockets import open_router
from runtime.states import Condition

HORIZON: Final = 50
PARTS: Final = (30, 40)
STEP_S: Final = 0.004
RISE: Final = 0.01


class Writer:
    """The model."""

    provider = "one action after the other"
    guided = False

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the whole chunk."""
        *_, whole = self.stream(inputs)
        return whole

    def stream(self, inputs: ModelInputs) -> Iterator[ModelOutputs]:
        """Yield the chunk as it is written."""
        actions = np.empty((HORIZON, RIG_DOF), np.float32)
        last = inputs.state
        for i in range(HORIZON):
            time.sleep(STEP_S)
            last = actions[i] = inputs.prefix[i] if i < inputs.prefix_len else last + np.float32(RISE)
            if i + 1 in (*PARTS, HORIZON):
                yield ModelOutputs(actions[: i + 1].copy(), None)


def policy() -> LocalPolicy:
    """Return the model as a server has it."""
    manifest = PolicyManifest(
        name="writer",
        policy_class="VLA",
        rate_hz=50,
        horizon=HORIZON,
        execute_steps=12,
        action=ActionSpec(
            representation="absolute_joint",
            dof=14,
            joint_names=JOINT_NAMES,
            units=Units(joint="rad", gripper="fraction"),
        ),
        observation=ObservationSpec(),
        capabilities=Capabilities(prefix=True, prefix_max=25, parts=True),
        graphs={ANY_TASK: "none"},
    )
    vector, chunk = np.zeros(RIG_DOF, np.float32), np.zeros((HORIZON, RIG_DOF), np.float32)
    blank = ModelInputs(None, None, vector, vector, chunk, 0, chunk)
    sampler = Sampler(Writer(), blank, (Condition.PLAIN, Condition.PREFIX))
    return LocalPolicy(Policy(manifest, Path()), {ANY_TASK: sampler}, "a stand-in", 1000 * HORIZON * STEP_S)


def main(endpoint: str, latency: str = "none") -> None:
    """Serve until killed; says `ready` and where on standard output."""
    with zmq.Context() as context, open_router(context, endpoint) as router:
        sys.stdout.write(f"ready {router.getsockopt_string(zmq.LAST_ENDPOINT)}\n")
        sys.stdout.flush()
        PolicyServer(router, policy(), parse_latency(latency), clock=MonotonicClock()).run(lambda: False)


if __name__ == "__main__":
    main(*sys.argv[1:])
