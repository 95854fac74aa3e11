"""Our codec and our emulated Piper against the vendor's own SDK (piper_sdk), frame by frame and over a bus."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

can = pytest.importorskip("can")
pytest.importorskip("piper_sdk")
from piper_sdk import C_PiperInterface_V2  # noqa: E402
from piper_sdk.piper_msgs.msg_v2 import (  # noqa: E402
    ArmMsgGripperCtrl,
    ArmMsgJointCtrl,
    ArmMsgMotionCtrl_2,
    ArmMsgMotorEnableDisableConfig,
    ArmMsgType,
    PiperMessage,
)
from piper_sdk.protocol.protocol_v2 import C_PiperParserV2  # noqa: E402

from runtime.arms import PIPER  # noqa: E402
from runtime.clock import MonotonicClock  # noqa: E402
from runtime.drivers.piper.codec import (  # noqa: E402
    Acceleration,
    Enable,
    Fast,
    Gripper,
    GripperTarget,
    JointPair,
    Limit,
    Mode,
    Slow,
    Status,
)
from tests.unit.piper_bench import PiperBench  # noqa: E402

RNG = np.random.default_rng(7)


def theirs(can_id: int, data: bytes) -> Any:
    """What the vendor's parser makes of a frame."""
    message = PiperMessage()
    frame = can.Message(arbitration_id=can_id, data=data, is_extended_id=False, timestamp=1.0)
    assert C_PiperParserV2().DecodeMessage(frame, message)
    return message


def encoded(kind: Any, **parts: Any) -> tuple[int, bytes]:
    """The frame that the vendor's parser makes of a message."""
    frame = can.Message(is_extended_id=False)
    assert C_PiperParserV2().EncodeMessage(PiperMessage(type_=kind, **parts), frame)
    return frame.arbitration_id, bytes(frame.data)


def degrees(rad: float) -> int:
    return round(math.degrees(rad) * 1000)


def test_the_vendors_parser_reads_our_feedback_as_it_was_meant() -> None:
    for _ in range(200):
        first, second = RNG.uniform(-3.0, 3.0, 2)
        for can_id, names in ((0x2A5, "12"), (0x2A6, "34"), (0x2A7, "56")):
            joints = theirs(can_id, JointPair(first, second).pack()).arm_joint_feedback
            read = [getattr(joints, f"joint_{name}") for name in names]
            assert read == [degrees(first), degrees(second)]
        velocity, current = RNG.uniform(-10.0, 10.0, 2)
        fast = theirs(0x253, Fast(velocity, current, -5).pack()).arm_high_spd_feedback_3
        assert (fast.motor_speed, fast.current, fast.pos) == (round(velocity * 1e3), round(current * 1e3), -5)
        volts, amps = RNG.uniform(0.0, 40.0, 2)
        slow = theirs(0x262, Slow(volts, -12, 77, 0b01010001, amps).pack()).arm_low_spd_feedback_2
        assert (slow.vol, slow.foc_temp, slow.motor_temp, slow.bus_current) == (
            round(volts * 10),
            -12,
            77,
            round(amps * 1e3),
        )
        assert slow.foc_status_code == 0b01010001
        assert slow.foc_status.collision_status and slow.foc_status.driver_enable_status
        assert not slow.foc_status.stall_status and slow.foc_status.voltage_too_low
        opening, torque = RNG.uniform(0.0, 0.07), RNG.uniform(-5.0, 5.0)
        gripper = theirs(0x2A8, Gripper(opening, torque, 0x40).pack()).gripper_feedback
        assert (gripper.grippers_angle, gripper.grippers_effort) == (round(opening * 1e6), round(torque * 1e3))
    status = theirs(0x2A1, Status(1, 7, 1, 0, 1, 3, 0x0401).pack()).arm_status_msgs
    assert (int(status.ctrl_mode), int(status.arm_status), status.err_code) == (1, 7, 0x0401)
    limit = theirs(
        0x473, Limit(3, 0.0, math.radians(-170.0), 3.0).pack()
    ).arm_feedback_current_motor_angle_limit_max_spd
    assert (limit.motor_num, limit.max_angle_limit, limit.min_angle_limit, limit.max_joint_spd) == (3, 0, -1700, 3000)
    most = theirs(0x47C, Acceleration(4, 5.0).pack()).arm_feedback_current_motor_max_acc_limit
    assert (most.joint_motor_num, most.max_joint_acc) == (4, 500)


def test_our_commands_are_the_vendors_to_the_byte() -> None:
    for _ in range(200):
        joints = RNG.uniform(-3.0, 3.0, 6)
        whole = ArmMsgJointCtrl(*(degrees(rad) for rad in joints))
        for i, kind in enumerate(
            (ArmMsgType.PiperMsgJointCtrl_12, ArmMsgType.PiperMsgJointCtrl_34, ArmMsgType.PiperMsgJointCtrl_56)
        ):
            ours = JointPair(joints[2 * i], joints[2 * i + 1]).pack()
            assert encoded(kind, arm_joint_ctrl=whole) == (0x155 + i, ours)
        opening, torque = RNG.uniform(0.0, 0.07), RNG.uniform(0.0, 5.0)
        gripper = ArmMsgGripperCtrl(round(opening * 1e6), round(torque * 1e3), 1, 0)
        ours = GripperTarget(opening, torque).pack()
        assert encoded(ArmMsgType.PiperMsgGripperCtrl, arm_gripper_ctrl=gripper) == (0x159, ours)
    mode = ArmMsgMotionCtrl_2(1, 1, 100, 0)
    assert encoded(ArmMsgType.PiperMsgMotionCtrl_2, arm_motion_ctrl_2=mode) == (0x151, Mode(1).pack())
    for on, flag in ((True, 2), (False, 1)):
        enable = ArmMsgMotorEnableDisableConfig(7, flag)
        ours = Enable(7, on=on).pack()
        assert encoded(ArmMsgType.PiperMsgMotorEnableDisableConfig, arm_motor_enable=enable) == (0x471, ours)


@pytest.fixture
def live() -> Iterator[PiperBench]:
    """An emulated arm in real time, stepped by a thread."""
    bench = PiperBench()
    bench.clock = MonotonicClock(0)  # type: ignore[assignment]
    stop = threading.Event()

    def steps() -> None:
        while not stop.is_set():
            now_ns = time.monotonic_ns()
            bench.behind.step(now_ns)
            bench.emulator.step(now_ns)
            time.sleep(0.001)

    thread = threading.Thread(target=steps)
    thread.start()
    yield bench
    stop.set()
    thread.join()
    bench.close()


def wait_for(kept: Any, what: str) -> None:
    for _ in range(1000):
        if kept():
            return
        time.sleep(0.01)
    raise AssertionError(what)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_vendors_sdk_arms_reads_and_moves_our_emulated_arm(live: PiperBench) -> None:
    sdk = C_PiperInterface_V2(live.name, judge_flag=False, can_auto_init=False)
    sdk.CreateCanBus(live.name, bustype="leadtime", judge_flag=False)
    sdk.ConnectPort()
    try:
        home = [degrees(rad) for rad in PIPER.home[:6]]

        def joints() -> list[int]:
            state = sdk.GetArmJointMsgs().joint_state
            return [getattr(state, f"joint_{i}") for i in range(1, 7)]

        wait_for(lambda: all(abs(a - b) < 20 for a, b in zip(joints(), home, strict=True)), "joints are not read")
        wait_for(lambda: sdk.GetArmGripperMsgs().gripper_state.grippers_angle == 70_000, "the gripper is not read")
        sdk.SearchPiperFirmwareVersion()
        wait_for(lambda: sdk.GetPiperFirmwareVersion() == "S-V1.8-2", "the firmware is not read")
        wait_for(sdk.EnablePiper, "no torque")
        target = [angle + 5000 for angle in home[:1]] + home[1:]
        sdk.MotionCtrl_2(0x01, 0x01, 100, 0x00)

        def there() -> bool:
            sdk.JointCtrl(*target)
            sdk.GripperCtrl(35_000, 1000, 0x01, 0)
            return all(abs(a - b) < 20 for a, b in zip(joints(), target, strict=True))

        wait_for(there, "it does not move")
        wait_for(lambda: abs(sdk.GetArmGripperMsgs().gripper_state.grippers_angle - 35_000) < 50, "nor its gripper")
    finally:
        sdk.DisconnectPort()
