"""Promises of a leader of Dynamixel servos: slack in the hand, whole readings, its own directions, silence said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime.arms import VX300S
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.config import load_rig
from runtime.devices import DynamixelLeader
from runtime.drivers.base import DriverError, LeaderSample
from runtime.drivers.conformance import check_leader
from runtime.drivers.emulators.dynamixel import GripperJoint, leader_gripper
from runtime.drivers.factory import LEADERS
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.conversions import RAD_PER_TICK
from runtime.drivers.interbotix.protocol import Refusal
from runtime.drivers.interbotix.table import GELLO_SERVOS, WX250S_SERVOS
from runtime.drivers.leaders.dynamixel import LOST_NS, DynamixelLeaderArm
from tests.fake_arm import KinematicArm
from tests.unit.interbotix_bench import DynamixelBench

POSE = np.array([0.3, -0.4, 0.5, 0.2, 0.7, -0.6, 0.25])
FOLLOWER = np.zeros(14)
SIGNS = (1, -1, 1, 1, -1, 1, 1)
ZEROS_RAD = (0.0, 1.5708, 0.0, -1.5708, 0.0, 3.1416, 0.0)


@pytest.fixture
def bench() -> Iterator[DynamixelBench]:
    made = DynamixelBench(KinematicArm(VX300S, POSE), WX250S_SERVOS, leader_gripper())
    yield made
    made.close()


@pytest.fixture
def gello() -> Iterator[DynamixelBench]:
    # Its gripper's joint reads 0.9 rad closed and 0.2 open.
    joint = GripperJoint(lambda rad: (0.9 - rad) / 0.7, lambda fraction: 0.9 - 0.7 * fraction)
    made = DynamixelBench(KinematicArm(VX300S, POSE), GELLO_SERVOS, joint)
    yield made
    made.close()


def leader(bench: DynamixelBench, **config: Any) -> DynamixelLeaderArm:
    return DynamixelLeaderArm(DynamixelLeader(side="right", port="ttyLEAD", **config), bench.connect, bench.clock)


def lead(bench: DynamixelBench, arm: DynamixelLeaderArm, span_ns: int, every_ns: int = NS_PER_MS) -> list[LeaderSample]:
    samples: list[LeaderSample] = []
    until_ns = bench.clock.now_ns() + span_ns
    while bench.clock.now_ns() < until_ns:
        samples += arm.read(bench.clock.now_ns(), FOLLOWER).samples
        bench.run(every_ns)
    return samples


def test_the_leader_keeps_every_promise_of_a_leader(bench: DynamixelBench) -> None:
    check_leader(lambda: leader(bench), bench.clock)


def test_a_leader_says_where_it_is_held_more_than_a_hundred_times_a_second(bench: DynamixelBench) -> None:
    arm = leader(bench)
    arm.open()
    samples = lead(bench, arm, NS_PER_S)
    assert len(samples) > 100
    assert {sample.side for sample in samples} == {"right"}
    assert all(sample.clutch for sample in samples)
    np.testing.assert_allclose(samples[-1].position[:6], POSE[:6], atol=RAD_PER_TICK)
    assert samples[-1].position[6] == pytest.approx(POSE[6], abs=5e-3)
    bench.behind.target[1] += 0.2
    moved = lead(bench, arm, NS_PER_S)
    assert moved[-1].position[1] == pytest.approx(POSE[1] + 0.2, abs=RAD_PER_TICK)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_closed_and_an_open_gripper_are_the_ends_of_the_followers(bench: DynamixelBench, fraction: float) -> None:
    bench.behind.target[6] = fraction
    bench.run(NS_PER_S)
    arm = leader(bench)
    arm.open()
    assert lead(bench, arm, NS_PER_S // 10)[-1].position[6] == pytest.approx(fraction, abs=2e-3)


def test_opening_takes_the_torque_off(bench: DynamixelBench) -> None:
    for servo in bench.device.servos.values():
        servo.write(table.TORQUE.address, b"\1")
    leader(bench).open()
    assert not any(servo.torque for servo in bench.device.servos.values())


def test_a_gello_reads_by_its_signs_and_zeros(gello: DynamixelBench) -> None:
    arm = leader(gello, model="gello", signs=SIGNS, zeros_rad=ZEROS_RAD, gripper_rad=(0.9, 0.2))
    arm.open()
    position = lead(gello, arm, NS_PER_S // 10)[-1].position
    right = np.array(SIGNS) * (POSE - np.array(ZEROS_RAD))
    np.testing.assert_allclose(position[:6], right[:6], atol=RAD_PER_TICK)
    gello.behind.target[6] = 1.0
    assert lead(gello, arm, NS_PER_S)[-1].position[6] == pytest.approx(1.0, abs=5e-3)
    gello.behind.target[6] = 0.0
    assert lead(gello, arm, NS_PER_S)[-1].position[6] == pytest.approx(0.0, abs=5e-3)


def test_a_leader_that_does_not_answer_leaves_the_others_time_when_it_is_tried_again(bench: DynamixelBench) -> None:
    bench.faults.add("silent")
    begun_ns = bench.clock.now_ns()
    with pytest.raises(DriverError, match="no servo answers"):
        leader(bench).open()
    assert bench.clock.now_ns() - begun_ns < load_rig("sim-x5").leader_stale_ms / 2 * NS_PER_MS


@pytest.mark.parametrize("fault", ["silent", "silent-servo", "corrupt"])
def test_a_leader_that_falls_silent_is_lost_after_fifty_ms(bench: DynamixelBench, fault: str) -> None:
    arm = leader(bench)
    arm.open()
    lead(bench, arm, NS_PER_S // 10)
    bench.faults.add(fault)
    lead(bench, arm, LOST_NS - 10 * NS_PER_MS)
    with pytest.raises(DriverError, match=r"leader wx250s on ttyLEAD: .* answer"):
        lead(bench, arm, 20 * NS_PER_MS)


def test_a_pause_of_the_host_is_no_silence_of_the_leader(bench: DynamixelBench) -> None:
    arm = leader(bench)
    arm.open()
    bench.run(NS_PER_S)
    assert lead(bench, arm, NS_PER_S // 10)
    bench.run(NS_PER_S)
    assert lead(bench, arm, NS_PER_S // 10)


def test_an_unplugged_leader_is_lost_at_once(bench: DynamixelBench) -> None:
    arm = leader(bench)
    arm.open()
    bench.faults.add("unplugged")
    bench.run(2 * NS_PER_MS)
    with pytest.raises(DriverError, match="is gone"):
        arm.read(bench.clock.now_ns(), FOLLOWER)
    arm.close()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model": "gello"}, "signs has 0 numbers; give seven"),
        ({"model": "gello", "signs": SIGNS}, "zeros_rad has 0 numbers; give seven"),
        ({"model": "gello", "signs": SIGNS, "zeros_rad": ZEROS_RAD}, "gripper_rad is missing"),
        ({"signs": (1, 1)}, "signs has 2 numbers"),
        ({"signs": (2, 1, 1, 1, 1, 1, 1)}, "signs are 1 or -1"),
        ({"zeros_rad": (float("nan"),) * 7}, "zeros_rad finite"),
        ({"gripper_rad": (0.5, 0.5)}, "same angle for closed and open"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(bench: DynamixelBench, config: dict[str, Any], says: str) -> None:
    with pytest.raises(DriverError, match=says):
        leader(bench, **config).open()


def test_a_servo_that_turns_the_wrong_way_is_refused(bench: DynamixelBench) -> None:
    bench.device.servos[5].set(table.DRIVE_MODE, 0)
    with pytest.raises(DriverError, match=r"servo 5 \(elbow shadow\) has drive mode 0 where the arm has 1"):
        leader(bench).open()
    bench.device.servos[5].set(table.DRIVE_MODE, 5)
    leader(bench).open()


def test_a_leader_that_keeps_its_torque_is_refused(bench: DynamixelBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A servo that does not let go would be forced by the person's hand."""
    servo = bench.device.servos[6]
    servo.set(table.TORQUE, 1)
    monkeypatch.setattr(servo, "write", lambda address, data: Refusal.RESULT)
    with pytest.raises(DriverError, match=r"servo 6 \(forearm roll\) keeps its torque"):
        leader(bench).open()


def test_a_closed_leader_says_so(bench: DynamixelBench) -> None:
    with pytest.raises(DriverError, match="is not open"):
        leader(bench).read(0, FOLLOWER)


def test_the_rig_file_names_it(bench: DynamixelBench) -> None:
    arm = LEADERS["dynamixel"](DynamixelLeader(side="left", port=str(bench.path)), load_rig("sim-vx300s"))
    assert isinstance(arm, DynamixelLeaderArm)
    with pytest.raises(DriverError, match="No such file"):
        LEADERS["dynamixel"](DynamixelLeader(side="left", port="/dev/serial/by-id/gone"), load_rig("sim-vx300s")).open()
