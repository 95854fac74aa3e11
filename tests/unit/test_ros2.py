"""Promises of the ROS 2 bridge: true CDR under the vendor's names, this host only, and nothing lost by a listener."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zenoh
from rosbags.typesys import Stores, get_typestore

from runtime import records
from runtime.board import Board, Heart
from runtime.clock import MonotonicClock, VirtualClock
from runtime.config import Ros2Config
from runtime.errors import UsageError
from runtime.layout import RIG_DOF, SIDES
from runtime.ros2.bridge import Bridge, check_endpoint, run_bridge
from runtime.ros2.messages import Messages
from runtime.shm import blank
from tests.unit.recorded import make_board, make_frame, make_spec

STORE = get_typestore(Stores.ROS2_HUMBLE)
NOW_NS = 5_000_000_000


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def heard(port: int) -> Iterator[dict[str, list[bytes]]]:
    """What a Zenoh node of this host hears on any topic."""
    got: dict[str, list[bytes]] = {}
    settings = zenoh.Config()
    settings.insert_json5("scouting/multicast/enabled", "false")
    settings.insert_json5("listen/endpoints", f'["tcp/127.0.0.1:{port}"]')
    with zenoh.open(settings) as session:
        session.declare_subscriber(
            "**", lambda sample: got.setdefault(str(sample.key_expr), []).append(bytes(sample.payload))
        )
        yield got


def spoken_until(bridge: Bridge, board: Board, heard: dict[str, list[bytes]], topics: set[str]) -> None:
    """Publish anew until the listener, whose subscription travels to the bridge first, has heard every topic."""
    for i in range(200):
        put(board, i)
        bridge.step()
        if topics <= set(heard):
            return
        time.sleep(0.02)
    raise AssertionError(f"heard only {sorted(heard)}")


def put(board: Board, i: int) -> None:
    for k, side in enumerate(SIDES):
        state: Any = blank(records.ARM_STATE)
        state["seq"], state["t_ns"] = i + 1, NOW_NS
        state["position"] = np.arange(7) * 0.1 + k
        state["velocity"] = 0.5
        state["effort"] = 2.0
        board[f"arm/{side}"].push(state)
    command: Any = blank(records.JOINT_COMMAND)
    command["t_ns"], command["armed"] = NOW_NS + 1, 1
    command["position"] = np.linspace(0.0, 1.3, RIG_DOF)
    board["joint_command"].push(command)
    name = next(iter(board.spec.rig.cameras))
    board[f"frame/{name}"].push(make_frame(i))


def test_joints_and_pictures_arrive_as_ros_messages_under_the_vendors_names(
    tmp_path: Path, port: int, heard: dict[str, list[bytes]]
) -> None:
    board = make_board(tmp_path)
    camera = next(iter(board.spec.rig.cameras))
    bridge = Bridge(board, Ros2Config(endpoint=f"tcp/127.0.0.1:{port}"), VirtualClock(NOW_NS))
    picture_topic = {"cam_high": "camera_f"}.get(camera, camera) + "/color/image_raw"
    wanted = {f"{role}/joint_{side}" for role in ("puppet", "master") for side in SIDES} | {picture_topic}
    try:
        spoken_until(bridge, board, heard, wanted)
    finally:
        bridge.close()
    right = STORE.deserialize_cdr(heard["puppet/joint_right"][0], "sensor_msgs/msg/JointState")
    stroke_m = board.spec.rig.arm_model("right").gripper_stroke_m
    assert right.name == [f"joint{i}" for i in range(7)]
    np.testing.assert_allclose(right.position, [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6 * stroke_m])
    np.testing.assert_allclose(right.velocity, [0.5] * 6 + [0.5 * stroke_m])
    np.testing.assert_allclose(right.effort, 2.0)
    left = STORE.deserialize_cdr(heard["master/joint_left"][0], "sensor_msgs/msg/JointState")
    np.testing.assert_allclose(left.position[:6], np.linspace(0.0, 1.3, RIG_DOF)[:6])
    assert len(left.effort) == 0
    # Two stamps of one moment and the next nanosecond: distances are the records' own.
    assert left.header.stamp.nanosec - right.header.stamp.nanosec in {1, 1 - 10**9}
    image = STORE.deserialize_cdr(heard[picture_topic][0], "sensor_msgs/msg/Image")
    frame = make_frame(0)["image"]
    assert (image.height, image.width, image.encoding, image.step) == (*frame.shape[:2], "rgb8", 3 * frame.shape[1])
    assert image.header.frame_id == camera
    assert image.data.size == frame.size


def test_a_stamp_is_the_wall_clock_at_the_moment_of_measurement_however_long_the_packages_take(
    tmp_path: Path, port: int, heard: dict[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(store: Stores) -> Any:
        time.sleep(0.2)
        return get_typestore(store)

    monkeypatch.setattr("runtime.ros2.messages.get_typestore", slow)
    spec, clock = make_spec(tmp_path), MonotonicClock()
    shown = msgspec.structs.replace(spec.rig, ros2=Ros2Config(endpoint=f"tcp/127.0.0.1:{port}"))
    board = Board.create(msgspec.structs.replace(spec, rig=shown))
    bridge = threading.Thread(
        target=run_bridge, args=(board, clock, Heart(board["heartbeat/ros2"], os.getpid())), daemon=True
    )
    bridge.start()
    for i in range(200):
        put(board, i)
        time.sleep(0.02)
        if "puppet/joint_left" in heard:
            break
    board.stop_here()
    bridge.join(10.0)
    stamp = STORE.deserialize_cdr(heard["puppet/joint_left"][0], "sensor_msgs/msg/JointState").header.stamp
    wall_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - clock.now_ns() + NOW_NS
    assert stamp.sec * 10**9 + stamp.nanosec == pytest.approx(wall_ns, abs=5e6)


def test_a_picture_goes_through_bit_for_bit() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = STORE.deserialize_cdr(Messages(VirtualClock()).image(7, "cam_high", picture), "sensor_msgs/msg/Image")
    np.testing.assert_array_equal(image.data.reshape(12, 16, 3), picture)


def test_a_record_is_published_once_and_a_command_of_disarmed_arms_never(
    tmp_path: Path, port: int, heard: dict[str, list[bytes]]
) -> None:
    board = make_board(tmp_path)
    bridge = Bridge(board, Ros2Config(endpoint=f"tcp/127.0.0.1:{port}", images=False), VirtualClock(NOW_NS))
    try:
        spoken_until(bridge, board, heard, {"puppet/joint_left", "master/joint_left"})
        settled = [0]
        deadline = 200
        while len(heard["puppet/joint_left"]) != settled[-1] and deadline:
            settled.append(len(heard["puppet/joint_left"]))
            deadline -= 1
            time.sleep(0.05)
        command: Any = blank(records.JOINT_COMMAND)
        board["joint_command"].push(command)
        before = {topic: len(messages) for topic, messages in heard.items()}
        for _ in range(20):
            bridge.step()
        time.sleep(0.2)
        assert {topic: len(messages) for topic, messages in heard.items()} == before
        assert not any("image" in topic for topic in heard)
    finally:
        bridge.close()


@pytest.mark.parametrize(
    "endpoint", ["tcp/0.0.0.0:7447", "tcp/192.168.0.7:7447", "7447", "", "tls/robot.lab:7447", "tcp/127.0.0.1:99999"]
)
def test_an_endpoint_of_another_host_is_refused_with_what_would_be_right(endpoint: str) -> None:
    with pytest.raises(UsageError, match=r"is not on this host; give tcp/127\.0\.0\.1:7447") as error:
        check_endpoint(endpoint)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("endpoint", ["tcp/127.0.0.1:7447", "udp/localhost:7447", "tcp/[::1]:7", "unixsock-stream/a"])
def test_an_endpoint_of_this_host_is_taken(endpoint: str) -> None:
    check_endpoint(endpoint)


def test_a_rig_file_says_what_ros_is_shown(tmp_path: Path) -> None:
    shown = msgspec.convert({"rate_hz": 30, "images": False}, Ros2Config)
    assert (shown.endpoint, shown.rate_hz, shown.images) == ("tcp/127.0.0.1:7447", 30, False)
