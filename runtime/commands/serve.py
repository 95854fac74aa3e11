"""`leadtime serve`: a policy server of its own."""

from __future__ import annotations

import sys
from typing import Any

from runtime.cli import Serve
from runtime.errors import UsageError
from runtime.inference.adapters.registry import is_adapter
from runtime.inference.server.ending import Ending
from runtime.inference.server.load import loader
from runtime.inference.server.openpi_server import serve_openpi
from runtime.inference.server.server import serve_model
from runtime.net.keys import ServerKeys
from runtime.seed import check_seed


def serve(command: Serve) -> int:
    """Serve until interrupted; returns the exit status."""
    check_seed(command.seed)
    if command.insecure and command.keys is not None:
        raise UsageError("--insecure says to serve without keys; leave out one of --keys and --insecure")
    if command.protocol == "openpi" and command.keys is not None:
        raise UsageError("--protocol openpi has no keys; leave out --keys")
    if is_adapter(command.policy) and command.protocol == "openpi":
        raise UsageError(f"--protocol openpi serves policies of our own files, {command.policy} is none; leave it out")
    if is_adapter(command.policy) and (command.backend != "onnx" or command.device is not None):
        raise UsageError(f"{command.policy} runs its model itself; leave out --backend and --device")
    keys = None if command.keys is None else ServerKeys.load(command.keys)
    ending = Ending()

    def ready(line: str) -> None:
        ending.catch()
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    model: dict[str, Any] = {"backend": command.backend, "device": command.device}
    serving: dict[str, Any] = {
        "bind": command.bind,
        "latency": command.latency,
        "seed": command.seed,
        "insecure": command.insecure,
        "stop": lambda: ending.asked,
        "on_ready": ready,
    }
    if command.protocol == "openpi":
        serve_openpi(command.policy, **model, **serving)
    else:
        serve_model(loader(command.policy, **model), keys=keys, **serving)
    return 0
