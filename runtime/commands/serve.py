"""`leadtime serve`: a policy server of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

from runtime.cli import Serve
from runtime.errors import UsageError
from runtime.inference.adapters.registry import is_adapter
from runtime.inference.server.openpi_server import serve_openpi
from runtime.inference.server.serve import serve as serve_leadtime
from runtime.net.keys import ServerKeys
from runtime.seed import check_seed

SERVERS: Final[dict[str, Callable[..., None]]] = {"leadtime": serve_leadtime, "openpi": serve_openpi}


def serve(command: Serve) -> int:
    """Serve until interrupted; returns the exit status."""
    check_seed(command.seed)
    if command.insecure and command.keys is not None:
        raise UsageError("--insecure says to serve without keys; leave out one of --keys and --insecure")
    if command.protocol == "openpi" and command.keys is not None:
        raise UsageError("--protocol openpi has no keys; leave out --keys")
    if is_adapter(command.policy) and (command.backend != "onnx" or command.device is not None):
        raise UsageError(f"{command.policy} runs its model itself; leave out --backend and --device")
    keys = None if command.keys is None else ServerKeys.load(command.keys)
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    keyed = {"keys": keys} if command.protocol == "leadtime" else {}
    SERVERS[command.protocol](
        command.policy,
        bind=command.bind,
        latency=command.latency,
        backend=command.backend,
        device=command.device,
        seed=command.seed,
        insecure=command.insecure,
        **keyed,
        stop=lambda: stopped,
        on_ready=say,
    )
    return 0
