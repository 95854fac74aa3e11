"""LeRobot's asynchronous inference: its `RobotClient` against its `PolicyServer`, on a virtual clock.

Both classes run as they are, from the control loop through the messages to the observation filter and the
aggregation. Replaced are the robot, the policy with its processors, the gRPC channel (a call runs the server's method
in place) and the `time` of the two modules. The receiving thread's loop and the control loop run one pass at a time.
LeRobot counts executed actions, not ticks: the first action of a chunk has the number of the action that was executed
last when the observation was taken, and a tick without an action is not counted.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch

from bench.decoupling.peers.base import POLICY_HZ, Array, Infer, Query
from bench.decoupling.peers.lerobot_import import lerobot_async
from runtime.layout import GRIPPER_INDEX, JOINT_NAMES, RIG_DOF

UNITS: Final[dict[str, Array]] = {
    "rad": np.ones(RIG_DOF),
    "deg": np.array([100.0 if i in GRIPPER_INDEX else math.degrees(1.0) for i in range(RIG_DOF)]),
}
"""From rad and gripper fractions to what a robot reports; LeRobot's own arms report degrees and per cent."""


class _Clock:
    """What LeRobot's modules see as `time`. A pass of a loop ends where it would sleep."""

    def __init__(self, on_sleep: Callable[[], None]) -> None:
        self.now_s = 0.0
        self._on_sleep = on_sleep

    def time(self) -> float:
        """Return the virtual time."""
        return self.now_s

    perf_counter = time

    def sleep(self, seconds: float) -> None:  # noqa: ARG002
        """End the pass."""
        self._on_sleep()


class _Arms:
    """The robot: reports the state of the tick and keeps what it is sent."""

    observation_features = action_features = dict.fromkeys(JOINT_NAMES, float)

    def __init__(self) -> None:
        self.state = np.zeros(RIG_DOF)
        self.sent: Array | None = None

    def connect(self) -> None:
        """Do nothing: it is there."""

    def get_observation(self) -> dict[str, Any]:
        """Return the state under the names of the joints."""
        return dict(zip(JOINT_NAMES, self.state.tolist(), strict=True))

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        """Keep the action of this tick."""
        self.sent = np.array([action[name] for name in JOINT_NAMES])
        return action


class _Channel:
    """Stands for the gRPC channel: a call runs the server's method. The answer under way waits in it."""

    def __init__(self, server: Any, on_receive: Callable[[], None]) -> None:
        self._server = server
        self._on_receive = on_receive
        self.answer: Any = None

    def unary_unary(self, method: str, **_: Any) -> Callable[[Any], Any]:
        """Return the call of a method."""
        name = method.rpartition("/")[2]
        return self._receive if name == "GetActions" else partial(self.call, name)

    stream_unary = unary_unary

    def call(self, name: str, request: Any) -> Any:
        """Run the server's method."""
        return getattr(self._server, name)(request, SimpleNamespace(peer=lambda: "lab"))

    def _receive(self, _request: Any) -> Any:
        self._on_receive()
        answer, self.answer = self.answer, None
        if isinstance(answer, Exception):
            raise answer
        return answer


class AsyncPeer:
    """One client and one server. `aggregate` is a name of LeRobot's registry; all else are LeRobot's defaults.

    `unit` (14,) converts the state to what the robot reports: the server drops an observation less than 1 from the
    last one it worked on, in this unit. The server's least latency is left to the delay process.
    """

    blocking = False

    def __init__(self, infer: Infer, horizon: int, aggregate: str, unit: Array) -> None:
        self._lerobot = lerobot = lerobot_async()
        self._infer = infer
        self._unit = unit
        self._arms = _Arms()
        self._server = server = lerobot.server.PolicyServer(
            lerobot.configs.PolicyServerConfig(fps=POLICY_HZ, inference_latency=0.0)
        )
        self._channel = channel = _Channel(server, self._end_pass)
        config = lerobot.configs.RobotClientConfig(
            policy_type="lab",
            pretrained_name_or_path="lab",
            robot=None,
            actions_per_chunk=horizon,
            fps=POLICY_HZ,
            aggregate_fn_name=aggregate,
        )
        with (
            _replaced(lerobot.client, "make_robot_from_config", lambda _: self._arms),
            _replaced(lerobot.client.grpc, "insecure_channel", lambda *_: channel),
        ):
            self._client = client = lerobot.client.RobotClient(config)
        client.start_barrier = threading.Barrier(1)
        server.policy = SimpleNamespace(config=SimpleNamespace(image_features={}), predict_action_chunk=self._predict)
        server.preprocessor = server.postprocessor = lambda value: value
        server.lerobot_features = client.policy_config.lerobot_features
        server.actions_per_chunk = client.policy_config.actions_per_chunk
        self._clock = _Clock(self._end_pass)

    def step(self, tick: int, state: Array) -> Array | None:
        """Run a pass of `RobotClient.control_loop`: the next action of the queue, then an observation if one is due."""
        self._arms.state, self._arms.sent = state * self._unit, None
        with self._pass(tick):
            self._client.control_loop(task="")
        return self._arms.sent

    def begin(self, tick: int) -> bool:
        """Run `PolicyServer.GetActions` on the observation that waits at the server."""
        if self._channel.answer is not None or self._server.observation_queue.empty():
            return False
        with self._pass(tick):
            self._channel.answer = self._channel.call("GetActions", self._lerobot.client.services_pb2.Empty())
        return True

    def deliver(self, tick: int) -> None:
        """Run a pass of `RobotClient.receive_actions`."""
        with self._pass(tick):
            self._client.receive_actions()

    def lose(self, tick: int) -> None:
        """Let the client's call fail: it logs that and calls again."""
        self._channel.answer = self._lerobot.client.grpc.RpcError("the answer is lost")
        with self._pass(tick):
            self._client.receive_actions()
            self._lerobot.complaints.clear()

    def _predict(self, _observation: Any) -> torch.Tensor:
        obs_tick = round(self._server.last_processed_obs.get_timestamp() * POLICY_HZ)
        return torch.from_numpy(np.asarray(self._infer(Query(obs_tick)), dtype=np.float32))

    def _end_pass(self) -> None:
        self._client.shutdown_event.set()

    @contextmanager
    def _pass(self, tick: int) -> Iterator[None]:
        """Run a pass of a loop at the virtual time of a tick."""
        self._clock.now_s = tick / POLICY_HZ
        self._client.shutdown_event.clear()
        with _replaced(self._lerobot.client, "time", self._clock), _replaced(self._lerobot.server, "time", self._clock):
            yield
        self._lerobot.complaints.check()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)
