"""A policy to be served, by its name: one of our own files, or an adapter to another project's server."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.inference.adapters.registry import is_adapter, make_adapter
from runtime.inference.server.hosted import opened
from runtime.inference.server.local import load_local
from runtime.inference.server.served import Load, Served


def loader(
    policy: str,
    *,
    task_names: Sequence[str] | None = None,
    backend: str = "onnx",
    device: str | None = None,
) -> Load:
    """Return what loads and warms up a policy's models for `task_names` (all by default), or reaches an adapter's.

    It raises UsageError where the policy, backend or task is unknown or a graph is not what the manifest says, and
    LeadtimeError where what an adapter stands for cannot be reached.
    """

    def load(median_ms: float) -> Served:
        if is_adapter(policy):
            named = make_adapter(policy)
            return opened(named.adapter, f"adapter {policy.partition('://')[0]}", named.arms, median_ms)
        return load_local(policy, task_names, backend, median_ms, device=device)

    return load
