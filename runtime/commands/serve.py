"""`leadtime serve`: a policy server of its own."""

from __future__ import annotations

import sys

from runtime.cli import Serve
from runtime.inference.server import serve as serve_policy


def serve(command: Serve) -> int:
    """Serve until interrupted; returns the exit status."""
    serve_policy(
        command.policy,
        backend=command.backend,
        bind=command.bind,
        latency=command.latency,
        seed=command.seed,
        on_ready=lambda line: sys.stdout.write(line + "\n"),
    )
    return 0
