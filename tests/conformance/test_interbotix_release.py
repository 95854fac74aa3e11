"""The driver behind a lab's ROS 2 node, through the genuine `interbotix_xs_modules`, over a stand-in of ROS itself.

LEADTIME_RELEASES names a folder with a checkout of Interbotix/interbotix_ros_toolboxes (branch jazzy); see
releases.txt.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime.arms import VX300S
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.drivers.base import DriverError
from runtime.drivers.conformance import check_arm
from runtime.drivers.emulators.interbotix_xs_stand_in import StandInNode
from runtime.drivers.interbotix.ros import JOINTS, InterbotixRosArm
from runtime.drivers.interbotix.ros_node import RosNode
from tests.conformance.emulators.release import RELEASES, folder
from tests.conformance.emulators.ros_stand_in import ros_of
from tests.fake_arm import KinematicArm, SteppedClock

ROBOT = "follower_left"
TICK_NS = 5 * NS_PER_MS


class Bench:
    """An arm, a stand-in of its xs_sdk, and the driver before the genuine package."""

    def __init__(self) -> None:
        self.arm = KinematicArm(VX300S)
        self.clock = SteppedClock(self.arm.step)
        self.clock.sleep_until_ns(self.clock.now_ns() + NS_PER_MS)
        self.sdk = StandInNode(self.arm, self.clock)
        self.driver = self.new()

    def new(self) -> InterbotixRosArm:
        return InterbotixRosArm(VX300S, ROBOT, lambda: RosNode(ROBOT, "vx300s", self.clock), self.clock)

    def run(self, span_ns: int, target: Any = None) -> Any:
        state = None
        for tick in range(span_ns // TICK_NS):
            if target is not None:
                self.driver.command(tick, np.array(target), self.clock.now_ns())
            self.clock.sleep_until_ns(self.clock.now_ns() + TICK_NS)
            state = self.driver.read()
        return state


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    toolboxes = folder("interbotix_ros_toolboxes")
    if toolboxes is None:
        pytest.skip(f"no checkout of interbotix_ros_toolboxes; {RELEASES} names the folder of such")
    for package in (
        "interbotix_xs_toolbox/interbotix_xs_modules",
        "interbotix_common_toolbox/interbotix_common_modules",
    ):
        monkeypatch.syspath_prepend(str(toolboxes / package))
    made = Bench()
    with ros_of(ROBOT, made.sdk, made.clock):
        yield made


def test_the_driver_keeps_every_promise_of_an_arm_behind_the_genuine_package(bench: Bench) -> None:
    check_arm(bench.new, VX300S, bench.clock)
    assert "interbotix_xs_modules.xs_robot.core" in sys.modules


def test_opening_compares_and_switches_the_servos_own_profiles_off(bench: Bench) -> None:
    bench.driver.open()
    assert {bench.sdk.core.registers[joint]["Profile_Velocity"] for joint in JOINTS} == {0}
    bench.driver.close()
    bench.sdk.core.modes["arm"] = "pwm"
    with pytest.raises(DriverError, match="mode pwm, not position"):
        bench.driver.open()


def test_the_arm_and_its_gripper_go_where_they_are_told(bench: Bench) -> None:
    bench.driver.open()
    target = [0.02, *VX300S.home[1:6], 0.3]
    bench.run(NS_PER_S // 2, target)
    np.testing.assert_allclose(bench.arm.position, target, atol=2e-3)


def test_a_servo_that_loses_its_torque_is_told_of(bench: Bench) -> None:
    bench.driver.open()
    bench.run(NS_PER_S)
    bench.sdk.core.registers["elbow"]["Torque_Enable"] = 0
    with pytest.raises(DriverError, match="has lost its torque"):
        bench.run(5 * NS_PER_S)
