"""`leadtime serve`: a policy server of its own."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from runtime.cli import Serve
from runtime.inference.latency import parse_latency
from runtime.inference.policy import load_policy
from runtime.inference.server import serve as serve_policy


def serve(command: Serve) -> int:
    """Serve until interrupted; returns the exit status."""
    policy = load_policy(command.policy)
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    def say_ready(endpoint: str, latency_ms: float) -> None:
        sys.stdout.write(f"{policy.manifest.name} on {endpoint}, {command.backend}, {latency_ms:.1f} ms a chunk\n")
        sys.stdout.flush()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    serve_policy(
        policy,
        bind=command.bind,
        latency=parse_latency(command.latency),
        backend=command.backend,
        seed=command.seed,
        stop=lambda: stopped,
        on_ready=say_ready,
    )
    return 0
