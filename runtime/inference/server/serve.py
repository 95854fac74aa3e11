"""A policy served by its name: one of our own files, or an adapter to another project's server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.clock import Clock
from runtime.inference.adapters.registry import is_adapter
from runtime.inference.server.hosted import load_hosted
from runtime.inference.server.local import load_local
from runtime.inference.server.served import Served
from runtime.inference.server.server import serve_model
from runtime.net.keys import ServerKeys


def serve(
    policy: str,
    *,
    bind: str,
    latency: str = "none",
    task_names: Sequence[str] | None = None,
    backend: str = "onnx",
    device: str | None = None,
    threads: int = 1,
    seed: int = 0,
    keys: ServerKeys | None = None,
    insecure: bool = False,
    clock: Clock | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_ready: Callable[[str], None] | None = None,
    on_turn: Callable[[], None] | None = None,
) -> None:
    """Load and warm up a policy's models for `task_names` (all by default), or reach an adapter's; as `serve_model`.

    Raises:
        UsageError: the policy, backend, latency profile or task is unknown, the endpoint may not be bound, or a
            graph is not what the manifest says.
        LeadtimeError: the endpoint is in use, or what an adapter stands for cannot be reached.
    """

    def load(median_ms: float) -> Served:
        if is_adapter(policy):
            return load_hosted(policy, median_ms)
        return load_local(policy, task_names, backend, median_ms, threads=threads, device=device)

    serve_model(
        load,
        bind=bind,
        latency=latency,
        seed=seed,
        keys=keys,
        insecure=insecure,
        clock=clock,
        stop=stop,
        on_ready=on_ready,
        on_turn=on_turn,
    )
