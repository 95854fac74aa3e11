"""The bridge process: a run's joints and pictures on ROS 2 topics, by Zenoh; it reads the board and nothing else.

Topic names are those of AgileX's own stack (agilexrobotics/cobot_magic), so that its recorders and viewers find them:
`/puppet/joint_left` what is measured, `/master/joint_left` what is commanded, `/camera_f/color/image_raw` a picture.
A `zenoh-bridge-ros2dds` beside it puts them on a ROS 2 network; a Zenoh key is a topic's name without the slash.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.config import Ros2Config
from runtime.errors import LeadtimeError, UsageError
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_SLICE, SIDES, Side
from runtime.shm import Ring, TornReadError

JOINT_NAMES: Final = tuple(f"joint{i}" for i in range(ARM_DOF))
CAMERA_TOPICS: Final = {"cam_high": "camera_f", "cam_left_wrist": "camera_l", "cam_right_wrist": "camera_r"}
"""A camera of another name keeps its own."""
BEAT_NS: Final = 100 * NS_PER_MS
_FIELDS: Final = ("position", "velocity", "effort")
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


def run_bridge(board: Board, clock: Clock, heart: Heart) -> None:
    """Publish at the rate of the rig's `ros2` until the run stops.

    Raises:
        UsageError: an endpoint on another host.
        LeadtimeError: the packages are missing, or Zenoh cannot begin.
    """
    config = board.spec.rig.ros2
    if config is None:
        raise UsageError(f"rig {board.spec.rig.name} has no key 'ros2'")
    bridge = Bridge(board, config, clock)
    period_ns = NS_PER_S // config.rate_hz
    due_ns = beat_ns = clock.now_ns()
    try:
        while not board.stopping:
            bridge.step()
            now_ns = clock.now_ns()
            if now_ns >= beat_ns:
                heart.beat(now_ns)
                beat_ns = now_ns + BEAT_NS
            due_ns = max(due_ns + period_ns, now_ns)
            clock.sleep_until_ns(due_ns)
    finally:
        bridge.close()


class Bridge:
    """Publishes what is new on the board at each step."""

    def __init__(self, board: Board, config: Ros2Config, clock: Clock) -> None:
        check_endpoint(config.endpoint)
        try:
            import zenoh  # noqa: PLC0415

            from runtime.ros2.messages import Messages  # noqa: PLC0415
        except ImportError as error:
            raise LeadtimeError(f"key 'ros2' needs {error.name}; pip install 'leadtime[ros2]'") from None
        self._board = board
        self._messages = Messages(clock)
        self._seen: dict[str, int] = {}
        self._stroke_m = {side: board.spec.rig.arm_model(side).gripper_stroke_m for side in SIDES}
        settings = zenoh.Config()
        settings.insert_json5("mode", '"peer"')
        settings.insert_json5("scouting/multicast/enabled", "false")
        settings.insert_json5("listen/endpoints", "[]")
        settings.insert_json5("connect/endpoints", json.dumps([config.endpoint]))
        try:
            self._session: Any = zenoh.open(settings)
        except zenoh.ZError as error:
            raise LeadtimeError(f"ros2.endpoint {config.endpoint!r}: {error}") from None
        topics = [f"{role}/joint_{side}" for role in ("puppet", "master") for side in SIDES]
        self._cameras = {name: f"{CAMERA_TOPICS.get(name, name)}/color/image_raw" for name in board.spec.rig.cameras}
        if config.images:
            topics += self._cameras.values()
        # What a slow listener has not taken is dropped: nothing here waits for it.
        self._publishers = {
            topic: self._session.declare_publisher(topic, congestion_control=zenoh.CongestionControl.DROP)
            for topic in topics
        }

    def step(self) -> None:
        """Publish the newest of each record, where there is a new one."""
        for side in SIDES:
            if (state := self._newest(f"arm/{side}")) is not None:
                self._joints("puppet", side, int(state["t_ns"]), state)
        if (command := self._newest("joint_command")) is not None and command["armed"]:
            for side in SIDES:
                self._joints("master", side, int(command["t_ns"]), command)
        for name, topic in self._cameras.items():
            if topic in self._publishers and (frame := self._newest(f"frame/{name}")) is not None:
                self._publishers[topic].put(
                    self._messages.image(int(frame["t_capture_ns"]), name, np.asarray(frame["image"]))
                )

    def close(self) -> None:
        """Leave the network."""
        self._session.close()

    def _joints(self, role: str, side: Side, t_ns: int, record: Any) -> None:
        """Publish an arm's part of a record, whose gripper is made metres of opening."""
        parts = [np.array(record[field]) if field in record.dtype.names else np.zeros(0) for field in _FIELDS]
        parts = [part[ARM_SLICE[side]] if len(part) > ARM_DOF else part for part in parts]
        position, velocity, effort = parts
        position[ARM_GRIPPER] *= self._stroke_m[side]
        velocity[ARM_GRIPPER] *= self._stroke_m[side]
        self._publishers[f"{role}/joint_{side}"].put(
            self._messages.joints(t_ns, JOINT_NAMES, position, velocity, effort)
        )

    def _newest(self, topic: str) -> NDArray[Any] | None:
        """Return a ring's newest record, None where it is not newer than the last."""
        ring: Ring = self._board[topic]
        head = ring.head
        if head == self._seen.get(topic, 0):
            return None
        self._seen[topic] = head
        try:
            return ring.latest()
        except TornReadError:
            return None


def check_endpoint(endpoint: str) -> None:
    """Raise UsageError unless a Zenoh endpoint is on this host: the joints of a rig are not sent out in the clear."""
    protocol, slash, address = endpoint.partition("/")
    host, _, port = address.rpartition(":")
    reached = host in LOOPBACK and port.isdecimal() and 0 < int(port) < 65_536
    if not slash or not (protocol == "unixsock-stream" or (protocol in {"tcp", "udp"} and reached)):
        raise UsageError(
            f"ros2.endpoint {endpoint!r} is not on this host; give tcp/127.0.0.1:7447 and let a zenoh-bridge-ros2dds"
            " on this host reach others, with its own access control"
        )
