"""LeRobot's own asynchronous inference over gRPC with a policy of no latency.

`python -m bench.transport.lerobot serve PORT LATENCY_S` runs its `PolicyServer`, LATENCY_S being the least time that
it holds an answer back (its default is 1/30 s), `... ask PORT` its `RobotClient`: the observation goes through
`control_loop_observation`, the chunk through `receive_actions`. Replaced are the robot, the policy and its processors.
The Python needs lerobot 0.4.4 or 0.6.1 with its extra async.
"""

from __future__ import annotations

import importlib
import sys
import threading
from concurrent import futures
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any, Final

import torch

from bench.decoupling.peers.lerobot_import import lerobot_async
from bench.transport import payload, turns

HOST: Final = "127.0.0.1"
WORKERS: Final = 4
"""Threads of the server, as in LeRobot's own `serve`."""
ANSWER_S: Final = 10.0
_JOINTS: Final = tuple(f"joint_{i}.pos" for i in range(payload.STATE_LENGTH))
_SHAPE: Final = (payload.HEIGHT_PX, payload.WIDTH_PX, 3)


class ZeroPolicy:
    """A policy that answers at once and takes pictures of their own size."""

    config = SimpleNamespace(
        image_features={
            f"observation.images.{name}": SimpleNamespace(shape=(3, payload.HEIGHT_PX, payload.WIDTH_PX))
            for name in payload.CAMERAS
        }
    )

    @classmethod
    def from_pretrained(cls, _name: str) -> ZeroPolicy:
        """Return the policy."""
        return cls()

    def to(self, _device: str) -> ZeroPolicy:
        """Return the policy: it is on no device."""
        return self

    def predict_action_chunk(self, _observation: Any) -> torch.Tensor:
        """Return a chunk of zeros."""
        return torch.from_numpy(payload.reply())


class Robot:
    """A robot with the bench's cameras and joints."""

    observation_features: Final = {**dict.fromkeys(_JOINTS, float), **dict.fromkeys(payload.CAMERAS, _SHAPE)}
    action_features: Final = {f"action_{i}": float for i in range(payload.ACTION_WIDTH)}

    def __init__(self) -> None:
        self._observations = [
            {**dict(zip(_JOINTS, payload.state(i).tolist(), strict=True)), **payload.pictures(i)}
            for i in range(payload.SETS)
        ]
        self._next = 0

    def connect(self) -> None:
        """Do nothing: it is there."""

    def get_observation(self) -> dict[str, Any]:
        """Return the next observation."""
        self._next += 1
        return dict(self._observations[self._next % payload.SETS])


def serve(port: str, latency_s: str) -> None:
    """Serve on a port of this host until killed."""
    lerobot = lerobot_async()
    grpc = importlib.import_module("grpc")
    server_module: Any = lerobot.server
    server_module.get_policy_class = lambda _name: ZeroPolicy
    server_module.make_pre_post_processors = lambda *_args, **_options: (_same, _same)
    config = lerobot.configs.PolicyServerConfig(host=HOST, port=int(port), inference_latency=float(latency_s))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=WORKERS))
    server_module.services_pb2_grpc.add_AsyncInferenceServicer_to_server(server_module.PolicyServer(config), server)
    server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    server.wait_for_termination()


def _same(value: Any) -> Any:
    return value


class Asker:
    """A `RobotClient` whose observations all must be answered, one at a time."""

    def __init__(self, port: str) -> None:
        lerobot = lerobot_async()
        self._complaints = lerobot.complaints
        client_module: Any = lerobot.client
        client_module.make_robot_from_config = lambda _config: Robot()
        config = lerobot.configs.RobotClientConfig(
            policy_type="act",
            pretrained_name_or_path=str(Path("zero")),
            robot=None,
            actions_per_chunk=payload.HORIZON,
            server_address=f"{HOST}:{port}",
        )
        self._client = client = client_module.RobotClient(config)
        self._arrived = threading.Event()
        aggregate = client._aggregate_action_queues

        def aggregated(actions: list[Any], *rest: Any) -> None:
            aggregate(actions, *rest)
            self._arrived.set()

        client._aggregate_action_queues = aggregated
        client.start_barrier = threading.Barrier(1)
        if not client.start():
            self._complaints.check()
        threading.Thread(target=client.receive_actions, daemon=True).start()

    def ask(self, _i: int) -> None:
        """Send one observation and return when its chunk is in the client's queue."""
        client = self._client
        client.action_queue = Queue()
        client.must_go.set()
        self._arrived.clear()
        client.control_loop_observation(payload.PROMPT)
        if not self._arrived.wait(ANSWER_S):
            self._complaints.check()
            raise TimeoutError(f"no chunk in {ANSWER_S:.0f} s")
        queue = client.action_queue.queue
        payload.check([queue[0].get_action().numpy()] * len(queue))


def ask(port: str) -> None:
    """Take turns with the server on a port."""
    channel = turns.claim_stdout()
    turns.take_turns(Asker(port).ask, channel)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        ask(*sys.argv[2:])
