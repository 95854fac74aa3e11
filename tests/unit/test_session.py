"""Promises of a server's sessions about what was handed over for them."""

from __future__ import annotations

import os

import pytest

from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.client.gallery import Gallery
from runtime.inference.handshake import policy_schema, rig_schema
from runtime.inference.policy import load_policy
from runtime.inference.region import Region
from runtime.inference.server.session import IDLE_NS, SessionTable
from runtime.net.lane import Lane, LaneClosedError, new_pair
from tests.process.serving import TINY


def hello(client: str) -> wire.Hello:
    return wire.Hello(client=client, rig=rig_schema(load_rig("sim-x5")), task="transfer")


class Rigs:
    """Some rigs' sessions, each with a memory and a lane."""

    def __init__(self, places: int = 4) -> None:
        self.table = SessionTable(places)
        self.schema = policy_schema(load_policy(str(TINY)), "transfer", 0.0)
        self.gallery = Gallery({"a": (4, 4)}, 1)
        self.ends: dict[bytes, Lane] = {}

    def join(self, sender: bytes, client: str, now_ns: int = 0) -> None:
        session = self.table.open(sender, hello(client), self.schema, now_ns)
        assert session is not None
        self.ends[sender], theirs = new_pair()
        assert self.table.attach(session.secret, Region(os.dup(self.gallery.fd)), Lane(theirs))

    def closed(self, sender: bytes) -> bool:
        try:
            self.ends[sender].receive()
        except LaneClosedError:
            return True
        return False

    def close(self) -> None:
        for sender, end in self.ends.items():
            self.table.part(sender)
            end.close()
        self.gallery.close()


def test_a_session_has_the_lane_that_was_handed_over_for_it_and_takes_no_second_one() -> None:
    rigs = Rigs()
    rigs.join(b"a", "one")
    rigs.join(b"b", "two")
    assert [sender for sender, _ in rigs.table.lanes] == [b"a", b"b"]
    lane = rigs.table.lane(b"a")
    assert lane is not None
    assert lane.send([b"to a"])
    assert rigs.ends[b"a"].receive() == [b"to a"]
    assert rigs.ends[b"b"].receive() is None
    assert rigs.table.lane(b"c") is None
    rigs.close()


@pytest.mark.parametrize(("sender", "client"), [(b"b", "one"), (b"a", "two")])
def test_a_session_that_is_replaced_loses_its_lane(sender: bytes, client: str) -> None:
    rigs = Rigs()
    rigs.join(b"a", "one")
    rigs.ends[b"old"] = rigs.ends.pop(b"a")
    assert rigs.table.open(sender, hello(client), rigs.schema, 0) is not None
    assert rigs.closed(b"old")
    assert rigs.table.lanes == []
    rigs.close()


def test_a_quiet_session_whose_place_is_taken_loses_its_lane() -> None:
    rigs = Rigs(places=1)
    rigs.join(b"a", "one")
    assert rigs.table.open(b"b", hello("two"), rigs.schema, IDLE_NS - 1) is None
    assert not rigs.closed(b"a")
    assert rigs.table.open(b"b", hello("two"), rigs.schema, IDLE_NS) is not None
    assert rigs.closed(b"a")
    rigs.close()


def test_to_part_with_a_lane_leaves_the_session_and_may_be_done_twice_or_for_nobody() -> None:
    rigs = Rigs()
    rigs.join(b"a", "one")
    for sender in (b"a", b"a", b"nobody"):
        rigs.table.part(sender)
    assert rigs.closed(b"a")
    assert rigs.table.lane(b"a") is None
    assert rigs.table.find(b"a", "s1", 0) is not None
    rigs.close()
