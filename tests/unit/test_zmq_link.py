"""A request socket to a peer: whatever it answers or cannot be asked is one line, and the next request is as good."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import zmq

from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.zmq_link import ZmqLink, host_and_port

ANSWER_S = 10.0


@pytest.fixture
def peer() -> Iterator[zmq.Socket[bytes]]:
    """A socket on the IPv6 loopback that answers as a test says."""
    with zmq.Context() as context, context.socket(zmq.REP) as made:
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.IPV6, 1)
        try:
            made.bind("tcp://[::1]:*")
        except zmq.ZMQError:
            pytest.skip("this host has no IPv6")
        yield made


def link_to(peer: zmq.Socket[bytes]) -> ZmqLink:
    endpoint = peer.getsockopt_string(zmq.LAST_ENDPOINT)
    host, port = host_and_port(endpoint.removeprefix("tcp://"), 1, "HOST:PORT")
    return ZmqLink(host, port, "peer", 1024)


def answered(link: ZmqLink, peer: zmq.Socket[bytes], *frames: bytes) -> bytes:
    """Ask, and have the peer answer with some frames."""

    def answer() -> None:
        if peer.poll(1000 * ANSWER_S):
            peer.recv()
            peer.send_multipart(frames)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        return link.ask(b"question", ANSWER_S)
    finally:
        thread.join()


def test_a_peer_at_an_ipv6_address_is_asked(peer: zmq.Socket[bytes]) -> None:
    link = link_to(peer)
    for answer in (b"first", b"second"):
        assert answered(link, peer, answer) == answer
    link.close()


def test_an_answer_of_more_than_one_frame_is_refused_and_the_next_is_read(peer: zmq.Socket[bytes]) -> None:
    link = link_to(peer)
    for frames in ((b"a", b"b"), (b"a", b"", b"c")):
        with pytest.raises(AdapterError, match=r"^peer at \[::1\]:\d+ answered in more than one frame$"):
            answered(link, peer, *frames)
    assert answered(link, peer, b"whole") == b"whole"
    link.close()


def test_what_the_library_refuses_is_said_in_a_line() -> None:
    link = ZmqLink("-", 5, "peer", 1024)
    for _ in range(2):
        with pytest.raises(AdapterError, match=r"^peer at -:5 cannot be asked: Invalid argument"):
            link.ask(b"question", ANSWER_S)
    link.close()
