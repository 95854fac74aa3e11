"""Promises of the shared-memory rings: whole records or none, the oldest lost first, no name left behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.shm import Ring, Segment, Topic, TornReadError, blank

RECORD = np.dtype([("value", "<i8"), ("body", "<f8", (64,))], align=True)


def make_ring(capacity: int = 4, *, checksum: bool = True) -> Ring:
    return Segment.create((Topic("t", RECORD, capacity, checksum),)).rings["t"]


def record(value: int) -> Any:
    out = blank(RECORD)
    out["value"] = value
    out["body"] = value
    return out


def test_nothing_is_read_before_the_first_record() -> None:
    assert make_ring().latest() is None


def test_the_latest_record_is_the_last_pushed() -> None:
    ring = make_ring()
    for value in range(11):
        ring.push(record(value))
    latest = ring.latest()
    assert latest is not None
    assert latest["value"] == 10
    assert np.all(latest["body"] == 10)


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    ring = make_ring(capacity=4)
    for value in range(10):
        ring.push(record(value))
    found, cursor, lost = ring.since(2)
    assert [int(r["value"]) for r in found] == [7, 8, 9]
    assert (cursor, lost) == (10, 5)
    assert ring.since(cursor) == ([], 10, 0)


def test_a_limited_read_goes_on_where_it_stopped() -> None:
    ring = make_ring(capacity=8)
    for value in range(5):
        ring.push(record(value))
    first, cursor, _ = ring.since(0, limit=2)
    second, _, _ = ring.since(cursor)
    assert [int(r["value"]) for r in (*first, *second)] == [0, 1, 2, 3, 4]


def test_a_record_copied_before_it_is_read_does_not_change() -> None:
    ring = make_ring(capacity=2)
    ring.push(record(1))
    kept = ring.latest()
    for value in range(2, 9):
        ring.push(record(value))
    assert kept is not None
    assert kept["value"] == 1


@pytest.mark.parametrize("field", ["_begin", "_end", "_crc"])
def test_a_record_whose_stamp_or_sum_is_off_is_not_returned(field: str) -> None:
    ring = make_ring()
    ring.push(record(5))
    getattr(ring, field)[0] += 1
    assert ring.read(0) is None
    with pytest.raises(TornReadError):
        ring.latest()


def test_a_payload_that_changed_under_its_sum_is_not_returned() -> None:
    ring = make_ring()
    ring.push(record(5))
    ring._payload[0]["body"][3] = 7.0
    assert ring.read(0) is None


def test_without_a_sum_the_stamps_alone_decide() -> None:
    ring = make_ring(checksum=False)
    ring.push(record(5))
    assert ring.read(0) is not None
    ring._begin[0] = 0
    assert ring.read(0) is None


def test_a_record_is_looked_at_where_it_lies_and_held_until_it_is_overwritten() -> None:
    ring = make_ring(capacity=2, checksum=False)
    assert ring.peek(0) is None
    ring.push(record(5))
    seen = ring.peek(0)
    assert seen is not None
    assert np.shares_memory(seen["body"], ring._payload)
    ring.push(record(6))
    assert ring.holds(0)
    ring.push(record(7))
    assert not ring.holds(0)
    assert ring.peek(0) is None
    assert seen["value"] == 7
    assert ring.peek(-1) is None


def test_readers_never_see_half_of_a_record_while_a_writer_runs() -> None:
    ring = make_ring(capacity=3)
    stop = threading.Event()

    def write() -> None:
        value = 0
        while not stop.is_set():
            value += 1
            ring.push(record(value))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = 0
        for _ in range(20_000):
            found = ring.read(ring.head - 1)
            if found is not None:
                seen += 1
                assert np.all(found["body"] == found["value"])
    finally:
        stop.set()
        writer.join()
    assert seen > 0


def test_a_waiting_reader_is_woken_by_the_writer() -> None:
    ring = make_ring()
    woken = threading.Event()

    def wait() -> None:
        while ring.head == 0:
            ring.wait(0, 10_000_000_000)
        woken.set()

    reader = threading.Thread(target=wait)
    reader.start()
    ring.push(record(1))
    ring.wake()
    assert woken.wait(5.0)
    reader.join()


def test_a_wait_on_a_ring_that_has_moved_on_returns_at_once() -> None:
    ring = make_ring()
    ring.push(record(1))
    ring.wait(0, 60_000_000_000)  # would outlast the test's time-out if it slept
    assert ring.head == 1


def test_the_segment_has_no_name_in_the_file_system() -> None:
    before = set(Path("/dev/shm").iterdir())
    segment = Segment.create((Topic("t", RECORD, 4),))
    assert set(Path("/dev/shm").iterdir()) == before
    os.close(segment.fd)


def test_two_views_of_one_descriptor_share_the_records() -> None:
    topics = (Topic("a", RECORD, 4), Topic("b", RECORD, 2))
    writer = Segment.create(topics)
    reader = Segment(topics, writer.fd)
    writer.rings["b"].push(record(3))
    latest = reader.rings["b"].latest()
    assert latest is not None
    assert latest["value"] == 3
    assert reader.rings["a"].latest() is None


def test_a_descriptor_too_small_for_its_topics_is_refused() -> None:
    segment = Segment.create((Topic("a", RECORD, 1),))
    with pytest.raises(ValueError, match="topics need"):
        Segment((Topic("a", RECORD, 64),), segment.fd)
