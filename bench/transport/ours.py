"""Leadtime's own server and client: the policy server of a run with a policy of no latency, and a client's connection.

`python -m bench.transport.ours serve ENDPOINT` and `... ask ENDPOINT`; `... serve-apart ENDPOINT` shares no memory with
its clients, as a server on another host. The pictures of `ask` are where a rig's sensors put each as it comes, those of
`ask-copying` are brought there in each request.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq

from bench.transport import payload, turns
from runtime.clock import NS_PER_S, MonotonicClock
from runtime.errors import LeadtimeError
from runtime.inference import wire
from runtime.inference.backends.base import ModelInputs, ModelOutputs
from runtime.inference.client.connection import Connection
from runtime.inference.door import door_for
from runtime.inference.manifest import ActionSpec, ObservationSpec, PolicyManifest, Units
from runtime.inference.policy import ANY_TASK, Policy
from runtime.inference.sampler import Sampler
from runtime.inference.server.latency import parse_latency
from runtime.inference.server.local import LocalPolicy
from runtime.inference.server.server import PolicyServer
from runtime.layout import JOINT_NAMES, RIG_DOF
from runtime.net.sockets import open_router
from runtime.states import Condition, Link

RATE_HZ: Final = 50
WAIT_MS: Final = 1000
DEADLINE_MS: Final = 10_000.0


class ZeroPolicy:
    """A backend that answers at once."""

    provider = "none"
    guided = False

    def infer(self, inputs: ModelInputs) -> ModelOutputs:  # noqa: ARG002
        """Return a chunk of zeros."""
        return ModelOutputs(payload.reply(), None)


def manifest() -> PolicyManifest:
    """Return the manifest of a policy that reads the bench's observation."""
    return PolicyManifest(
        name="zero",
        policy_class="VLA",
        rate_hz=RATE_HZ,
        horizon=payload.HORIZON,
        execute_steps=payload.HORIZON // 2,
        action=ActionSpec(
            representation="absolute_joint",
            dof=14,
            joint_names=JOINT_NAMES,
            units=Units(joint="rad", gripper="fraction"),
        ),
        observation=ObservationSpec(
            cameras=payload.CAMERAS, width_px=payload.WIDTH_PX, height_px=payload.HEIGHT_PX, velocity=False
        ),
        noise=False,
        graphs={ANY_TASK: "none"},
    )


def rig() -> wire.RigSchema:
    """Return a rig whose cameras give the bench's pictures."""
    return wire.RigSchema(
        name="bench",
        joint_names=JOINT_NAMES,
        rate_hz=RATE_HZ,
        cameras=dict.fromkeys(payload.CAMERAS, (payload.WIDTH_PX, payload.HEIGHT_PX)),
    )


def serve_apart(endpoint: str) -> None:
    """Serve as on another host."""
    serve(endpoint, shares=False)


def serve(endpoint: str, *, shares: bool = True) -> None:
    """Serve until killed; says where on standard output."""
    channel = turns.claim_stdout()
    blank = ModelInputs(
        images=None,
        object_state=None,
        state=np.zeros(RIG_DOF, dtype=np.float32),
        velocity=np.zeros(RIG_DOF, dtype=np.float32),
        prefix=np.zeros((payload.HORIZON, RIG_DOF), dtype=np.float32),
        prefix_len=0,
    )
    samplers = {ANY_TASK: Sampler(ZeroPolicy(), blank, (Condition.PLAIN,), noisy=False)}
    policy = Policy(manifest(), Path())
    with zmq.Context() as context, open_router(context, endpoint) as router, door_for(endpoint) as door:
        served = LocalPolicy(policy, samplers, "zeros", 0.0)
        server = PolicyServer(
            router, served, parse_latency("none"), clock=MonotonicClock(), door=door if shares else None
        )
        channel.write(f"ready {router.getsockopt_string(zmq.LAST_ENDPOINT)}\n")
        channel.flush()
        server.run(lambda: False)


class Asker:
    """One connection, one request at a time; with `copies` its pictures are brought into the gallery in each."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, *, copies: bool) -> None:
        self._clock = MonotonicClock()
        self._connection = Connection(context, endpoint, rig(), payload.PROMPT)
        self._copies = copies
        self._seen = [payload.pictures(i) for i in range(payload.SETS)]
        self._arrays: list[dict[str, Any]] = []

    def connect(self) -> None:
        """Return when the session is open; LeadtimeError where it is refused."""
        while not self._ready():
            self._connection.wait(10)
        self._arrays = [] if self._copies else [self._observed(i) for i in range(payload.SETS)]

    @property
    def pictures(self) -> str:
        """How pictures go, in words."""
        return self._connection.pictures

    def _ready(self) -> bool:
        self._connection.step(self._clock.now_ns())
        if self._connection.link is Link.REFUSED:
            raise LeadtimeError(self._connection.text)
        return self._connection.link is Link.READY

    def _observed(self, i: int) -> dict[str, Any]:
        gallery = self._connection.gallery
        if gallery is None:
            raise LeadtimeError(f"no session: {self._connection.text}")
        pictures = self._seen[i % payload.SETS].items()
        taken: dict[str, Any] = {f"image/{name}": gallery.take(name, image, i * NS_PER_S) for name, image in pictures}
        return taken | {"state": payload.state(i % payload.SETS)}

    def ask(self, i: int) -> int:
        """Send one observation; when its chunk is there, return what its server spent outside the model, ns."""
        connection, seq = self._connection, i + 1
        request = wire.Infer(session=connection.session, request_seq=seq, obs_seq=seq, deadline_ms=DEADLINE_MS)
        arrays = self._observed(i) if self._copies else self._arrays[i % payload.SETS]
        if not connection.send(request, arrays, self._clock.now_ns()):
            raise LeadtimeError(connection.text)
        while True:
            connection.wait(WAIT_MS)
            for message, arrays in connection.step(self._clock.now_ns()):
                if not isinstance(message, wire.Chunk) or message.request_seq != seq:
                    raise LeadtimeError(f"request {seq} was answered with {message}")
                payload.check(arrays["actions"])
                return message.server_ns - message.infer_ns
            if connection.link is not Link.READY:
                raise LeadtimeError(connection.text)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def ask_copying(endpoint: str) -> None:
    """Take turns, and bring the pictures into shared memory in each."""
    ask(endpoint, copies=True)


def ask(endpoint: str, *, copies: bool = False) -> None:
    """Take turns with the server at an endpoint."""
    channel = turns.claim_stdout()
    with zmq.Context() as context:
        asker = Asker(context, endpoint, copies=copies)
        try:
            asker.connect()
            turns.take_turns(asker.ask, channel, asker.pictures)
        finally:
            asker.close()


if __name__ == "__main__":
    roles = {"serve": serve, "serve-apart": serve_apart, "ask": ask, "ask-copying": ask_copying}
    roles[sys.argv[1]](sys.argv[2])
