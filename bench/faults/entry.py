"""The entry of a child process whose devices misbehave or whose detectors are blind; stands in for `runtime.process`.

What is wrong with it is said by the environment: `LEADTIME_FAULT_PATCHES`, names of `bench.faults.patches` separated by
spaces, `LEADTIME_FAULT_TRIGGER`, a file whose existence begins an injection, and `LEADTIME_FAULT_RELAY`, the endpoint
that the client connects to in place of the server's.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.faults.patches import apply
from runtime import process, realtime
from runtime.spec import RunSpec

PATCHES: Final = "LEADTIME_FAULT_PATCHES"
RELAY: Final = "LEADTIME_FAULT_RELAY"


def _relayed(endpoint: str) -> None:
    load: Any = RunSpec.load.__func__  # type: ignore[attr-defined]

    def loaded(cls: type[RunSpec], path: Path) -> RunSpec:
        spec: RunSpec = load(cls, path)
        return msgspec.structs.replace(spec, endpoint=endpoint)

    RunSpec.load = classmethod(loaded)  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    role = sys.argv[1]
    realtime.die_with_parent(signal.SIGTERM if role.startswith("guardian") else signal.SIGKILL, int(sys.argv[4]))
    apply(os.environ.get(PATCHES, "").split())
    if role == "client" and os.environ.get(RELAY):
        _relayed(os.environ[RELAY])
    sys.exit(process.run(role, Path(sys.argv[2]), int(sys.argv[3])))
