"""`python -m tests.fuzz.answers --messages N [--seed S]`: every remote adapter under malformed answers of its peer.

The healthy answers are those of the peers of tests/conformance, by their own wires; from then on the link is cut and
the answers are damaged ones, in this process. An adapter says in one line what is wrong, with an error of its own kind,
or makes a whole chunk of what it got; it takes no more memory than its bounds say, and is healthy again afterwards.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgpack
import numpy as np

from runtime.inference.adapters.base import Adapter, AdapterError, Question
from runtime.inference.adapters.http_link import HttpLink
from runtime.inference.adapters.websocket import Link
from runtime.inference.adapters.zmq_link import ZmqLink
from runtime.layout import RIG_DOF
from tests.conformance import peers_table, websocket_table
from tests.conformance.suite import ANSWER_S, PROMPT, Row, question
from tests.fuzz.damage import Damager
from tests.fuzz.storm import PAGE_BYTES, ROOT, rss_bytes

ROWS: Final = {row.name: row for row in (*websocket_table.ROWS, *peers_table.ROWS)}
KINDS: Final = {"cosmos-policy": "json", "gigaworld": "archive"}
SIZES_PX: Final = {"gigaworld": (8, 8), "gr00t": (8, 8), "xpolicylab": (8, 8), "dreamzero": (180, 320)}
SLOW: Final = {"lingbot-va": 0.05, "cosmos-policy": 0.15, "xpolicylab": 0.15, "starvla": 0.15, "gigaworld": 0.7}
"""Share of the answers for adapters whose requests or whose arithmetic take long, against 1 of the others."""
GREETING: Final = "greeting"
LINE_MAX: Final = 400
GROWTH_MAX_BYTES: Final = 24 * 2**20
ADDRESS_SPACE_BYTES: Final = 512 * 2**20
"""What the process may map beyond what it has: an allocation that an answer only claims fails at once."""
WARM_UP: Final = 1000
HEALTHY_EVERY: Final = 2000
HOST_WORDS: Final = ("Traceback", 'File "', "site-packages", str(Path.home()), str(ROOT))


@dataclass
class Tape:
    """The answers of a healthy peer by what was asked, and the damage that is done to the next ones."""

    heard: dict[str, list[bytes | str]] = field(default_factory=dict)
    damage: Damager | None = None
    kind: str = "msgpack"

    def note(self, asked: str, answer: bytes | str) -> None:
        """Keep an answer."""
        self.heard.setdefault(asked, []).append(answer)

    def answer(self, asked: str) -> bytes | str:
        """Return the answer to what is asked, the first of its kind, or a damaged one in its place."""
        healthy = self.heard[asked][0]
        if self.damage is None:
            return healthy
        raw = healthy.encode() if isinstance(healthy, str) else healthy
        return self.damage.of(raw, self.kind)


class Taped:
    """An adapter whose link was cut after a healthy session; every answer comes from its tape."""

    def __init__(self, row: Row) -> None:
        self.tape = Tape(kind=KINDS.get(row.name, "msgpack"))
        self.name = row.name
        self._size = SIZES_PX.get(row.name, (224, 224))
        peer = row.peer()
        try:
            self.adapter: Adapter = row.adapter(peer.endpoint)
            link = _link_of(self.adapter)
            _listen(link, self.tape)
            self.card = self.adapter.open(ANSWER_S)
            # The second episode has the end of the first one too, where a wire has such a thing.
            for _ in range(2):
                self.adapter.reset(PROMPT)
                self.adapter.infer(self.question())
        finally:
            peer.close()
        _cut(link, self.tape)
        self.adapter.reset(PROMPT)
        self._actions = self.adapter.infer(self.question()).actions

    def question(self) -> Question:
        """Return a request with pictures of a size that needs no work."""
        asked = question()
        images = {name: np.full((*self._size, 3), 90, np.uint8) for name in asked.view.images}
        return replace(asked, view=replace(asked.view, images=images))

    def ask(self, asked: Question, damage: Damager) -> bool:
        """Begin an episode in health and get a damaged answer; returns whether it was taken."""
        self.adapter.reset(PROMPT)
        self.tape.damage = damage
        try:
            reply = self.adapter.infer(asked)
        except AdapterError as error:
            self._check(str(error))
            return False
        finally:
            self.tape.damage = None
        assert reply.actions.dtype == np.float32
        assert reply.actions.shape == (self.card.horizon, RIG_DOF)
        assert np.isfinite(reply.actions).all()
        return True

    def reopen(self, damage: Damager) -> None:
        """Connect anew to a peer that is damaged from its first word on."""
        self.tape.damage = damage
        try:
            self.adapter.open(ANSWER_S)
            self.adapter.reset(PROMPT)
        except AdapterError as error:
            self._check(str(error))
        finally:
            self.tape.damage = None

    def healthy(self) -> None:
        """Fail unless a healthy peer is served as ever."""
        assert self.adapter.open(ANSWER_S) == self.card
        self.adapter.reset(PROMPT)
        np.testing.assert_array_equal(self.adapter.infer(self.question()).actions, self._actions)

    def _check(self, line: str) -> None:
        assert line
        assert "\n" not in line
        assert len(line) <= LINE_MAX, line
        assert not any(word in line for word in HOST_WORDS), line


def _link_of(adapter: Any) -> Any:
    inner = adapter
    while not isinstance(inner, Link | HttpLink | ZmqLink):
        inner = getattr(inner, "_link", None) or inner._peer
    return inner


def _asked(message: bytes) -> str:
    """Return what a request is, in the words of the wires that have several kinds."""
    try:
        found = msgpack.unpackb(message, strict_map_key=False)
    except ValueError:
        # An archive of GigaWorld's or a body of Cosmos-Policy's.
        return "ping" if b"ping" in message[:4096] else "infer"
    kinds = (found.get(name) for name in ("message_type", "type", "endpoint"))
    kind = next((kind for kind in kinds if kind), "reset" if found.get("reset") else "infer")
    return str(kind)


def _listen(link: Any, tape: Tape) -> None:
    """Note every answer that a link gives."""
    asking = {Link: "exchange", HttpLink: "post", ZmqLink: "ask"}[type(link)]
    original = getattr(link, asking)

    def noted(message: bytes, timeout_s: float) -> Any:
        answer = original(message, timeout_s)
        tape.note(_asked(message), answer)
        return answer

    setattr(link, asking, noted)
    if isinstance(link, Link):
        received = link.receive

        def greeted(timeout_s: float) -> Any:
            answer = received(timeout_s)
            tape.note(GREETING, answer)
            return answer

        link.receive = greeted  # type: ignore[method-assign]


def _cut(link: Any, tape: Tape) -> None:
    """Let a link give what is on the tape; its connection is always there, and nothing goes out."""
    link.close()
    for name in ("connect", "send", "close"):
        if hasattr(link, name):
            setattr(link, name, lambda *_: None)
    for name in ("post", "ask", "exchange"):
        if hasattr(link, name):
            setattr(link, name, lambda message, _: tape.answer(_asked(message)))
    if isinstance(link, Link):
        link.receive = lambda _: tape.answer(GREETING)  # type: ignore[method-assign]
        link._connection = object()  # type: ignore[assignment]


@dataclass
class Report:
    """How many answers each adapter got, how many of them it could use, and what it took."""

    messages: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sorts: dict[str, int] = field(default_factory=dict)
    rss_warm_bytes: int = 0
    rss_end_bytes: int = 0

    def text(self) -> str:
        """The figures, a line for each."""
        total, seconds = sum(self.messages.values()), sum(self.seconds.values())
        rates = {name: round(count / self.seconds[name]) for name, count in self.messages.items()}
        return "\n".join(
            (
                f"answers {total} in {seconds:.0f} s, by adapter {json.dumps(self.messages)}",
                f"a second {json.dumps(rates)}",
                f"of them made chunks of {json.dumps(self.used)}",
                f"sorts {json.dumps(self.sorts)}",
                f"memory MiB: {self.rss_warm_bytes / 2**20:.1f} warm, {self.rss_end_bytes / 2**20:.1f} at the end",
            )
        )


def storm(messages: int, seed: int = 1, names: tuple[str, ...] = tuple(ROWS)) -> Report:
    """Give each adapter its share of so many malformed answers. Fails as said above."""
    report, damage = Report(), Damager(seed)
    # What a request is known by is always the same here, as are the answers on a tape.
    with mock.patch("secrets.token_hex", lambda size: "0" * 2 * size), warnings.catch_warnings():
        warnings.simplefilter("error")
        _storm(messages, report, damage, names)
    return report


def _storm(messages: int, report: Report, damage: Damager, names: tuple[str, ...]) -> None:
    taped = [Taped(ROWS[name]) for name in names]
    weights = {name: SLOW.get(name, 1.0) for name in names}
    shares = {name: round(messages * weight / sum(weights.values())) for name, weight in weights.items()}
    for each in taped:
        asked = each.question()
        for _ in range(min(WARM_UP, shares[each.name])):
            each.ask(asked, damage)
        each.healthy()
    gc.collect()
    report.rss_warm_bytes = rss_bytes(os.getpid())
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_mapped_bytes() + ADDRESS_SPACE_BYTES, limit[1]))
    try:
        for each in taped:
            began, asked, share = time.monotonic(), each.question(), shares[each.name]
            for i in range(share):
                report.used[each.name] = report.used.get(each.name, 0) + each.ask(asked, damage)
                if i % HEALTHY_EVERY == 0:
                    each.reopen(damage)
                    each.healthy()
            report.messages[each.name] = share
            report.seconds[each.name] = time.monotonic() - began
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    gc.collect()
    report.rss_end_bytes, report.sorts = rss_bytes(os.getpid()), damage.counts
    assert report.rss_end_bytes - report.rss_warm_bytes <= GROWTH_MAX_BYTES, report.text()


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_BYTES


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(description="Adapters under malformed answers.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--adapters", nargs="*", default=[*ROWS])
    given = parser.parse_args()
    print(storm(given.messages, given.seed, tuple(given.adapters)).text())


if __name__ == "__main__":
    main()
