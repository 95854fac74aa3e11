"""The genuine node: `rclpy` and `interbotix_xs_modules`, from the lab's sourced ROS 2 workspace."""

from __future__ import annotations

import importlib
from typing import Any, Final

from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import DriverError

SEEN_WITHIN_NS: Final = 5 * NS_PER_S
LOOK_NS: Final = 50 * NS_PER_MS


class RosNode:
    """A node of our own beside the lab's, without a thread: what has come is taken in when it is polled."""

    def __init__(self, robot: str, model: str, clock: Clock) -> None:
        """Join ROS and find the arm's node.

        Raises:
            DriverError: the packages do not import, or no xs_sdk serves and publishes under that name.
        """
        try:
            self._rclpy: Any = importlib.import_module("rclpy")
            signals: Any = importlib.import_module("rclpy.signals")
            common: Any = importlib.import_module("interbotix_common_modules.common_robot.robot")
            modules: Any = importlib.import_module("interbotix_xs_modules.xs_robot.core")
        except ImportError as error:
            raise DriverError(
                f"driver interbotix_ros needs rclpy and interbotix_xs_modules ({error}): source the Interbotix"
                " workspace's setup.bash, of a ROS 2 with Python 3.11 or newer (Jazzy), or use the driver interbotix"
            ) from None
        if not self._rclpy.ok():
            # Ctrl-C is the run's own business.
            self._rclpy.init(args=[], signal_handler_options=signals.SignalHandlerOptions.NO)
        self._node: Any = common.InterbotixRobotNode(node_name=f"leadtime_{robot.replace('/', '_')}")
        try:
            # The package's own constructor would wait for the node for ever.
            self._await(robot, clock)
            self.core: Any = modules.InterbotixRobotXSCore(robot_model=model, robot_name=robot, node=self._node)
        except DriverError:
            self.close()
            raise

    def _await(self, robot: str, clock: Clock) -> None:
        service, topic = f"/{robot}/set_operating_modes", f"/{robot}/joint_states"
        until_ns = clock.now_ns() + SEEN_WITHIN_NS
        while clock.now_ns() < until_ns:
            served = any(name == service for name, _ in self._node.get_service_names_and_types())
            if served and self._node.count_publishers(topic):
                return
            clock.sleep_until_ns(clock.now_ns() + LOOK_NS)
        raise DriverError(
            f"no xs_sdk under /{robot} ({service}, {topic}): start the lab's launch file, check ROS_DOMAIN_ID"
        )

    def poll(self) -> None:
        """Take one message or answer in, if one has come; never waits."""
        self._rclpy.spin_once(self._node, timeout_sec=0.0)

    def age_ns(self, stamp: Any) -> int:
        """Return how long ago a message was stamped, by ROS' clock."""
        return int(self._node.get_clock().now().nanoseconds) - (int(stamp.sec) * NS_PER_S + int(stamp.nanosec))

    def close(self) -> None:
        """Leave ROS."""
        self._node.destroy_node()
        self._rclpy.try_shutdown()
