"""Promises of the Interbotix driver, against emulated servos over real ptys in virtual time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.arms import VX300S
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.drivers.base import DriverError
from runtime.drivers.conformance import check_arm
from runtime.drivers.emulators.dynamixel import FAULTS
from runtime.drivers.emulators.inject import inject
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.arm import (
    GAIN_P,
    PROFILE_HOLD,
    PROFILE_HOLD_MS,
    WATCHDOG_NS,
    WATCHDOG_UNITS,
    InterbotixArm,
)
from runtime.drivers.interbotix.conversions import RAD_PER_TICK
from runtime.drivers.interbotix.feedback import Fault
from runtime.drivers.interbotix.port import SerialPort, require_quick
from runtime.drivers.interbotix.protocol import Instruction, Packet
from runtime.drivers.interbotix.table import VX300S_SERVOS
from tests.fake_arm import KinematicArm
from tests.unit.interbotix_bench import CountedPort, DynamixelBench
from tests.unit.late_torque import check_late_torque

HOME = VX300S.home_array
SERVO_NS = 5 * NS_PER_MS


@pytest.fixture
def bench() -> Iterator[DynamixelBench]:
    made = DynamixelBench()
    yield made
    made.close()


def hold(bench: DynamixelBench, arm: InterbotixArm, span_ns: int, position: np.ndarray = HOME) -> None:
    until_ns = bench.clock.now_ns() + span_ns
    while bench.clock.now_ns() < until_ns:
        arm.read()
        arm.command(0, position, bench.clock.now_ns())
        bench.run(SERVO_NS)


def ready(bench: DynamixelBench) -> InterbotixArm:
    """Open a driver and hold until the torque is there."""
    arm = bench.arm()
    arm.open()
    hold(bench, arm, NS_PER_S // 5)
    return arm


def state_of(arm: InterbotixArm) -> np.ndarray:
    state = arm.read()
    assert state is not None
    return state


def test_the_driver_keeps_every_promise_of_an_arm(bench: DynamixelBench) -> None:
    check_arm(bench.arm, VX300S, bench.clock)
    assert bench.device.drops == 0


def test_opening_writes_nothing(bench: DynamixelBench) -> None:
    before = {i: bytes(servo.table) for i, servo in bench.device.servos.items()}
    bench.arm().open()
    for servo_id, servo in bench.device.servos.items():
        assert servo.table[: table.CURRENT.address] == before[servo_id][: table.CURRENT.address]
    assert bench.behind.commands == []


def test_the_arm_is_held_where_it_stands_before_the_torque_and_goes_to_its_target_after(bench: DynamixelBench) -> None:
    for servo in bench.device.servos.values():
        servo.set(table.GOAL_POSITION, 1500)
    arm = bench.arm()
    arm.open()
    aside = HOME + np.array([0.05, 0, 0, 0, 0, 0, 0])
    hold(bench, arm, 30 * NS_PER_MS, aside)
    assert all(servo.torque for servo in bench.device.servos.values())
    assert np.abs(np.array(bench.behind.commands[0]) - HOME)[:6].max() < RAD_PER_TICK
    hold(bench, arm, NS_PER_S, aside)
    assert state_of(arm)["position"][0] == pytest.approx(0.05, abs=RAD_PER_TICK)


def test_an_arm_under_torque_keeps_its_goal_when_it_is_opened_again(bench: DynamixelBench) -> None:
    arm = ready(bench)
    arm.close()
    goals = [servo.get(table.GOAL_POSITION) for servo in bench.device.servos.values()]
    bench.behind.target[1] += 0.02  # it sags
    bench.run(NS_PER_S // 10)
    again = bench.arm()
    again.open()
    again.read()
    again.command(0, HOME, bench.clock.now_ns())
    bench.run(2 * NS_PER_MS)
    assert [servo.get(table.GOAL_POSITION) for servo in bench.device.servos.values()] == goals


def test_every_servo_gets_its_gains_its_watchdog_and_no_profile(bench: DynamixelBench) -> None:
    ready(bench)
    for servo in bench.device.servos.values():
        right = {
            table.GAIN_P: GAIN_P,
            table.GAIN_I: 0,
            table.GAIN_D: 0,
            table.BUS_WATCHDOG: WATCHDOG_UNITS,
            table.PROFILE_VELOCITY: 0,
            table.PROFILE_ACCELERATION: 0,
        }
        assert {entry: servo.get(entry) for entry in right} == right


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("silent", "no servo answers: check the arm's supply, the cable and the baud rate"),
        ("silent-servo", r"servo 5 \(elbow shadow\) does not answer"),
        ("corrupt", "no servo answers"),
        ("wrong-drive-mode", r"servo 4 \(elbow\) turns the wrong way: a drive mode of 0 where the arm has 1: .* 10 "),
        ("wrong-limits", r"servo 4 \(elbow\) keeps a max position limit of 4095 where the arm has 3094: .* address 48"),
        ("wrong-mode", r"servo 1 \(waist\) keeps a operating mode of 4 where the arm has 3"),
        ("wrong-shadow", r"servo 5 \(elbow shadow\) keeps a secondary id of 255 where the arm has 4"),
        ("wrong-model", r"servo 8 \(wrist rotate\) keeps a model number of 1120 where the arm has 1020"),
        ("wrong-current-limit", r"servo 9 \(gripper\) keeps a current limit of 1193 where at most 200 is safe"),
        ("slow-answers", r"servo 6 \(forearm roll\) keeps a return delay time of 250 where the arm has 0"),
        ("torque-by-goal", r"servo 7 \(wrist angle\) takes torque with any goal: clear bit 3"),
        ("overload", r"servo 5 \(elbow shadow\) has a hardware error \(overload\): relieve it"),
        ("voltage-low", r"servo 1 \(waist\) has 9\.2 V where the arm needs 12 V"),
        ("shadow-apart", "two servos of one joint read more than 0.1 rad apart"),
    ],
)
def test_an_arm_that_differs_is_refused_in_one_line(bench: DynamixelBench, fault: str, says: str) -> None:
    bench.faults.add(fault)
    with pytest.raises(DriverError, match=says) as error:
        bench.arm().open()
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("Interbotix arm on ttyDXL is not armed: ")
    assert bench.behind.commands == []


def test_a_zero_current_limit_of_the_gripper_is_refused_and_a_lower_one_is_not(bench: DynamixelBench) -> None:
    bench.device.servos[9].set(table.CURRENT_LIMIT, 150)
    arm = bench.arm()
    arm.open()
    arm.close()
    bench.device.servos[9].set(table.CURRENT_LIMIT, 0)
    with pytest.raises(DriverError, match="keeps a current limit of 0"):
        bench.arm().open()


def test_profiles_by_time_are_no_reason_to_refuse_and_as_slow_while_the_arm_is_taken_hold_of(
    bench: DynamixelBench,
) -> None:
    by_time = (2, 3, 9)
    for servo_id in by_time:
        servo = bench.device.servos[servo_id]
        servo.set(table.DRIVE_MODE, servo.get(table.DRIVE_MODE) | table.BY_TIME)
    arm = bench.arm()
    arm.open()
    arm.command(0, HOME, bench.clock.now_ns())
    bench.run(2 * NS_PER_MS)
    paces = {i: servo.get(table.PROFILE_VELOCITY) for i, servo in bench.device.servos.items()}
    assert paces == {i: PROFILE_HOLD_MS if i in by_time else PROFILE_HOLD for i in bench.device.servos}
    hold(bench, arm, NS_PER_S // 5)
    assert {servo.get(table.PROFILE_VELOCITY) for servo in bench.device.servos.values()} == {0}


def test_joints_outside_their_range_are_refused() -> None:
    outside = DynamixelBench(KinematicArm(VX300S, HOME + np.array([0, 2.0, 0, 0, 0, 0, 0])))
    with pytest.raises(DriverError, match=r"joint 2 reads 1\.61\d rad, outside -1\.850 to 1\.260"):
        outside.arm().open()
    outside.close()


@pytest.mark.parametrize(
    ("fault", "bits"),
    [
        ("input-voltage", Fault.VOLTAGE),
        ("overheating", Fault.TOO_HOT | Fault.TORQUE_LOST),
        ("encoder", Fault.ENCODER),
        ("electrical-shock", Fault.ELECTRICAL | Fault.TORQUE_LOST),
        ("overload", Fault.OVERLOAD | Fault.TORQUE_LOST),
        ("shadow-apart", Fault.SHADOW_APART),
    ],
)
def test_a_fault_of_a_servo_is_in_the_state_within_forty_ms(bench: DynamixelBench, fault: str, bits: Fault) -> None:
    arm = ready(bench)
    assert state_of(arm)["fault"] == 0
    bench.faults.add(fault)
    hold(bench, arm, 40 * NS_PER_MS)
    assert Fault(int(state_of(arm)["fault"])) == bits


@pytest.mark.parametrize(
    ("fault", "bits"), [("hot", Fault.TOO_HOT), ("voltage-low", Fault.VOLTAGE), ("torque-lost", Fault.TORQUE_LOST)]
)
def test_what_is_asked_for_three_times_a_second_is_in_the_state_within_half_of_one(
    bench: DynamixelBench, fault: str, bits: Fault
) -> None:
    arm = ready(bench)
    bench.faults.add(fault)
    hold(bench, arm, NS_PER_S // 2)
    assert Fault(int(state_of(arm)["fault"])) == bits
    bench.faults.discard(fault)
    if fault != "torque-lost":
        hold(bench, arm, NS_PER_S // 2)
        assert state_of(arm)["fault"] == 0


def test_a_fault_that_is_over_and_switched_off_and_on_is_gone_after_a_new_arming(bench: DynamixelBench) -> None:
    arm = ready(bench)
    bench.faults.add("overload")
    hold(bench, arm, NS_PER_S // 10)
    arm.close()
    bench.faults.clear()
    again = ready(bench)
    assert state_of(again)["fault"] == 0


def test_states_come_at_the_servo_rate_and_name_the_moment_they_were_asked_for(bench: DynamixelBench) -> None:
    arm = ready(bench)
    stamps = []
    for _ in range(100):
        stamps.append(int(state_of(arm)["t_ns"]))
        arm.command(0, HOME, bench.clock.now_ns())
        bench.run(SERVO_NS)
    ages = [bench.clock.now_ns() - (100 - i) * SERVO_NS - stamp for i, stamp in enumerate(stamps)]
    assert set(ages) == {SERVO_NS, 2 * SERVO_NS}
    assert len(set(stamps)) >= 94


def test_a_target_that_the_bus_has_no_time_for_goes_out_with_the_next_one(bench: DynamixelBench) -> None:
    arm = ready(bench)
    count = len(bench.behind.commands)
    for i in range(20):
        arm.read()
        arm.command(0, HOME + np.array([0.001 * i, 0, 0, 0, 0, 0, 0]), bench.clock.now_ns())
        bench.run(NS_PER_MS)  # faster than the bus
    hold(bench, arm, 20 * NS_PER_MS, HOME + np.array([0.019, 0, 0, 0, 0, 0, 0]))
    sent = np.array(bench.behind.commands[count:])[:, 0]
    assert len(sent) < 12
    assert (np.diff(sent) >= -1e-9).all()
    assert sent[-1] == pytest.approx(0.019, abs=RAD_PER_TICK)


def test_a_servo_that_falls_silent_ages_the_state_and_then_ends_the_driver(bench: DynamixelBench) -> None:
    arm = ready(bench)
    bench.faults.add("silent-servo")
    hold(bench, arm, 100 * NS_PER_MS)
    assert bench.clock.now_ns() - int(state_of(arm)["t_ns"]) > 90 * NS_PER_MS
    count = len(bench.behind.commands)
    hold(bench, arm, 50 * NS_PER_MS)
    assert len(bench.behind.commands) > count  # the others are commanded on
    with pytest.raises(DriverError, match=r"ttyDXL: servo 5 \(elbow shadow\) does not answer: check its cable"):
        hold(bench, arm, NS_PER_S)


def test_a_pause_of_the_host_is_no_silence_of_the_arm(bench: DynamixelBench) -> None:
    arm = bench.arm()
    arm.open()
    bench.run(NS_PER_S)
    arm.read()
    hold(bench, arm, NS_PER_S // 5)
    bench.run(NS_PER_S)
    hold(bench, arm, NS_PER_S // 2)
    assert state_of(arm)["fault"] == 0


def test_an_arm_whose_guardian_was_killed_is_held_anew_where_it_stands(bench: DynamixelBench) -> None:
    arm = ready(bench)
    arm._let_go()
    bench.run(NS_PER_S)
    assert all(servo.get(table.BUS_WATCHDOG) == -1 for servo in bench.device.servos.values())
    again = bench.arm()
    again.open()
    for _ in range(100):
        bench.run(SERVO_NS)
        # A guardian that is not armed yet commands nothing, and arms on no fault.
        assert state_of(again)["fault"] == 0
    hold(bench, again, NS_PER_S // 5)
    hold(bench, again, NS_PER_S, HOME + np.array([0.1, 0, 0, 0, 0, 0, 0]))
    assert state_of(again)["position"][0] == pytest.approx(0.1, abs=RAD_PER_TICK)


def test_an_answer_from_before_an_arm_was_taken_hold_of_does_not_count_as_its_hold(bench: DynamixelBench) -> None:
    ready(bench)._let_go()
    bench.run(NS_PER_S)
    assert all(servo.get(table.BUS_WATCHDOG) == -1 for servo in bench.device.servos.values())
    for servo in bench.device.servos.values():
        servo.set(table.GAIN_P, 100)
    aside = HOME + np.array([0.3, 0, 0, 0, 0, 0, 0])
    bench.behind.target[:] = bench.behind.position[:] = aside  # pushed while nobody looked
    again = bench.arm()
    again.open()
    while again._servos._asked is None or again._servos._asked.address != table.TORQUE.address:
        bench.run(SERVO_NS)
        again.read()
    hold(bench, again, NS_PER_S // 5, aside)
    assert again._hold.done
    assert {servo.get(table.GAIN_P) for servo in bench.device.servos.values()} == {GAIN_P}
    assert np.abs(np.array(bench.behind.commands)[-20:, 0] - 0.3).max() < 2 * RAD_PER_TICK


class SlowPort(CountedPort):
    """A port whose answers take as long as the shortest do at 115200 baud."""

    _due_ns = 0

    def send(self, data: bytes) -> None:
        super().send(data)
        self._due_ns = self._bench.clock.now_ns() + 12 * NS_PER_MS

    def receive(self) -> bytes:
        return super().receive() if self._bench.clock.now_ns() >= self._due_ns else b""


def test_the_answers_of_a_bus_at_a_lower_baud_rate_are_waited_for(bench: DynamixelBench) -> None:
    def connect() -> SerialPort:
        return SlowPort(bench)

    with pytest.raises(DriverError, match="no servo answers"):
        InterbotixArm(VX300S, VX300S_SERVOS, connect, "ttyDXL", bench.clock).open()
    arm = InterbotixArm(VX300S, VX300S_SERVOS, connect, "ttyDXL", bench.clock, baud=115_200)
    arm.open()
    hold(bench, arm, NS_PER_S // 2)
    hold(bench, arm, NS_PER_S, HOME + np.array([0.1, 0, 0, 0, 0, 0, 0]))
    assert state_of(arm)["position"][0] == pytest.approx(0.1, abs=RAD_PER_TICK)


@pytest.mark.parametrize("fault", ["corrupt", "noise"])
def test_spoilt_answers_are_no_state(bench: DynamixelBench, fault: str) -> None:
    arm = ready(bench)
    before = int(state_of(arm)["seq"])
    bench.faults.add(fault)
    hold(bench, arm, 50 * NS_PER_MS)
    after = int(state_of(arm)["seq"])
    # Bytes between answers are passed over, a wrong checksum is not.
    assert (after > before + 5) is (fault == "noise")
    bench.faults.discard(fault)
    hold(bench, arm, 50 * NS_PER_MS)
    assert int(state_of(arm)["seq"]) > after
    assert np.abs(state_of(arm)["position"] - HOME)[:6].max() < RAD_PER_TICK


def test_an_unplugged_port_ends_the_driver_at_once_and_plugged_in_again_the_arm_is_armed_anew(
    bench: DynamixelBench,
) -> None:
    arm = ready(bench)
    bench.faults.add("unplugged")
    bench.run(SERVO_NS)
    with pytest.raises(DriverError, match="is gone"):
        arm.read()
    arm.close()
    with pytest.raises(DriverError, match="No such file or directory; plug it in"):
        bench.arm().open()
    bench.faults.discard("unplugged")
    bench.run(SERVO_NS)
    again = ready(bench)
    hold(bench, again, NS_PER_S // 2)
    assert state_of(again)["fault"] == 0
    assert bench.device.drops == 0


def test_servos_stop_by_themselves_when_the_host_falls_silent_and_are_held_anew_where_they_stand(
    bench: DynamixelBench,
) -> None:
    bench.behind._velocity_max[:] = 0.5
    arm = ready(bench)
    hold(bench, arm, SERVO_NS, HOME + np.array([1.0, 0, 0, 0, 0, 0, 0]))
    bench.run(WATCHDOG_NS + 50 * NS_PER_MS)
    stopped = float(bench.behind.position[0])
    assert 0.0 < stopped < 0.1
    bench.run(NS_PER_S)
    assert bench.behind.position[0] == pytest.approx(stopped, abs=RAD_PER_TICK)
    assert all(servo.torque for servo in bench.device.servos.values())
    for _ in range(4):
        arm.read()
        bench.run(SERVO_NS)
    assert Fault(int(state_of(arm)["fault"])) == Fault.WATCHDOG
    count = len(bench.behind.commands)
    here = HOME.copy()
    here[0] = stopped
    hold(bench, arm, NS_PER_S // 2, here)
    assert state_of(arm)["fault"] == 0
    assert np.abs(np.array(bench.behind.commands[count:])[:, 0] - stopped).max() < 2 * RAD_PER_TICK
    hold(bench, arm, NS_PER_S // 2, HOME)
    assert state_of(arm)["position"][0] == pytest.approx(0.0, abs=RAD_PER_TICK)


def test_a_closed_arm_holds_under_torque_with_its_watchdog_off(bench: DynamixelBench) -> None:
    arm = ready(bench)
    arm.close()
    bench.run(NS_PER_S)
    assert bench.device.drops == 0
    assert all(servo.torque for servo in bench.device.servos.values())
    assert all(servo.get(table.BUS_WATCHDOG) == 0 for servo in bench.device.servos.values())
    assert np.abs(bench.behind.position - HOME)[:6].max() < RAD_PER_TICK


def test_torque_that_does_not_come_or_goes_is_said(bench: DynamixelBench) -> None:
    bench.faults.add("torque-lost")
    arm = bench.arm()
    arm.open()
    with pytest.raises(DriverError, match=r"servo 1 \(waist\) does not take torque: check the arm's supply"):
        hold(bench, arm, 3 * NS_PER_S)
    arm.close()
    bench.faults.clear()
    arm = ready(bench)
    bench.faults.add("torque-lost")
    with pytest.raises(DriverError, match="has lost its torque"):
        hold(bench, arm, 3 * NS_PER_S)


def test_an_arm_whose_torque_comes_late_does_not_jump_to_where_its_target_has_gone(bench: DynamixelBench) -> None:
    check_late_torque(bench, hold, HOME)
    assert np.abs(np.array(bench.behind.commands)[:, 0]).max() < RAD_PER_TICK


def test_the_state_stays_fresh_while_the_torque_is_waited_for(bench: DynamixelBench) -> None:
    bench.faults.add("torque-lost")
    arm = bench.arm()
    arm.open()
    hold(bench, arm, NS_PER_S // 5)
    assert bench.clock.now_ns() - int(state_of(arm)["t_ns"]) <= 5 * SERVO_NS


def test_the_gripper_is_a_fraction_of_its_opening(bench: DynamixelBench) -> None:
    arm = ready(bench)
    half = HOME.copy()
    half[6] = 0.5
    hold(bench, arm, NS_PER_S, half)
    assert state_of(arm)["position"][6] == pytest.approx(0.5, abs=2e-3)
    assert bench.behind.position[6] == pytest.approx(0.5, abs=2e-3)


def test_targets_beyond_a_servos_limits_are_brought_inside(bench: DynamixelBench) -> None:
    arm = ready(bench)
    hold(bench, arm, 2 * NS_PER_S, HOME + np.array([0, 5.0, 0, 0, 0, 0, 0]))
    assert bench.device.servos[2].get(table.GOAL_POSITION) == 2867


def test_the_effort_of_a_joint_is_that_of_both_its_servos(bench: DynamixelBench) -> None:
    arm = ready(bench)
    np.testing.assert_allclose(state_of(arm)["effort"][:6], 0.5, atol=0.01)


def test_a_port_has_one_program(bench: DynamixelBench) -> None:
    arm = ready(bench)
    with pytest.raises(DriverError, match="is in use by another program"):
        bench.arm().open()
    arm.close()


def test_ports_that_cannot_be_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"gone: No such file or directory; plug it in"):
        SerialPort(str(tmp_path / "gone"), 1_000_000)
    (tmp_path / "file").touch()
    with pytest.raises(DriverError, match="is no serial device"):
        SerialPort(str(tmp_path / "file"), 1_000_000)
    with pytest.raises(DriverError, match="no baud rate 12345; give one of 57600"):
        SerialPort(str(tmp_path / "file"), 12345)


def test_a_slow_latency_timer_is_refused_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ttyUSB3").touch()
    (tmp_path / "dev/ttyDXL").symlink_to("ttyUSB3")
    folder = tmp_path / "sys/bus/usb-serial/devices/ttyUSB3"
    folder.mkdir(parents=True)
    require_quick("/dev/ttyDXL", tmp_path)
    (folder / "latency_timer").write_text("1\n")
    require_quick("/dev/ttyDXL", tmp_path)
    (folder / "latency_timer").write_text("16\n")
    says = r"timer of 16 ms.*: echo 1 > /sys/bus/usb-serial/devices/ttyUSB3/latency_timer"
    with pytest.raises(DriverError, match=says):
        require_quick("/dev/ttyDXL", tmp_path)


def test_a_closed_driver_says_so(bench: DynamixelBench) -> None:
    arm = bench.arm()
    for call in (arm.read, lambda: arm.command(0, HOME, 0)):
        with pytest.raises(DriverError, match="is not open"):
            call()


def test_an_emulator_is_told_its_faults_from_outside(bench: DynamixelBench) -> None:
    for fault in FAULTS:
        inject(bench.name, fault)
        bench.run(NS_PER_MS)
    assert bench.faults == set(FAULTS)
    for fault in FAULTS:
        inject(bench.name, fault, on=False)
        bench.run(NS_PER_MS)
    assert bench.faults == set()
    bench.run(SERVO_NS)
    ready(bench)


def test_settings_are_written_without_torque_only(bench: DynamixelBench) -> None:
    arm = ready(bench)
    arm.close()
    port = bench.connect()
    before = bench.device.servos[1].get(table.POSITION_MAX)
    parameters = table.POSITION_MAX.address.to_bytes(2, "little") + table.POSITION_MAX.pack(3000)
    port.send(Packet(1, Instruction.WRITE, parameters).pack())
    bench.run(SERVO_NS)
    assert bench.device.servos[1].get(table.POSITION_MAX) == before
    port.send(Packet(1, Instruction.WRITE, table.TORQUE.address.to_bytes(2, "little") + b"\0").pack())
    bench.run(SERVO_NS)
    port.send(Packet(1, Instruction.WRITE, parameters).pack())
    bench.run(SERVO_NS)
    assert bench.device.servos[1].get(table.POSITION_MAX) == 3000
    assert bench.device.drops == 1
    port.close()
    assert os.path.lexists(bench.path)
