"""`python -m tests.process.foreseeing ENDPOINT`: a policy server of a model that predicts pictures, a stand-in.

It foresees that what it sees stays as it is, which is right while nothing moves; after `RIGHT` answers about an episode
it foresees the negative of it.
"""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
import zmq

from runtime.clock import MonotonicClock
from runtime.inference.adapters.base import Card, Question, Reply
from runtime.inference.server.hosted import Hosted
from runtime.inference.server.latency import parse_latency
from runtime.inference.server.server import PolicyServer
from runtime.layout import CAMERAS
from runtime.net.sockets import open_router

RIGHT: Final = 6
PICTURES: Final = 10
HORIZON: Final = 50
VALUE: Final = 0.75


class Foreseeing:
    """The adapter: it stays where it is."""

    def __init__(self) -> None:
        self._answers = 0

    def open(self, timeout_s: float) -> Card:
        """Say what it is."""
        return Card("foreseeing", "WAM", HORIZON, 12, 50, CAMERAS, prefix_max=25)

    def reset(self, prompt: str) -> None:
        """Begin an episode."""
        self._answers = 0

    def infer(self, question: Question) -> Reply:
        """Answer with what is seen, or its negative."""
        self._answers += 1
        seen = question.view.images
        shown = seen if self._answers <= RIGHT else {name: 255 - picture for name, picture in seen.items()}
        actions = np.repeat(question.view.position[None], HORIZON, axis=0)
        return Reply(actions, frames={n: np.repeat(p[None], PICTURES, axis=0) for n, p in shown.items()}, value=VALUE)

    def close(self) -> None:
        """Nothing is held."""


def main(endpoint: str) -> None:
    """Serve until killed; says `ready` on standard output."""
    adapter = Foreseeing()
    hosted = Hosted(adapter, adapter.open(0.0), "a stand-in", 5.0)
    with zmq.Context() as context, open_router(context, endpoint) as router:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        PolicyServer(router, hosted, parse_latency("none"), clock=MonotonicClock()).run(lambda: False)


if __name__ == "__main__":
    main(sys.argv[1])
