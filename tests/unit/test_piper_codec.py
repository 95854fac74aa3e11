"""Promises of the Piper codec: what is packed is read back, what does not fit is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.drivers.piper.codec import (
    _I16,
    _I32,
    _U8,
    _U16,
    FIRMWARE_QUERY,
    FRAME_BYTES,
    KINDS,
    TORQUE_NM_PER_A,
    Acceleration,
    ArmStatus,
    CanId,
    Control,
    Enable,
    Fast,
    Firmware,
    Gripper,
    GripperTarget,
    JointPair,
    Limit,
    Linkage,
    Mode,
    Motor,
    Query,
    Slow,
    Status,
    Stop,
    StopCommand,
    _fit,
    decode,
)

u8 = st.integers(0, 255)
angle = st.floats(-math.pi, math.pi)


@given(angle, angle)
def test_a_pair_comes_back_to_half_a_thousandth_of_a_degree(first: float, second: float) -> None:
    data = JointPair(first, second).pack()
    back = JointPair.unpack(data)
    assert abs(back.first_rad - first) <= math.radians(0.0005) * (1 + 1e-9)
    assert abs(back.second_rad - second) <= math.radians(0.0005) * (1 + 1e-9)
    assert JointPair.unpack(data).pack() == data


@given(st.binary(min_size=8, max_size=8), st.sampled_from(sorted(KINDS)))
def test_any_eight_bytes_are_read_and_what_was_read_packs_to_the_same_message(data: bytes, can_id: int) -> None:
    message = decode(can_id, data)
    assert message is not None
    try:
        packed = message.pack()
    except ValueError:
        # Only a torque beyond what may be asked for is read and not sent.
        assert isinstance(message, GripperTarget) and message.torque_nm > 5.0
        return
    assert len(packed) == FRAME_BYTES
    assert decode(can_id, packed) == message


@given(st.binary(max_size=12), st.integers(0, 0x7FF))
def test_a_frame_that_is_not_whole_or_not_known_is_no_message(data: bytes, can_id: int) -> None:
    message = decode(can_id, data)
    assert (message is not None) == (can_id in KINDS and len(data) == FRAME_BYTES)


@pytest.mark.parametrize(
    ("can_id", "message", "data"),
    [
        (0x150, StopCommand(2), "02 00 00 00 00 00 00 00"),
        (0x151, Mode(1, 1, 100, 0xAD, 0, 0), "01 01 64 ad 00 00 00 00"),
        (0x155, JointPair(math.radians(90.0), math.radians(-0.001)), "00 01 5f 90 ff ff ff ff"),
        (0x157, JointPair(math.radians(1.0), math.radians(-1.0)), "00 00 03 e8 ff ff fc 18"),
        (0x159, GripperTarget(0.070, 1.5, 1, 0xAE), "00 01 11 70 05 dc 01 ae"),
        (0x251, Fast(-1.0, 2.0, 7), "fc 18 07 d0 00 00 00 07"),
        (0x266, Slow(24.0, -5, 40, 0x50, 0.3), "00 f0 ff fb 28 50 01 2c"),
        (0x2A1, Status(1, 7, 1, 0, 1, 2, 0x0102), "01 07 01 00 01 02 01 02"),
        (0x2A7, JointPair(0.0, math.radians(120.0)), "00 00 00 00 00 01 d4 c0"),
        (0x2A8, Gripper(0.035, -0.5, 0x40), "00 00 88 b8 fe 0c 40 00"),
        (0x470, Linkage(0xFA, 0x10, 0x10, 0x20), "fa 10 10 20 00 00 00 00"),
        (0x471, Enable(7, on=True), "07 02 00 00 00 00 00 00"),
        (0x471, Enable(3, on=False), "03 01 00 00 00 00 00 00"),
        (0x472, Query(6, 2), "06 02 00 00 00 00 00 00"),
        (0x473, Limit(3, 0.0, math.radians(-170.0), 3.0), "03 00 00 f9 5c 0b b8 00"),
        (0x47C, Acceleration(5, 5.0), "05 01 f4 00 00 00 00 00"),
        (0x4AF, Firmware(b"S-V1.8-2"), "53 2d 56 31 2e 38 2d 32"),
        (0x4AF, FIRMWARE_QUERY, "01 00 00 00 00 00 00 00"),
    ],
)
def test_each_message_is_these_bytes(can_id: int, message: Status, data: str) -> None:
    assert message.pack().hex(" ") == data
    read = decode(can_id, bytes.fromhex(data))
    assert type(read) is type(message)
    assert read is not None and read.pack() == message.pack()


@pytest.mark.parametrize(
    "message",
    [
        JointPair(4e4, 0.0),
        JointPair(0.0, -4e4),
        GripperTarget(3000.0),
        GripperTarget(0.05, 5.1),
        GripperTarget(0.05, -0.1),
        Fast(33.0, 0.0),
        Fast(0.0, -33.0),
        Gripper(0.0, 33.0, 0),
        Slow(-1.0, 0, 0, 0, 0.0),
        Slow(0.0, 0, 0, 0, 66.0),
        Limit(1, 60.0, 0.0, 3.0),
        Limit(1, 0.0, 0.0, 66.0),
        Acceleration(1, 700.0),
        Acceleration(1, -0.1),
    ],
)
def test_what_does_not_fit_is_refused_and_never_wrapped(message: JointPair) -> None:
    with pytest.raises(ValueError, match="does not fit its field"):
        message.pack()


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        JointPair(math.nan, 0.0).pack()


def test_the_extremes_of_a_field_fit() -> None:
    assert Acceleration(1, 655.35).pack()[1:3] == b"\xff\xff"
    assert Fast(32.767, -32.768).pack()[:4] == b"\x7f\xff\x80\x00"
    assert GripperTarget(0.0, 5.0).pack()[4:6] == (5000).to_bytes(2, "big")


def test_identifiers_of_a_kind_are_its_joints() -> None:
    assert [can_id for can_id, kind in KINDS.items() if kind is JointPair] == [0x155, 0x156, 0x157, 0x2A5, 0x2A6, 0x2A7]
    assert [can_id for can_id, kind in KINDS.items() if kind is Fast] == list(range(0x251, 0x257))
    assert [can_id for can_id, kind in KINDS.items() if kind is Slow] == list(range(0x261, 0x267))
    assert CanId.STATUS == 0x2A1


def test_the_numbers_on_the_wire_are_the_vendors() -> None:
    """As piper_sdk and AgileX's protocol have them: both ends here are ours, and would agree on wrong ones."""
    assert [int(member) for member in Control] == [0, 1, 2, 6]
    assert [int(member) for member in ArmStatus] == [0, 1, 4, 5, 7, 9, 14, 15]
    assert [int(member) for member in Stop] == [1, 2]
    assert [int(member) for member in Motor] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert TORQUE_NM_PER_A == (1.18125, 1.18125, 1.18125, 0.95844, 0.95844, 0.95844)


def test_a_value_is_rounded_into_its_field_and_no_further() -> None:
    assert _fit(-0.5, 1.0, 0, 255, "a value") == 0
    assert _fit(255.5, 1.0, 0, 255, "a value") == 255
    assert _fit(1.26, 0.5, 0, 255, "a value") == 3
    for value in (-0.51, 255.51):
        with pytest.raises(ValueError, match="a value"):
            _fit(value, 1.0, 0, 255, "a value")
    with pytest.raises(ValueError, match=r"a value 200 does not fit its field, -128 to 127\.5$"):
        _fit(200.0, 0.5, -256, 255, "a value")


def test_fields_have_their_width_and_a_mode_its_defaults() -> None:
    assert (_U8, _U16) == ((0, 255), (0, 65535))
    assert (_I16, _I32) == ((-32768, 32767), (-2147483648, 2147483647))
    assert Mode(Control.CAN).pack() == bytes([1, 1, 100, 0, 0, 0, 0, 0])
    assert GripperTarget(0.0).pack() == bytes([0, 0, 0, 0, 0x03, 0xE8, 1, 0])
    assert GripperTarget(0.0, 0.0).pack() == bytes([0, 0, 0, 0, 0, 0, 1, 0])
    assert GripperTarget(0.0, 5.0005).pack()[4:6] == (5000).to_bytes(2, "big")
    with pytest.raises(ValueError, match="torque"):
        GripperTarget(0.0, 5.001).pack()
    assert Status(Control.CAN, ArmStatus.NORMAL).pack() == bytes([1, 0, 1, 0, 0, 0, 0, 0])
    assert Fast(0.0, 0.0).pack() == bytes(8)
    assert Linkage(0xFC).pack() == bytes([0xFC, 0, 0, 0, 0, 0, 0, 0])


def test_the_question_for_the_firmware_is_told_from_its_answers() -> None:
    asked = decode(CanId.FIRMWARE, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    assert isinstance(asked, Firmware)
    assert (asked.asks, asked) == (True, FIRMWARE_QUERY)
    assert not Firmware(b"S-V1.8-2").asks
