"""The units of Interbotix arms, against what their makers publish."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.arms import VX300S
from runtime.drivers.interbotix import conversions as units
from runtime.drivers.interbotix.table import TABLE, VX300S_SERVOS, WX250S_SERVOS, Entry, joint_servos


def test_the_servos_own_limits_are_those_of_the_arm() -> None:
    for joint, servo in enumerate(joint_servos(VX300S_SERVOS)[:6]):
        assert units.ticks_to_rad(servo.position_min) == pytest.approx(VX300S.position_min[joint], abs=0.006)
        assert units.ticks_to_rad(servo.position_max) == pytest.approx(VX300S.position_max[joint], abs=0.006)


def test_an_arm_has_seven_joints_and_two_shadows() -> None:
    for servos in (VX300S_SERVOS, WX250S_SERVOS):
        assert [servo.servo_id for servo in joint_servos(servos)] == [1, 2, 4, 6, 7, 8, 9]
        assert {servo.servo_id: servo.shadows for servo in servos if servo not in joint_servos(servos)} == {3: 2, 5: 4}
    assert [servo.servo_id for servo in VX300S_SERVOS if servo.reversed] == [2, 4, 7]
    assert [servo.servo_id for servo in WX250S_SERVOS if servo.reversed] == [3, 5, 7]


@given(st.integers(0, 4095))
def test_ticks_come_back(ticks: int) -> None:
    assert units.rad_to_ticks(units.ticks_to_rad(ticks)) == ticks


def test_a_revolution_and_its_middle() -> None:
    assert units.ticks_to_rad(2048) == 0.0
    assert units.ticks_to_rad(3072) == pytest.approx(math.pi / 2)
    assert pytest.approx(0.02398, abs=1e-5) == units.RAD_S_PER_UNIT


def test_the_fingers_are_where_aloha_has_them() -> None:
    assert units.finger_m(units.CLOSED_RAD) == pytest.approx(0.01844, abs=2e-5)
    assert units.finger_m(units.OPEN_RAD) == pytest.approx(0.058, abs=2e-4)
    assert pytest.approx(VX300S.gripper_stroke_m, abs=2e-4) == 2 * units.SPAN_M


@given(st.floats(0.0, 1.0))
def test_openings_come_back(fraction: float) -> None:
    rad = units.gripper_rad(fraction)
    assert units.CLOSED_RAD - 1e-9 <= rad <= units.OPEN_RAD + 1e-9
    assert units.gripper_fraction(rad) == pytest.approx(fraction, abs=1e-9)


@given(st.floats(-0.62, 1.49))
def test_the_fingers_speed_is_the_slope_of_their_place(rad: float) -> None:
    step = 1e-6
    slope = (units.finger_m(rad + step) - units.finger_m(rad - step)) / (2 * step)
    assert units.finger_m_per_rad(rad) == pytest.approx(slope, abs=1e-7)


def test_an_opening_beyond_its_range_is_brought_inside() -> None:
    assert units.gripper_rad(-1.0) == pytest.approx(units.CLOSED_RAD)
    assert units.gripper_rad(2.0) == pytest.approx(units.OPEN_RAD)


def test_a_leaders_range_is_the_followers_in_either_direction() -> None:
    for closed, opened in ((units.LEADER_CLOSED_RAD, units.LEADER_OPEN_RAD), (0.9, 0.2)):
        assert units.led_fraction(closed, closed, opened) == pytest.approx(0.0, abs=1e-9)
        assert units.led_fraction(opened, closed, opened) == pytest.approx(1.0)
        middle = units.led_fraction((closed + opened) / 2, closed, opened)
        assert units.gripper_rad(middle) == pytest.approx((units.CLOSED_RAD + units.OPEN_RAD) / 2)
        assert units.led_fraction(opened + (opened - closed), closed, opened) == pytest.approx(1.0)
        assert units.led_fraction(closed - (opened - closed), closed, opened) == pytest.approx(0.0, abs=1e-9)


@given(st.sampled_from(TABLE), st.data())
def test_values_come_back_from_their_bytes(entry: Entry, data: st.DataObject) -> None:
    low = -(2 ** (8 * entry.size - 1)) if entry.signed else 0
    high = 2 ** (8 * entry.size - entry.signed) - 1
    value = data.draw(st.integers(low, high))
    assert entry.unpack(entry.pack(value)) == value
    assert entry.unpack(b"\xaa\xaa" + entry.pack(value), entry.address - 2) == value


def test_entries_do_not_overlap() -> None:
    taken = [address for entry in TABLE for address in range(entry.address, entry.address + entry.size)]
    assert len(taken) == len(set(taken))
