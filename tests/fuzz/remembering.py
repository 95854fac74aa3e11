"""`python -m tests.fuzz.remembering ENDPOINT`: a server of a policy with a memory, in place of another project's.

It stays where it is, and fails where it is told what cannot be. So that others may trouble it beside one rig, it has
as many places as a server of our own files; that it has one is said elsewhere (runtime.inference.server.hosted).
"""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
import zmq

from runtime.clock import MonotonicClock
from runtime.inference.adapters.base import AdapterError, Card, Question, Reply, View
from runtime.inference.door import door_for
from runtime.inference.server.hosted import Hosted
from runtime.inference.server.latency import parse_latency
from runtime.inference.server.server import PolicyServer
from runtime.layout import CAMERAS, RIG_DOF
from runtime.net.sockets import open_router

HORIZON: Final = 25
RATE_HZ: Final = 25


class Remembering:
    """The adapter."""

    def open(self, timeout_s: float) -> Card:
        """Say what it is: two ticks of the rig are a step."""
        return Card("remembering", "WAM", HORIZON, 4, RATE_HZ, CAMERAS, prefix_max=12, stateful=True, key_every=2)

    def reset(self, prompt: str) -> None:
        """Begin an episode."""

    def infer(self, question: Question) -> Reply:
        """Answer with where it is."""
        told = question.executed
        views = [question.view, *([] if told is None else told.key_views)]
        rows = question.planned if told is None else np.concatenate((question.planned, told.actions))
        ticks = () if told is None else told.key_ticks
        steps = 0 if told is None else len(told.actions)
        right = (
            all(_whole(view) for view in views)
            and rows.shape[1:] == (RIG_DOF,)
            and bool(np.isfinite(rows).all())
            and question.committed <= len(question.planned) <= HORIZON
            and list(ticks) == sorted({*ticks})
            and all(0 <= tick < steps for tick in ticks)
        )
        if not right:
            raise AdapterError("was told what cannot be")
        return Reply(np.repeat(question.view.position[None], HORIZON, axis=0))

    def close(self) -> None:
        """Nothing is held."""


def _whole(view: View) -> bool:
    pictures = [view.images[name] for name in CAMERAS]
    right = all(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] == 3 and p.size for p in pictures)
    return right and view.position.shape == (RIG_DOF,) and bool(np.isfinite(view.position).all())


def main(endpoint: str) -> None:
    """Serve until killed; says where on standard output, as `serve` does."""
    adapter = Remembering()
    hosted = Hosted(adapter, adapter.open(0.0), "a stand-in", 5.0)
    hosted.places = None
    with zmq.Context() as context, open_router(context, endpoint) as router, door_for(endpoint) as door:
        server = PolicyServer(router, hosted, parse_latency("none"), clock=MonotonicClock(), door=door)
        sys.stdout.write(f"serving remembering on {router.getsockopt_string(zmq.LAST_ENDPOINT)} : a stand-in\n")
        sys.stdout.flush()
        server.run(lambda: False)


if __name__ == "__main__":
    main(sys.argv[1])
