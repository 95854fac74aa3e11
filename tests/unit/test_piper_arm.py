"""Promises of the Piper driver, against an emulated arm over real sockets in virtual time."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.arms import PIPER
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.devices import Correction
from runtime.drivers.base import ArmDriver, DriverError
from runtime.drivers.conformance import check_arm
from runtime.drivers.corrected import CorrectedArm
from runtime.drivers.emulators.inject import inject
from runtime.drivers.emulators.piper import FAULTS
from runtime.drivers.piper.arm import PiperArm
from runtime.drivers.piper.bus import BusError, Frame, SocketBus, join_emulated, open_bus
from runtime.drivers.piper.codec import (
    CanId,
    Control,
    Enable,
    GripperTarget,
    JointPair,
    Mode,
    Move,
    Stop,
    StopCommand,
)
from runtime.drivers.piper.feedback import Fault
from tests.fake_arm import KinematicArm
from tests.unit.late_torque import check_late_torque
from tests.unit.piper_bench import PiperBench

HOME = PIPER.home_array


@pytest.fixture
def bench() -> Iterator[PiperBench]:
    made = PiperBench()
    yield made
    made.close()


def ready(bench: PiperBench) -> PiperArm:
    """Open a driver and hold until the torque is there."""
    arm = bench.arm()
    arm.open()
    hold(bench, arm, NS_PER_S // 5)
    return arm


def hold(bench: PiperBench, arm: ArmDriver, span_ns: int, position: np.ndarray = HOME) -> None:
    until_ns = bench.clock.now_ns() + span_ns
    while bench.clock.now_ns() < until_ns:
        arm.read()
        arm.command(0, position, bench.clock.now_ns())
        bench.run(5 * NS_PER_MS)


def test_the_driver_keeps_every_promise_of_an_arm(bench: PiperBench) -> None:
    check_arm(bench.arm, PIPER, bench.clock)


def test_nothing_but_questions_is_sent_before_the_first_command(bench: PiperBench) -> None:
    listener, sent = bench.connect(), set()
    bench.clock.steps.append(lambda _now_ns: sent.update(frame.can_id for frame in listener.receive()))
    bench.arm().open()
    bench.clock.steps.pop()
    assert sent <= {CanId.QUERY, CanId.LIMIT, CanId.ACCELERATION, CanId.FIRMWARE} | set(range(0x251, 0x2B0))
    assert CanId.QUERY in sent
    assert bench.behind.commands == []


def test_no_more_is_sent_at_once_than_an_interface_queues(bench: PiperBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CAN interface queues ten frames where nobody has set its `txqueuelen`, and the slowest adapters hold one."""
    sent: dict[int, int] = {}
    send = SocketBus.send

    def counted(bus: SocketBus, frame: Frame) -> None:
        now_ns = bench.clock.now_ns()
        sent[now_ns] = sent.get(now_ns, 0) + 1
        if sent[now_ns] > 10:
            raise BusError("CAN bus can0 takes no frames: No buffer space available")
        send(bus, frame)

    monkeypatch.setattr(SocketBus, "send", counted)
    ready(bench)
    assert max(sent.values()) <= 10


def test_the_target_is_where_the_arm_is_before_the_torque_comes(bench: PiperBench) -> None:
    arm = bench.arm()
    arm.open()
    bus = bench.connect()
    aside = HOME + np.array([0.05, 0, 0, 0, 0, 0, 0])
    frames = []
    for _ in range(8):
        arm.read()
        arm.command(0, aside, bench.clock.now_ns())
        bench.run(5 * NS_PER_MS)
        frames += bus.receive()
    ours = [f.can_id for f in frames if f.can_id in {CanId.MODE, CanId.TARGET, CanId.ENABLE}]
    assert ours.index(CanId.MODE) < ours.index(CanId.TARGET) < ours.index(CanId.ENABLE)
    first = next(f for f in frames if f.can_id == CanId.TARGET)
    assert JointPair.unpack(first.data).first_rad == pytest.approx(HOME[0], abs=1e-3)


def test_an_arm_that_rests_beside_its_limits_is_held_inside_them() -> None:
    rest, inside = np.array([0.0, -0.03, 0.02, 0.0, 0.3, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.0])
    bench = PiperBench(KinematicArm(PIPER, rest))
    arm = bench.arm()
    arm.open()
    for _ in range(40):
        hold(bench, arm, 5 * NS_PER_MS, inside)
        state = arm.read()
        assert state is not None
        assert state["fault"] == 0
    np.testing.assert_allclose(bench.behind.commands, np.tile(inside, (len(bench.behind.commands), 1)), atol=1e-4)
    bench.close()


def test_a_corrected_arm_goes_to_the_end_of_its_range_without_a_fault(bench: PiperBench) -> None:
    offsets = (0.0, 0.02, 0.0, 0.0, 0.0, 0.0)
    arm = CorrectedArm(ready(bench), Correction(zero_offset_rad=offsets))
    end = HOME.copy()
    end[1] = PIPER.position_min[1]
    hold(bench, arm, 2 * NS_PER_S, end)
    state = arm.read()
    assert state is not None
    assert state["fault"] == 0
    assert state["position"][1] == pytest.approx(offsets[1], abs=1e-3)


@pytest.mark.parametrize("move", list(Move))
def test_an_arm_that_another_program_left_under_torque_is_told_the_mode_and_the_speed(
    bench: PiperBench, move: Move
) -> None:
    other = bench.connect()
    for frame in (
        Frame(CanId.MODE, Mode(Control.CAN, move, speed_percent=30).pack()),
        Frame(CanId.ENABLE, Enable(7, on=True).pack()),
    ):
        other.send(frame)
    bench.run(50 * NS_PER_MS)
    sent: set[Mode] = set()
    bench.clock.steps.append(
        lambda _now_ns: sent.update(Mode.unpack(f.data) for f in other.receive() if f.can_id == CanId.MODE)
    )
    arm = ready(bench)
    assert sent == {Mode(Control.CAN, Move.JOINTS, speed_percent=100)}
    aside = HOME + np.array([0.05, 0, 0, 0, 0, 0, 0])
    hold(bench, arm, NS_PER_S, aside)
    state = arm.read()
    assert state is not None
    assert state["position"][0] == pytest.approx(0.05, abs=1e-3)


def test_an_arm_that_an_earlier_guardian_holds_is_not_let_go_to_where_it_hangs(bench: PiperBench) -> None:
    ready(bench)
    successor, listener = bench.arm(), bench.connect()
    successor.open()
    listener.receive()
    told = HOME + np.array([0.01, 0, 0, 0, 0, 0, 0])
    hold(bench, successor, 100 * NS_PER_MS, told)
    targets = [JointPair.unpack(frame.data) for frame in listener.receive() if frame.can_id == CanId.TARGET]
    assert len(targets) >= 10
    assert [target.first_rad for target in targets] == pytest.approx([0.01] * len(targets), abs=1e-4)


def test_an_arm_that_another_program_takes_to_another_mode_has_lost_its_control(bench: PiperBench) -> None:
    arm = ready(bench)
    bench.connect().send(Frame(CanId.MODE, Mode(Control.CAN, Move.POSE).pack()))
    hold(bench, arm, 50 * NS_PER_MS)
    state = arm.read()
    assert state is not None
    assert Fault(int(state["fault"])) == Fault.CONTROL_LOST


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("silent", "no feedback: check its power"),
        ("short-frames", "no feedback: check its power"),
        ("wrong-limits", r"joint 3 keeps a upper limit of -0\.300 rad where the model has 0\.000"),
        ("wrong-acceleration", r"joint 1 keeps a acceleration of 10\.000 rad/s\^2 where the model has 5\.000"),
        ("old-firmware", r"firmware 1\.5\.2 is older than 1\.6-3"),
        ("control-lost", "it is in teaching or leader mode"),
        ("leader", r"another master sends it targets .* 0x10 for each of the three offsets.* control_offset: 0x10"),
    ],
)
def test_an_arm_that_differs_is_refused_in_one_line(bench: PiperBench, fault: str, says: str) -> None:
    bench.faults.add(fault)
    with pytest.raises(DriverError, match=says) as error:
        bench.arm().open()
    assert "\n" not in str(error.value)
    assert "Piper on can0 is not armed" in str(error.value)
    assert bench.behind.commands == []


def test_joints_outside_their_range_or_off_their_rest_are_refused() -> None:
    outside = PiperBench(KinematicArm(PIPER, HOME + np.array([0, 0, 0, 0, 0.72, 0, 0])))
    with pytest.raises(DriverError, match=r"joint 5 reads 1\.44\d rad, outside -1\.220 to 1\.220"):
        outside.arm().open()
    outside.close()
    moved = PiperBench()
    with pytest.raises(DriverError, match=r"joint 2 reads 1\.200 rad where its rest is 1\.000"):
        moved.arm(rest_rad=(0.0, 1.0, -0.79, 0.0, 0.72, 0.0)).open()
    moved.arm(rest_rad=(0.0, 1.2, -0.79, 0.0, 0.72, 0.0)).open()
    moved.close()


@pytest.mark.parametrize(
    ("fault", "bit"),
    [
        ("emergency-stop", Fault.EMERGENCY_STOP),
        ("collision", Fault.COLLISION),
        ("joint-silent", Fault.JOINT_SILENT),
        ("joint-error", Fault.JOINT_ERROR),
        ("over-temperature", Fault.TOO_HOT),
        ("over-current", Fault.OVER_CURRENT),
        ("voltage-low", Fault.VOLTAGE_LOW),
        ("stalled", Fault.STALLED),
        ("driver-error", Fault.DRIVER_ERROR),
        ("gripper-over-temperature", Fault.TOO_HOT),
        ("gripper-driver-error", Fault.DRIVER_ERROR),
        ("torque-lost", Fault.TORQUE_LOST),
        ("control-lost", Fault.CONTROL_LOST),
    ],
)
def test_a_fault_of_the_device_is_in_the_state_within_fifty_ms(bench: PiperBench, fault: str, bit: Fault) -> None:
    arm = ready(bench)
    state = arm.read()
    assert state is not None
    assert state["fault"] == 0
    bench.faults.add(fault)
    for _ in range(10):
        bench.run(5 * NS_PER_MS)
        state = arm.read()
        assert state is not None
    assert Fault(int(state["fault"])) & bit
    assert Fault(int(state["fault"])) == bit


def test_a_silent_bus_ages_the_state_and_then_ends_the_driver(bench: PiperBench) -> None:
    arm = ready(bench)
    bench.faults.add("silent")
    bench.run(100 * NS_PER_MS)
    state = arm.read()
    assert state is not None
    assert bench.clock.now_ns() - int(state["t_ns"]) > 90 * NS_PER_MS
    bench.run(250 * NS_PER_MS)
    with pytest.raises(DriverError, match="Piper on can0 has been silent for 200 ms"):
        arm.read()


def test_an_arm_that_falls_silent_beside_a_leader_on_its_bus_ends_the_driver(bench: PiperBench) -> None:
    arm = ready(bench)
    leader = bench.connect()
    pair = JointPair(0.1, 0.2).pack()
    bench.clock.steps.append(lambda _now_ns: leader.send(Frame(CanId.TARGET + 0x10, pair)))
    hold(bench, arm, NS_PER_S // 2)
    bench.faults.add("silent")
    with pytest.raises(DriverError, match="Piper on can0 has been silent for 200 ms"):
        hold(bench, arm, NS_PER_S // 2)


def test_a_bus_that_is_cut_ends_the_driver_at_once(bench: PiperBench) -> None:
    arm = ready(bench)
    bench.faults.add("bus-off")
    bench.run(5 * NS_PER_MS)
    with pytest.raises(DriverError, match="is gone"):
        for _ in range(100):
            arm.read()
            bench.run(NS_PER_MS)


def test_frozen_feedback_keeps_its_number_only_where_frames_stop(bench: PiperBench) -> None:
    """Frames that repeat are told from an arm at rest only by what does not tremble: the state goes on, and says so."""
    arm = ready(bench)
    bench.faults.add("frozen")
    bench.run(50 * NS_PER_MS)
    one = arm.read()
    bench.run(50 * NS_PER_MS)
    two = arm.read()
    assert one is not None and two is not None
    np.testing.assert_array_equal(one["position"], two["position"])
    assert two["seq"] > one["seq"]


def test_torn_cycles_are_never_published(bench: PiperBench) -> None:
    arm = ready(bench)
    moving = HOME + np.array([0.3, 0, 0, 0, 0, 0, 0])
    bench.faults.add("torn")
    before = arm.read()
    assert before is not None
    hold(bench, arm, NS_PER_S // 10, moving)
    after = arm.read()
    assert after is not None
    assert after["seq"] == before["seq"]
    bench.faults.discard("torn")
    hold(bench, arm, NS_PER_S // 10, moving)
    again = arm.read()
    assert again is not None
    assert again["seq"] > before["seq"]


def test_all_zero_feedback_comes_through_as_what_it_is(bench: PiperBench) -> None:
    """The guardian and the control process refuse to arm on it; the driver must not dress it up."""
    bench.faults.add("all-zero")
    arm = bench.arm()
    arm.open()
    bench.run(20 * NS_PER_MS)
    state = arm.read()
    assert state is not None
    assert not state["position"][:6].any()
    assert not state["velocity"].any()


def test_an_arm_without_torque_is_armed_anew_from_where_it_is(bench: PiperBench) -> None:
    arm = ready(bench)
    bench.faults.add("torque-lost")
    with pytest.raises(DriverError, match="has lost its torque"):
        hold(bench, arm, 2 * NS_PER_S)
    arm.close()
    bench.faults.clear()
    count = len(bench.behind.commands)
    again = ready(bench)
    state = again.read()
    assert state is not None
    assert state["fault"] == 0
    assert np.abs(np.array(bench.behind.commands[count:])[:, :6] - HOME[:6]).max() < 1e-3


def test_an_arm_that_another_program_resets_and_enables_stays_where_it_fell_and_is_armed_anew(
    bench: PiperBench,
) -> None:
    arm, other = ready(bench), bench.connect()
    other.send(Frame(CanId.STOP, StopCommand(Stop.RESET).pack()))
    hold(bench, arm, 50 * NS_PER_MS)
    fallen = HOME + np.array([0, 0.4, 0, 0, 0, 0, 0])
    bench.behind.position[:] = bench.behind.target[:] = fallen
    hold(bench, arm, 50 * NS_PER_MS)
    count = len(bench.behind.commands)
    other.send(Frame(CanId.MODE, Mode(Control.CAN).pack()))
    for _ in range(2):
        other.send(Frame(CanId.ENABLE, Enable(7, on=True).pack()))
    with pytest.raises(DriverError, match="Piper on can0 has lost its torque"):
        hold(bench, arm, NS_PER_S // 2)
    assert len(bench.behind.commands) > count
    np.testing.assert_allclose(np.array(bench.behind.commands[count:])[:, 1], fallen[1], atol=1e-3)


def test_where_one_motor_lets_go_the_other_joints_and_the_gripper_stay_where_they_were_told_to(
    bench: PiperBench,
) -> None:
    """Told where they hang, under the arm's weight and around an object, they would sink and open."""
    arm, other = ready(bench), bench.connect()
    hangs = HOME + np.array([0, 0.01, 0, 0, 0.3, 0, -0.2])
    bench.behind.position[:] = bench.behind.target[:] = hangs
    other.send(Frame(CanId.ENABLE, Enable(5, on=False).pack()))
    hold(bench, arm, 100 * NS_PER_MS)
    other.receive()
    hold(bench, arm, 30 * NS_PER_MS)
    frames = other.receive()
    first = [JointPair.unpack(frame.data) for frame in frames if frame.can_id == CanId.TARGET]
    third = [JointPair.unpack(frame.data) for frame in frames if frame.can_id == CanId.TARGET + 2]
    grip = [GripperTarget.unpack(frame.data) for frame in frames if frame.can_id == CanId.GRIPPER_TARGET]
    assert [pair.second_rad for pair in first] == pytest.approx([HOME[1]] * 6, abs=1e-4)
    assert [pair.first_rad for pair in third] == pytest.approx([hangs[4]] * 6, abs=1e-3)
    assert [target.opening_m for target in grip] == pytest.approx([PIPER.gripper_stroke_m] * 6)


def test_after_an_emergency_stop_torque_is_asked_for_until_it_comes(bench: PiperBench) -> None:
    bus = bench.connect()
    bus.send(Frame(CanId.STOP, StopCommand(Stop.RESET).pack()))
    bench.run(5 * NS_PER_MS)
    arm = ready(bench)
    state = arm.read()
    assert state is not None
    assert state["fault"] == 0


def test_an_arm_whose_torque_comes_late_does_not_jump_to_where_its_target_has_gone(bench: PiperBench) -> None:
    check_late_torque(bench, hold, HOME)
    assert not bench.behind.commands


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("torque-lost", "does not take torque: check its emergency stop"),
        ("control-lost", "does not take control by CAN: end its teaching"),
    ],
)
def test_torque_or_control_that_does_not_come_is_said(bench: PiperBench, fault: str, says: str) -> None:
    arm = bench.arm()
    arm.open()
    bench.faults.add(fault)
    with pytest.raises(DriverError, match=says):
        hold(bench, arm, 3 * NS_PER_S)


def test_closing_leaves_the_arm_under_torque(bench: PiperBench) -> None:
    arm = ready(bench)
    arm.close()
    bench.run(NS_PER_S)
    assert bench.emulator.device.drops == 0
    assert all(bench.emulator.device._enabled)


def test_the_gripper_is_a_fraction_of_its_stroke(bench: PiperBench) -> None:
    arm = ready(bench)
    half = HOME.copy()
    half[6] = 0.5
    hold(bench, arm, NS_PER_S, half)
    state = arm.read()
    assert state is not None
    assert state["position"][6] == pytest.approx(0.5, abs=1e-3)
    bus = bench.connect()
    arm.command(0, half, bench.clock.now_ns())
    bench.run(5 * NS_PER_MS)
    (gripper,) = (frame for frame in bus.receive() if frame.can_id == CanId.GRIPPER_TARGET)
    assert GripperTarget.unpack(gripper.data).opening_m == pytest.approx(0.5 * PIPER.gripper_stroke_m)


def test_another_master_on_the_bus_of_a_commanded_arm_ends_the_driver(bench: PiperBench) -> None:
    arm = ready(bench)
    bench.faults.add("leader")
    with pytest.raises(DriverError, match="another master sends it targets"):
        hold(bench, arm, NS_PER_S // 10)


def test_an_arm_that_another_master_came_to_since_it_was_opened_takes_no_torque(bench: PiperBench) -> None:
    arm = bench.arm()
    arm.open()
    bench.faults.add("leader")
    bench.run(10 * NS_PER_MS)
    with pytest.raises(DriverError, match="another master sends it targets"):
        hold(bench, arm, NS_PER_S)
    assert not any(bench.emulator.device._enabled)


def test_an_emulator_is_told_its_faults_from_outside(bench: PiperBench) -> None:
    for fault in FAULTS:
        inject(bench.name, fault)
        bench.run(NS_PER_MS)
    assert bench.faults == set(FAULTS)
    for fault in FAULTS:
        inject(bench.name, fault, on=False)
        bench.run(NS_PER_MS)
    assert bench.faults == set()
    with pytest.raises(DriverError, match="no emulator of bus nowhere takes faults"):
        inject("nowhere", "silent")


def test_a_bus_goes_on_for_the_others_when_a_node_leaves_it(bench: PiperBench) -> None:
    talker, listener, leaver = bench.connect(), bench.connect(), bench.connect()
    for _ in range(2):
        talker.send(Frame(CanId.FIRMWARE, bytes(8)))
        leaver.send(Frame(CanId.FIRMWARE, bytes(8)))
    leaver.close()
    bench.run(10 * NS_PER_MS)
    assert listener.receive()
    talker.send(Frame(0x7FF, b"still"))
    bench.run(2 * NS_PER_MS)
    assert Frame(0x7FF, b"still") in listener.receive()


def test_a_bus_that_is_not_there_is_named_with_its_remedy() -> None:
    with pytest.raises(DriverError, match=r"emulated CAN bus nowhere: .*; the run's emulator provides it"):
        join_emulated("nowhere")
    with pytest.raises(DriverError, match=r"can9.*ip link set can9 up type can bitrate 1000000|has no SocketCAN"):
        open_bus("can9", "socketcan")


def test_an_interface_that_is_down_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    bound = SimpleNamespace(
        bind=lambda _channel: None, getsockopt=lambda *_option: errno.ENETDOWN, close=lambda: closed.append(True)
    )
    monkeypatch.setattr(socket, "socket", lambda *_family: bound)
    with pytest.raises(DriverError, match=r"CAN bus can0: Network is down; `ip link set can0 up type can bitrate"):
        open_bus("can0", "socketcan")
    assert closed == [True]


def test_an_adapter_is_opened_at_the_arms_bit_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    can = pytest.importorskip("can")
    opened: dict[str, Any] = {}
    monkeypatch.setattr(can, "Bus", lambda **asked: opened.update(asked))
    open_bus("PCAN_USBBUS1", "pcan")
    assert opened == {"channel": "PCAN_USBBUS1", "interface": "pcan", "bitrate": 1_000_000}


def test_what_an_adapter_hands_back_of_what_it_sent_is_no_other_masters(monkeypatch: pytest.MonkeyPatch) -> None:
    can = pytest.importorskip("can")
    target = JointPair(0.1, 0.2).pack()
    told = [
        can.Message(arbitration_id=CanId.TARGET, data=target, is_extended_id=False, is_rx=False),
        can.Message(arbitration_id=CanId.JOINTS, data=target, is_extended_id=False),
    ]
    adapter = SimpleNamespace(recv=lambda timeout: told.pop(0) if told and not timeout else None)
    monkeypatch.setattr(can, "Bus", lambda **_asked: adapter)
    assert open_bus("0", "gs_usb").receive() == [Frame(CanId.JOINTS, target)]


def test_a_disabled_arm_follows_nothing(bench: PiperBench) -> None:
    arm = ready(bench)
    bus = bench.connect()
    bus.send(Frame(CanId.ENABLE, Enable(7, on=False).pack()))
    bench.run(5 * NS_PER_MS)
    count = len(bench.behind.commands)
    arm.command(0, HOME, bench.clock.now_ns())
    bench.run(5 * NS_PER_MS)
    assert len(bench.behind.commands) == count
    assert bench.emulator.device.drops == 1
    assert Mode.unpack(Mode(1).pack()).control == 1
