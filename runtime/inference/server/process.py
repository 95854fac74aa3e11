"""The server process of a run: the run's own policy, at the run's endpoint, alive on its board."""

from __future__ import annotations

from typing import Final

from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, Clock
from runtime.inference.server.load import loader
from runtime.inference.server.server import serve_model

BEAT_NS: Final = 100 * NS_PER_MS


def run_server(board: Board, clock: Clock, heart: Heart) -> None:
    """Main of the server process; ready once its models are warm."""
    spec = board.spec
    beaten_ns = 0

    def on_turn() -> None:
        nonlocal beaten_ns
        now_ns = clock.now_ns()
        if now_ns - beaten_ns >= BEAT_NS:
            beaten_ns = now_ns
            heart.beat(now_ns)

    serve_model(
        loader(spec.policy, task_names=(spec.task,), backend=spec.backend),
        bind=spec.endpoint,
        latency=spec.latency,
        seed=spec.seed,
        clock=clock,
        stop=lambda: board.stopping,
        on_turn=on_turn,
    )
