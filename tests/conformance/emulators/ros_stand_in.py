"""A stand-in for `rclpy` and the messages of an xs_sdk node, under the genuine `interbotix_xs_modules`.

No ROS runs: a node's clients, publishers and subscriptions reach the stand-in of the xs_sdk directly, an answer or a
message a call of `spin_once`. Written from rclpy's documentation and interbotix_xs_msgs' definitions.
"""

from __future__ import annotations

import importlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

from runtime.clock import NS_PER_MS, Clock
from runtime.drivers.emulators.interbotix_xs_stand_in import StandInNode

PACKAGES = ("modern_robotics", "rclpy", "tf2_ros", "tf_transformations", "urdf_parser_py", "launch")
"""What the genuine package imports besides messages, most of it for other robots."""


class _Anything(ModuleType):
    """A module of ROS of which only names are wanted: each is a class that keeps what it is given."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (SimpleNamespace,), {"Request": SimpleNamespace, "Response": SimpleNamespace})


class _Finder(MetaPathFinder, Loader):
    """Finds every package of ROS."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        top = fullname.partition(".")[0]
        wanted = top in PACKAGES or top.endswith(("_msgs", "_srvs"))
        return ModuleSpec(fullname, self, is_package=True) if wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Anything(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


class Future:
    """The answer to a request, once it has come."""

    def __init__(self) -> None:
        self._answer: Any = None
        self._done = False

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        return self._answer

    def set_result(self, answer: Any) -> None:
        self._answer, self._done = answer, True


class Ros:
    """The graph: one robot's xs_sdk, and what waits to be taken in."""

    def __init__(self, robot: str, sdk: StandInNode, clock: Clock) -> None:
        self.robot, self.sdk, self.clock = robot, sdk, clock
        self.waiting: deque[Callable[[], None]] = deque()
        self.hear: Callable[[Any], None] | None = None
        self.up = False
        self._last: Any = None

    def answer(self, service: str, request: Any) -> Any:
        core = self.sdk.core
        match service.removeprefix(f"/{self.robot}/"):
            case "get_motor_registers":
                values = core.robot_get_motor_registers(request.cmd_type, request.name, request.reg)
                return SimpleNamespace(values=values)
            case "set_motor_registers":
                core.robot_set_motor_registers(request.cmd_type, request.name, request.reg, request.value)
                return SimpleNamespace(values=[])
            case "get_robot_info":
                return core.robot_get_robot_info(request.cmd_type, request.name)
            case other:
                raise AssertionError(f"the driver has no business with {other}")

    def take(self, topic: str, message: Any) -> None:
        if topic.endswith("/joint_group"):
            self.sdk.core.robot_write_commands(message.name, message.cmd)
        else:
            assert topic.endswith("/joint_single")
            self.sdk.core.robot_write_joint_command(message.name, message.cmd)

    def spin_once(self, timeout_sec: float | None) -> None:
        """Let the xs_sdk do what is due, and take one answer or message in; without a time, wait for a moment."""
        if timeout_sec is None:
            self.clock.sleep_until_ns(self.clock.now_ns() + NS_PER_MS)
        self.sdk.poll()
        states = self.sdk.core.joint_states
        if states is not self._last and self.hear is not None:
            self._last, hear = states, self.hear
            self.waiting.append(lambda: hear(states))
        if self.waiting:
            self.waiting.popleft()()


def _node_type(ros: Ros) -> type:
    class Node:
        def __init__(self, node_name: str, namespace: str | None = None) -> None:
            self.name, self.namespace_ = node_name, namespace

        def get_logger(self) -> Any:
            return SimpleNamespace(info=print, debug=lambda _: None, error=print)

        def get_clock(self) -> Any:
            return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=ros.clock.now_ns()))

        def get_service_names_and_types(self) -> list[tuple[str, list[str]]]:
            return [(f"/{ros.robot}/set_operating_modes", ["interbotix_xs_msgs/srv/OperatingModes"])]

        def count_publishers(self, topic: str) -> int:
            return int(topic == f"/{ros.robot}/joint_states")

        def create_client(self, srv_type: Any, srv_name: str, callback_group: Any) -> Any:
            def call_async(request: Any) -> Future:
                future = Future()
                ros.waiting.append(lambda: future.set_result(ros.answer(srv_name, request)))
                return future

            served = lambda timeout_sec=None: True  # noqa: E731
            return SimpleNamespace(srv_type=srv_type, call_async=call_async, wait_for_service=served)

        def create_publisher(self, msg_type: Any, topic: str, qos_profile: int, callback_group: Any) -> Any:
            return SimpleNamespace(publish=lambda message: ros.take(topic, message))

        def create_subscription(
            self, msg_type: Any, topic: str, callback: Any, qos_profile: int, callback_group: Any
        ) -> None:
            assert topic == f"/{ros.robot}/joint_states"
            ros.hear = callback

        def destroy_node(self) -> None:
            ros.hear = None

    return Node


def _fill(ros: Ros) -> None:
    """Give the modules what the genuine package and the driver do with them."""

    def bring_up(args: Any = None, signal_handler_options: Any = None) -> None:
        ros.up = True

    def take_down() -> None:
        ros.up = False

    def spin(node: Any, future: Future, timeout_sec: float | None = None) -> None:
        while not future.done():
            ros.spin_once(timeout_sec)

    given: dict[str, dict[str, Any]] = {
        "rclpy": {
            "ok": lambda: ros.up,
            "init": bring_up,
            "try_shutdown": take_down,
            "spin_once": lambda node, timeout_sec=None: ros.spin_once(timeout_sec),
            "spin_until_future_complete": spin,
        },
        "rclpy.signals": {"SignalHandlerOptions": SimpleNamespace(NO=0)},
        "rclpy.logging": {
            "LoggingSeverity": SimpleNamespace(INFO=20),
            "set_logger_level": lambda name, level: None,
        },
        "rclpy.node": {"Node": _node_type(ros)},
        "rclpy.task": {"Future": Future},
    }
    for name, names in given.items():
        vars(importlib.import_module(name)).update(names)


@contextmanager
def ros_of(robot: str, sdk: StandInNode, clock: Clock) -> Iterator[Ros]:
    """Have such a ROS in place of the host's, with that robot's xs_sdk on it."""
    ros = Ros(robot, sdk, clock)
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        _fill(ros)
        yield ros
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            del sys.modules[name]
