"""Promises of the peers: LeRobot's and openpi's own classes, on the lab's clock, do what hand-worked cases say."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from bench.decoupling.peers.base import Array, Peer, Query
from bench.decoupling.peers.registry import INSTALL, PEERS, PeerKind
from runtime.layout import RIG_DOF

HORIZON = 50
ASYNC = ("lerobot", "lerobot-latest-only", "lerobot-average", "lerobot-conservative", "lerobot-rad")
Delay = Callable[[int], int | None]


def due_ticks(query: Query) -> Array:
    """Answer with the tick at which every action is due, if the chunk is played without delay."""
    return np.repeat(query.obs_tick + np.arange(HORIZON, dtype=np.float64)[:, None], RIG_DOF, axis=1)


def fast(tick: int) -> Array:
    return np.full(RIG_DOF, 0.1 * tick)


def standing(tick: int) -> Array:
    return np.zeros(RIG_DOF)


def constant(delay: int) -> Delay:
    return lambda _: delay


@dataclass
class Driven:
    """A peer with its lab: `sent[tick]` is the first joint's command, None where the peer sent nothing."""

    peer: Peer
    delay: Delay
    state: Callable[[int], Array] = fast
    queries: list[Query] = field(default_factory=list)
    sent: list[float | None] = field(default_factory=list)
    due_tick: int | None = None
    lost: bool = False

    def run(self, ticks: int) -> Driven:
        for tick in range(len(self.sent), len(self.sent) + ticks):
            self.arrive(tick)
            action = self.peer.step(tick, self.state(tick))
            if self.due_tick is None and self.peer.begin(tick):
                delay = self.delay(len(self.queries) - 1)
                self.lost = delay is None
                self.due_tick = tick + (10 if delay is None else delay)
                if self.due_tick == tick:
                    self.arrive(tick)
                    if action is None and self.peer.blocking:
                        action = self.peer.step(tick, self.state(tick))
            self.sent.append(None if action is None else float(action[0]))
        return self

    def arrive(self, tick: int) -> None:
        if self.due_tick is not None and tick >= self.due_tick:
            (self.peer.lose if self.lost else self.peer.deliver)(tick)
            self.due_tick = None

    @property
    def lags(self) -> list[float | None]:
        """How many ticks after it was due each action was sent."""
        return [None if due is None else round(tick - due, 6) for tick, due in enumerate(self.sent)]

    @property
    def obs_ticks(self) -> list[int]:
        return [query.obs_tick for query in self.queries]


def drive(
    name: str,
    delay: int | Delay,
    state: Callable[[int], Array] = fast,
    policy: Callable[[Query], Array] = due_ticks,
) -> Driven:
    kind = PEERS[name]
    if kind.missing is not None:
        pytest.skip(kind.missing)
    queries: list[Query] = []

    def infer(query: Query) -> Array:
        queries.append(query)
        return policy(query)

    return Driven(kind.make(infer, HORIZON), constant(delay) if isinstance(delay, int) else delay, state, queries)


def test_a_peer_that_is_not_installed_says_what_installs_it() -> None:
    def make(infer: object, horizon: int) -> Peer:
        raise ModuleNotFoundError("No module named 'other'")

    missing = PeerKind("other", "other", "its queue", make).missing
    assert missing is not None
    assert "other is left out: No module named 'other'" in missing
    assert INSTALL in missing


def test_every_peer_runs_or_says_why_not() -> None:
    for name, kind in PEERS.items():
        assert kind.name == name
        if kind.missing is None:
            assert kind.source.startswith(kind.distribution)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_sends_rig_vectors(name: str) -> None:
    peer = drive(name, 0).run(1).peer
    action = peer.step(1, fast(1))
    assert action is not None
    assert (action.shape, action.dtype) == ((RIG_DOF,), np.float64)


@pytest.mark.parametrize("name", PEERS)
def test_the_same_drive_gives_the_same_actions_whatever_runs_beside_it(name: str) -> None:
    delays = np.random.default_rng(7).integers(0, 30, 200)
    alone = drive(name, lambda i: int(delays[i])).run(300)
    beside, other = drive(name, lambda i: int(delays[i])), drive(name, 13, standing)
    for _ in range(300):
        beside.run(1)
        other.run(1)
    assert beside.sent == alone.sent
    assert beside.obs_ticks == alone.obs_ticks


@pytest.mark.parametrize("name", PEERS)
def test_driving_a_peer_leaves_no_trace_in_the_process(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.handlers[:], root.level, time.sleep)
    drive(name, 3).run(60)
    assert (root.handlers, root.level, time.sleep) == before
    assert list(tmp_path.iterdir()) == []


def test_lerobot_asks_when_half_the_queue_is_left_and_drops_what_was_executed() -> None:
    driven = drive("lerobot-latest-only", 10).run(80)
    # 49 - 24 actions are left once number 24 is executed, at tick 34; the answer begins with number 24 and arrives
    # when 33 is the last executed. The server takes up the observation of tick 43 as soon as it is free.
    assert driven.obs_ticks[:3] == [0, 34, 43]
    assert driven.lags == [None] * 10 + [10.0] * 34 + [0.0] * 36


@pytest.mark.parametrize(("name", "old"), [("lerobot", 0.3), ("lerobot-latest-only", 0.0), ("lerobot-average", 0.5)])
def test_lerobot_averages_the_overlap_and_nothing_else(name: str, old: float) -> None:
    # The first chunk lags by 10 ticks; its last action has the number 49, due at tick 59. The third chunk meets the
    # overlap of the first two at tick 54.
    lags = drive(name, 10).run(80).lags
    assert lags[43] == pytest.approx(10.0)
    assert lags[44:54] == pytest.approx([10.0 * old] * 10, abs=1e-4)
    assert lags[54:60] == pytest.approx([10.0 * old**2] * 6, abs=1e-4)
    assert lags[60:] == pytest.approx([0.0] * 20, abs=1e-4)


def test_lerobot_conservative_keeps_most_of_the_old_chunk() -> None:
    assert drive("lerobot-conservative", 10).run(50).lags[44] == pytest.approx(7.0, abs=1e-4)


def test_a_standing_arm_starves_under_lerobots_observation_filter() -> None:
    standing_arm = drive("lerobot", 10, standing).run(300)
    # Every observation but the one of an empty queue is dropped: 50 actions, then 9 ticks of nothing.
    assert standing_arm.obs_ticks == [0, 59, 117, 175, 233, 291]
    assert standing_arm.sent[10:300].count(None) == 4 * 9 + 8
    assert drive("lerobot", 10, fast).run(300).sent[10:].count(None) == 0


def test_lerobots_observation_filter_depends_on_the_unit_of_the_state() -> None:
    def slow(tick: int) -> Array:
        return np.full(RIG_DOF, 0.002 * tick)

    assert drive("lerobot", 10, slow).run(300).sent[10:].count(None) == 0
    assert drive("lerobot-rad", 10, slow).run(300).sent[10:].count(None) > 0


def test_lerobot_does_not_count_ticks_without_an_action() -> None:
    driven = drive("lerobot-latest-only", 30).run(86)
    # Number 49 is executed at tick 79. Number 50, due at tick 80 by the chunk of tick 54, comes at tick 84.
    assert driven.obs_ticks[1] == 54
    assert driven.sent[79:85] == [49.0, None, None, None, None, 80.0]


def test_lerobot_never_asks_again_when_the_answer_to_an_empty_queue_is_lost() -> None:
    driven = drive("lerobot", lambda i: None if i == 0 else 5).run(300)
    assert driven.obs_ticks == [0]
    assert driven.sent == [None] * 300


def test_lerobot_asks_again_when_another_answer_is_lost() -> None:
    driven = drive("lerobot", lambda i: None if i == 1 else 5).run(120)
    assert len(driven.obs_ticks) > 2
    assert driven.sent[5:].count(None) == 0


def test_an_error_inside_lerobots_loops_is_not_taken_for_a_slow_answer() -> None:
    def broken(query: Query) -> Array:
        raise ValueError("no such tick")

    with pytest.raises(RuntimeError, match="no such tick") as caught:
        drive("lerobot", 5, policy=broken).run(1)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(("name", "execute"), [("openpi", 25), ("openpi-whole-chunk", HORIZON)])
def test_openpis_broker_stands_still_for_every_chunk(name: str, execute: int) -> None:
    driven = drive(name, 10).run(3 * (execute + 10))
    assert driven.lags == ([None] * 10 + [10.0] * execute) * 3
    assert driven.obs_ticks == [0, execute + 10, 2 * (execute + 10)]


def test_openpis_broker_never_stands_still_without_delay() -> None:
    assert drive("openpi", 0).run(100).lags == [0.0] * 100


def test_openpis_broker_waits_for_a_lost_answer_until_the_end() -> None:
    driven = drive("openpi", lambda i: None if i == 1 else 10).run(200)
    assert driven.obs_ticks == [0, 35]
    assert driven.sent[35:] == [None] * 165


def test_lerobots_rtc_queue_drops_what_the_delay_took() -> None:
    driven = drive("lerobot-rtc", 10).run(200)
    assert driven.lags == [None] * 10 + [0.0] * 190
    # 40 actions from tick 10 on; 30 are left at tick 20, and the loop looks every 5 ticks.
    assert driven.obs_ticks[:3] == [0, 20, 40]


def test_lerobots_rtc_queue_keeps_its_ticks_without_delay() -> None:
    assert drive("lerobot-rtc", 0).run(100).lags == [None] + [0.0] * 99


def test_lerobots_rtc_guides_with_what_is_left_from_the_observation_on() -> None:
    query = drive("lerobot-rtc", 10).run(60).queries[1]
    assert query.leftover is not None
    assert query.leftover.shape == (30, RIG_DOF)
    assert query.leftover[0, 0] == query.obs_tick
    assert query.guided_ticks == 10


def test_lerobots_rtc_forecasts_the_longest_delay_so_far() -> None:
    delays = [5, 20, 5, 5, 5]
    driven = drive("lerobot-rtc", lambda i: delays[min(i, 4)]).run(200)
    assert [query.delay_ticks for query in driven.queries[:5]] == [0, 5, 20, 20, 20]


def test_lerobots_rtc_ends_with_a_lost_answer_or_looks_again_half_a_second_later() -> None:
    driven = drive("lerobot-rtc", lambda i: None if i == 1 else 10).run(200)
    assert driven.sent[29] is not None
    if version("lerobot").startswith("0.4."):
        assert driven.sent[30:] == [None] * 170
        return
    lost_tick = driven.obs_ticks[1]
    again_tick = driven.obs_ticks[2]
    assert lost_tick + 25 <= again_tick <= lost_tick + 10 + 25
    assert driven.sent[again_tick + 10 :].count(None) == 0
