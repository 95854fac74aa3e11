"""Promises of a corrected arm: what it reads is true, where it is sent it is, and there and back changes nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import records
from runtime.devices import Arm, Correction
from runtime.drivers.corrected import CorrectedArm
from runtime.shm import blank


class Device:
    """An arm that is where it was last sent, by its own reading."""

    def __init__(self) -> None:
        self.record: Any = None

    def open(self) -> None: ...

    def read(self) -> Any:
        return self.record

    def command(self, servo_tick: int, position: Any, now_ns: int) -> None:
        self.record = blank(records.ARM_STATE)
        self.record["position"] = position
        self.record["velocity"] = 1.0

    def close(self) -> None: ...


CORRECTION = Correction(zero_offset_rad=(0.01, -0.02, 0.03, 0.0, 0.05, -0.1), gripper_closed=0.1, gripper_open=0.9)


def test_a_reading_becomes_what_is_true() -> None:
    device = Device()
    arm = CorrectedArm(device, CORRECTION)
    assert arm.read() is None
    device.command(0, np.array([0, 0, 0, 0, 0, 0, 0.5]), 0)
    state = arm.read()
    assert state is not None
    np.testing.assert_allclose(state["position"], [0.01, -0.02, 0.03, 0.0, 0.05, -0.1, 0.5])
    np.testing.assert_allclose(state["velocity"], [1, 1, 1, 1, 1, 1, 1 / 0.8])
    assert device.record["position"][0] == 0.0


def test_all_zero_feedback_stays_what_it_is() -> None:
    """The guardian and the control process refuse to arm on it."""
    device = Device()
    arm = CorrectedArm(device, CORRECTION)
    device.record = blank(records.ARM_STATE)
    state = arm.read()
    assert state is not None
    assert not state["position"].any()
    assert not state["velocity"].any()


@given(st.lists(st.floats(-2.0, 2.0), min_size=7, max_size=7))
def test_an_arm_that_is_where_it_was_sent_reads_as_the_target(target: list[float]) -> None:
    arm = CorrectedArm(Device(), CORRECTION)
    arm.command(0, np.array(target), 0)
    state = arm.read()
    assert state is not None
    np.testing.assert_allclose(state["position"], target, atol=1e-12)


def test_a_wrong_zero_is_no_correction() -> None:
    raw = {"driver": "piper", "channel": "can0", "correction": {"zero_offset_rad": [0.2, 0, 0, 0, 0, 0]}}
    with pytest.raises(msgspec.ValidationError, match=r"<= 0\.1.*correction\.zero_offset_rad"):
        msgspec.convert(raw, Arm)
