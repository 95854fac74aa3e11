"""Promises of a lane: whole messages or none, no wait, and nothing that comes by it harms who reads it."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.net.frames import FRAMES_MAX
from runtime.net.lane import PACKET_BYTES_MAX, Lane, LaneClosedError, new_pair

ROOM = PACKET_BYTES_MAX - 12
"""Bytes of two frames that fill a packet."""


@pytest.fixture
def ends() -> Iterator[tuple[Lane, Lane]]:
    here, theirs = new_pair()
    there = Lane(theirs)
    yield here, there
    here.close()
    there.close()


@given(frames=st.lists(st.binary(max_size=300), max_size=FRAMES_MAX))
def test_a_message_comes_as_it_was_sent(frames: list[bytes]) -> None:
    here, theirs = new_pair()
    there = Lane(theirs)
    assert here.send(list(frames))
    assert there.receive() == frames
    assert there.receive() is None
    here.close()
    there.close()


def test_both_ways_in_order(ends: tuple[Lane, Lane]) -> None:
    here, there = ends
    for i in range(5):
        assert here.send([b"%d" % i])
        assert there.send([b"back", b"%d" % i])
    assert [there.receive() for _ in range(5)] == [[b"%d" % i] for i in range(5)]
    assert [here.receive() for _ in range(5)] == [[b"back", b"%d" % i] for i in range(5)]


@pytest.mark.parametrize(("size", "goes"), [(ROOM, True), (ROOM + 1, False), (10**7, False)])
def test_what_is_too_long_for_a_packet_goes_another_way(ends: tuple[Lane, Lane], size: int, goes: bool) -> None:
    here, there = ends
    assert here.send([bytes(size - 1), b"x"]) is goes
    received = there.receive()
    assert (received is not None) is goes
    if received is not None:
        assert [len(frame) for frame in received] == [size - 1, 1]


def test_a_reader_that_does_not_read_is_not_waited_for(ends: tuple[Lane, Lane]) -> None:
    here, there = ends
    sent = 0
    while here.send([bytes(1000)]):
        sent += 1
        assert sent < 10_000
    for _ in range(sent):
        assert there.receive() is not None
    assert here.send([b"room again"])


def test_nothing_waits_though_the_other_side_makes_it(ends: tuple[Lane, Lane]) -> None:
    here, there = ends
    flags = fcntl.fcntl(there.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(there.fileno(), fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    assert there.receive() is None
    while there.send([bytes(1000)]):
        pass
    assert here.receive() is not None


def test_an_end_that_is_gone_is_said_to_be(ends: tuple[Lane, Lane]) -> None:
    here, there = ends
    assert here.send([b"last"])
    here.close()
    assert there.receive() == [b"last"]
    for _ in range(2):
        with pytest.raises(LaneClosedError):
            there.receive()
    assert there.send([b"nobody"]) is False


@given(packet=st.binary(min_size=1, max_size=200))
@example(packet=struct.pack("<I", 2**32 - 1))
@example(packet=struct.pack("<II", 1, 2**32 - 1))
@example(packet=struct.pack("<I", FRAMES_MAX + 1) + bytes(4 * (FRAMES_MAX + 1)))
@example(packet=struct.pack("<II", 1, 3) + b"1234")
def test_a_packet_that_is_no_message_is_an_empty_one_or_what_it_says(packet: bytes) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lane = Lane(there.detach())
    here.send(packet)
    frames = lane.receive()
    assert frames is not None
    assert (
        frames == [] or struct.pack(f"<{1 + len(frames)}I", len(frames), *map(len, frames)) + b"".join(frames) == packet
    )
    here.close()
    lane.close()


def test_a_packet_that_is_too_long_is_an_empty_message() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lane = Lane(there.detach())
    here.send(struct.pack("<II", 1, PACKET_BYTES_MAX) + bytes(PACKET_BYTES_MAX))
    assert lane.receive() == []
    assert lane.receive() is None
    here.close()
    lane.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_another_kind_of_socket_is_refused_and_let_go(kind: socket.SocketKind) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, kind)
    fd = there.detach()
    with pytest.raises(OSError, match="no packets"):
        Lane(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    here.close()


def test_what_is_no_socket_is_refused_and_let_go() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="socket"):
        Lane(reading)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)
    os.close(writing)
