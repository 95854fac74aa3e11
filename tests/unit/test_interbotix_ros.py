"""Promises of the driver behind a lab's own ROS 2 node, in virtual time over a stand-in of the node and its package."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.arms import VX300S
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.drivers.base import DriverError
from runtime.drivers.conformance import check_arm
from runtime.drivers.emulators.interbotix_xs_stand_in import PERIOD_NS, StandInNode
from runtime.drivers.interbotix.feedback import Fault
from runtime.drivers.interbotix.ros import ASK_NS, JOINTS, LOOSE_NS, SILENT_NS, InterbotixRosArm
from runtime.drivers.interbotix.ros_node import RosNode
from tests.fake_arm import KinematicArm, SteppedClock

TICK_NS = 5 * NS_PER_MS


class Bench:
    """An arm, the stand-in before it, and the driver."""

    def __init__(self, start: Any = None) -> None:
        self.arm = KinematicArm(VX300S, start)
        self.clock = SteppedClock(self.arm.step)
        self.clock.sleep_until_ns(self.clock.now_ns() + NS_PER_MS)
        self.node = StandInNode(self.arm, self.clock)
        self.driver = self.new()

    @property
    def core(self) -> Any:
        return self.node.core

    def new(self) -> InterbotixRosArm:
        return InterbotixRosArm(VX300S, "follower_left", lambda: self.node, self.clock)

    def run(self, span_ns: int, target: Any = None) -> list[Any]:
        """Read, and command, once a servo tick; returns the distinct states."""
        states: dict[int, Any] = {}
        for tick in range(span_ns // TICK_NS):
            if target is not None:
                self.driver.command(tick, np.array(target), self.clock.now_ns())
            self.clock.sleep_until_ns(self.clock.now_ns() + TICK_NS)
            state = self.driver.read()
            if state is not None:
                states[int(state["seq"])] = state
        return list(states.values())


def test_the_driver_keeps_every_promise_of_an_arm() -> None:
    bench = Bench()
    check_arm(bench.new, VX300S, bench.clock)


def test_states_come_at_the_nodes_rate_in_our_units_and_stamped_when_they_were_published() -> None:
    start = np.array([0.3, -0.4, 0.5, 0.2, 0.7, -0.6, 0.25])
    bench = Bench(start)
    bench.driver.open()
    states = bench.run(NS_PER_S)
    assert len(states) == pytest.approx(NS_PER_S / PERIOD_NS, abs=2)
    np.testing.assert_allclose(states[-1]["position"], start, atol=1e-6)
    assert all(np.diff([int(state["t_ns"]) for state in states]) > 0)
    assert bench.clock.now_ns() - int(states[-1]["t_ns"]) <= PERIOD_NS + 2 * NS_PER_MS
    # 0.5 mA of the first servo; the shoulder has two of 2.41 N.m/A each, the wrist one of 1.78.
    assert states[-1]["effort"][1] == pytest.approx(2 * 2.41 * 0.5e-3)
    assert states[-1]["effort"][5] == pytest.approx(1.78 * 0.5e-3)


def test_one_target_goes_out_for_each_state_and_the_gripper_only_where_it_changes() -> None:
    bench = Bench()
    bench.driver.open()
    sent: list[str] = []
    arm, one = bench.core.robot_write_commands, bench.core.robot_write_joint_command
    bench.core.robot_write_commands = lambda name, joints: (sent.append(name), arm(name, joints))
    bench.core.robot_write_joint_command = lambda name, rad: (sent.append(name), one(name, rad))
    states = bench.run(NS_PER_S // 2, VX300S.home)
    assert sent.count("arm") == pytest.approx(len(states), abs=1)
    assert sent.count("gripper") == 1
    bench.run(NS_PER_S // 2, [*VX300S.home[:6], 0.3])
    assert sent.count("gripper") == 2
    assert bench.arm.position[6] == pytest.approx(0.3, abs=2e-3)


@pytest.mark.parametrize("more", [1, 2, 3, 4])
def test_the_last_target_of_all_is_gone_to_whenever_it_came(more: int) -> None:
    bench = Bench()
    bench.driver.open()
    bench.run(NS_PER_S // 10, VX300S.home)
    target = np.array([0.02, *VX300S.home[1:]])
    bench.run((more - 1) * TICK_NS, VX300S.home)
    bench.run(TICK_NS, target)
    bench.run(NS_PER_S // 2)
    assert bench.arm.position[0] == pytest.approx(0.02)


def test_opening_switches_the_servos_own_profiles_off_and_moves_nothing() -> None:
    bench = Bench()
    bench.driver.open()
    bench.run(NS_PER_S // 2)
    assert {bench.core.registers[joint]["Profile_Velocity"] for joint in JOINTS} == {0}
    assert {bench.core.registers[joint]["Profile_Acceleration"] for joint in JOINTS} == {0}
    assert not bench.arm.commands


def _mode(core: Any) -> None:
    core.modes["arm"] = "pwm"


def _gripper_mode(core: Any) -> None:
    core.modes["gripper"] = "pwm"


def _limits(core: Any) -> None:
    core.limits = ((-1.0,) * 6, (1.0,) * 6)


def _names(core: Any) -> None:
    core.names = ["waist", "shoulder"]


def _profile(core: Any) -> None:
    core.stubborn = {"Profile_Velocity"}


def _register(joint: str, register: str, value: int) -> Any:
    return lambda core: core.registers[joint].update({register: value})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_mode, "arm is in mode pwm, not position: set operating_mode"),
        (_gripper_mode, "gripper is in mode pwm, not current_based_position"),
        (_names, "group arm has waist, shoulder, not waist, shoulder, elbow"),
        (_limits, "narrower than runtime/arms.py"),
        (_profile, "arm does not take Profile_Velocity 0"),
        (_register("gripper", "Current_Limit", 500), "Current_Limit is 500; above 200"),
        (_register("elbow", "Hardware_Error_Status", 0x20), "elbow reports hardware error 0x20"),
        (_register("wrist_rotate", "Torque_Enable", 0), "wrist_rotate has no torque"),
    ],
)
def test_what_differs_from_the_arms_build_is_refused_in_one_line_and_nothing_is_written(spoil: Any, says: str) -> None:
    bench = Bench()
    spoil(bench.core)
    with pytest.raises(DriverError, match=f"/follower_left: .*{says}") as caught:
        bench.driver.open()
    assert "\n" not in str(caught.value)
    assert bench.core.registers["waist"]["Profile_Velocity"] == 131
    assert not bench.arm.commands


def test_a_joint_that_stands_outside_its_range_is_refused() -> None:
    bench = Bench([0.0, -2.0, 0.5, 0.0, 0.0, 0.0, 0.5])
    with pytest.raises(DriverError, match=r"shoulder is at -2\.000 rad, outside its range"):
        bench.driver.open()


@pytest.mark.parametrize("joint", ["waist", "wrist_rotate", "gripper"])
def test_what_the_node_makes_up_for_a_servo_that_does_not_answer_is_no_state(joint: str) -> None:
    bench = Bench()
    bench.driver.open()
    before = bench.run(NS_PER_S // 10)[-1]
    bench.node.silent = joint
    states = bench.run(SILENT_NS - 20 * NS_PER_MS)
    assert {int(state["seq"]) for state in states} == {int(before["seq"])}
    with pytest.raises(DriverError, match=f"{joint} does not answer its xs_sdk"):
        bench.run(40 * NS_PER_MS)


def test_a_servo_that_misses_one_answer_is_no_loss() -> None:
    bench = Bench()
    bench.driver.open()
    for silent in ("gripper", "") * 5:
        bench.node.silent = silent
        bench.run(50 * NS_PER_MS)
    assert bench.run(NS_PER_S // 10)


def test_a_node_that_ends_is_lost() -> None:
    bench = Bench()
    bench.driver.open()
    bench.run(NS_PER_S // 10)
    bench.node.gone = True
    bench.run(SILENT_NS - 20 * NS_PER_MS)
    with pytest.raises(DriverError, match="no joint states for 200 ms"):
        bench.run(40 * NS_PER_MS)


def test_a_pause_of_the_host_is_no_silence_of_the_node() -> None:
    bench = Bench()
    bench.driver.open()
    bench.clock.sleep_until_ns(bench.clock.now_ns() + NS_PER_S)
    assert bench.run(NS_PER_S // 10)
    bench.node.gone = True
    bench.clock.sleep_until_ns(bench.clock.now_ns() + NS_PER_S)
    bench.run(TICK_NS)
    bench.node.gone = False
    assert bench.run(NS_PER_S // 10)


@pytest.mark.parametrize(
    ("joint", "register", "value", "fault"),
    [
        ("elbow", "Hardware_Error_Status", 0x20, Fault.OVERLOAD),
        ("gripper", "Hardware_Error_Status", 0x04, Fault.TOO_HOT),
    ],
)
def test_a_fault_of_a_servo_is_seen_while_the_arm_runs_and_when_it_has_gone(
    joint: str, register: str, value: int, fault: Fault
) -> None:
    bench = Bench()
    bench.driver.open()
    whole_round_ns = 2 * len(JOINTS) * (ASK_NS + TICK_NS)
    assert int(bench.run(whole_round_ns)[-1]["fault"]) == 0
    sound = bench.core.registers[joint][register]
    bench.core.registers[joint][register] = value
    assert Fault(int(bench.run(whole_round_ns)[-1]["fault"])) == fault
    bench.core.registers[joint][register] = sound
    assert int(bench.run(whole_round_ns)[-1]["fault"]) == 0


def test_a_joint_without_torque_is_told_to_stay_where_it_fell_and_the_others_to_brake() -> None:
    """A servo that keeps its last goal would go back to it, and an arm that is told nothing more would stop dead."""
    bench = Bench()
    bench.driver.open()
    bench.run(NS_PER_S, VX300S.home)
    sent: list[list[float]] = []
    bench.core.robot_write_commands = lambda _name, joints: sent.append(list(joints))
    bench.core.registers["shoulder"]["Torque_Enable"] = 0
    while not int(bench.run(4 * TICK_NS, VX300S.home)[-1]["fault"]):
        continue
    fallen = np.array(VX300S.home) + np.array([0, 0.4, 0, 0, 0, 0, 0])
    bench.arm.position[:] = bench.arm.target[:] = fallen
    bench.run(4 * TICK_NS, VX300S.home)
    sent.clear()
    braked = np.array(VX300S.home) + np.array([0.03, 0, 0, 0, 0, 0, 0])
    bench.run(NS_PER_S // 10, braked)
    assert len(sent) >= 9
    np.testing.assert_allclose(sent[1:], np.tile([braked[0], fallen[1], *braked[2:6]], (len(sent) - 1, 1)), atol=1e-3)


def test_an_arm_without_torque_moves_nowhere_and_is_armed_anew_from_where_it_then_is() -> None:
    bench = Bench()
    bench.driver.open()
    bench.run(NS_PER_S, VX300S.home)
    bench.core.registers["shoulder"]["Torque_Enable"] = 0
    while not (fault := int(bench.run(4 * TICK_NS)[-1]["fault"])):
        continue
    assert Fault(fault) == Fault.TORQUE_LOST
    bench.core.registers["shoulder"]["Torque_Enable"] = 1
    count = len(bench.arm.commands)
    with pytest.raises(DriverError, match="/follower_left has lost its torque"):
        bench.run(2 * LOOSE_NS, VX300S.home)
    for command in bench.arm.commands[count:]:
        np.testing.assert_allclose(command[:6], bench.arm.position[:6], atol=1e-6)
    count = len(bench.arm.commands)
    bench.driver = bench.new()
    bench.driver.open()
    bench.run(NS_PER_S, VX300S.home)
    assert len(bench.arm.commands) > count


def test_a_closed_driver_says_so_and_the_arm_keeps_its_last_target() -> None:
    bench = Bench()
    bench.driver.open()
    bench.run(NS_PER_S // 2, VX300S.home)
    count = len(bench.arm.commands)
    bench.driver.close()
    with pytest.raises(DriverError, match="is not open"):
        bench.driver.read()
    with pytest.raises(DriverError, match="is not open"):
        bench.driver.command(0, np.zeros(7), 0)
    assert len(bench.arm.commands) == count


def test_without_the_package_the_remedy_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    says = r"needs rclpy and interbotix_xs_modules .*setup\.bash.*driver interbotix"
    with pytest.raises(DriverError, match=says) as caught:
        RosNode("follower_left", "vx300s", SteppedClock())
    assert "\n" not in str(caught.value)


class StandInRos:
    """What `RosNode` calls of rclpy and of a node, as stand-ins; `services` and `publishers` are what ROS has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.services: list[str] = []
        self.publishers = 0
        self.calls: list[Any] = []
        node = SimpleNamespace(
            get_service_names_and_types=lambda: [(name, ["?"]) for name in self.services],
            count_publishers=lambda topic: self.publishers * (topic == "/follower_left/joint_states"),
            destroy_node=lambda: self.calls.append("destroyed"),
            get_clock=lambda: SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=5 * NS_PER_S + 7)),
        )
        modules = {
            "rclpy": SimpleNamespace(
                ok=lambda: False,
                init=lambda **options: self.calls.append(options),
                spin_once=lambda node, timeout_sec: self.calls.append(timeout_sec),
                try_shutdown=lambda: self.calls.append("shut down"),
            ),
            "rclpy.signals": SimpleNamespace(SignalHandlerOptions=SimpleNamespace(NO="no handlers")),
            "interbotix_common_modules.common_robot.robot": SimpleNamespace(InterbotixRobotNode=lambda node_name: node),
            "interbotix_xs_modules.xs_robot.core": SimpleNamespace(InterbotixRobotXSCore=SimpleNamespace),
        }
        for name, module in modules.items():
            stand_in = ModuleType(name)
            vars(stand_in).update(vars(module))
            for depth in range(1, name.count(".") + 1):
                monkeypatch.setitem(sys.modules, name.rsplit(".", depth)[0], ModuleType(name.rsplit(".", depth)[0]))
            monkeypatch.setitem(sys.modules, name, stand_in)
        # A parent that was made for a child's sake does not hide the module of its own name.
        top = ModuleType("rclpy")
        vars(top).update(vars(modules["rclpy"]))
        monkeypatch.setitem(sys.modules, "rclpy", top)


def test_the_node_is_looked_for_before_the_package_would_wait_for_it_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    ros = StandInRos(monkeypatch)
    ros.services = ["/follower_right/set_operating_modes"]
    with pytest.raises(DriverError, match=r"no xs_sdk under /follower_left .*start the lab's launch file"):
        RosNode("follower_left", "vx300s", SteppedClock())
    assert ros.calls[-2:] == ["destroyed", "shut down"]
    ros.services, ros.publishers = ["/follower_left/set_operating_modes"], 1
    node = RosNode("follower_left", "vx300s", SteppedClock())
    assert node.core.robot_name == "follower_left"
    assert {"args": [], "signal_handler_options": "no handlers"} in ros.calls
    node.poll()
    assert ros.calls[-1] == 0.0
    assert node.age_ns(SimpleNamespace(sec=5, nanosec=2)) == 5
