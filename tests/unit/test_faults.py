"""Promises of the fault table: every row is complete, named once, and has a bit of its own."""

from __future__ import annotations

import pytest

from runtime.control.modes import BRAKING, HOLDING
from runtime.faults import BIT, FAULTS, Fault, mask
from runtime.records import TICK


def test_names_and_bits_are_unique_and_fit_the_record() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len(FAULTS) <= TICK["faults"].itemsize * 8
    assert [BIT[fault.name] for fault in FAULTS] == [1 << i for i in range(len(FAULTS))]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_row_says_what_sees_it_and_what_a_person_does(fault: Fault) -> None:
    assert 1 <= fault.number <= 28
    assert fault.detection
    assert fault.detected_by
    assert fault.message[0].islower()
    assert fault.remedy[0].islower()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_whatever_ends_a_motion_waits_for_the_operator(fault: Fault) -> None:
    assert (fault.action in {"hold", "brake"}) == (fault.clears == "operator")


def test_masks_split_the_table() -> None:
    assert mask("hold") == HOLDING
    assert not HOLDING & BRAKING
    assert HOLDING & BIT["starved"]
    assert BRAKING & BIT["guardian_lost"]
