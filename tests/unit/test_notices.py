"""Promises of the notices: a fault seen in passing is told of for a while, and only faults of the table."""

from __future__ import annotations

import pytest

from runtime.faults import BIT
from runtime.notices import LINGER_NS, Notices


def test_a_fault_is_told_of_until_a_while_after_it_was_seen_last() -> None:
    notices = Notices()
    assert notices.bits(0) == 0
    notices.note("packet_corrupt", 0)
    notices.note("answer_stray", 100)
    assert notices.bits(LINGER_NS - 1) == BIT["packet_corrupt"] | BIT["answer_stray"]
    assert notices.bits(LINGER_NS) == BIT["answer_stray"]
    notices.note("answer_stray", LINGER_NS)
    assert notices.bits(2 * LINGER_NS - 1) == BIT["answer_stray"]
    assert notices.bits(2 * LINGER_NS) == 0


def test_a_name_that_is_no_fault_is_an_error() -> None:
    with pytest.raises(KeyError):
        Notices().note("gremlins", 0)
