"""A live run that a benchmark measures: the processes of `leadtime run`, under the rig's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from bench.say import say
from runtime.board import Board
from runtime.cli import Run
from runtime.commands.run import resolve
from runtime.config import load_rig
from runtime.lock import RigLock
from runtime.supervisor import Supervisor


def conduct(
    asked: Run,
    on_view: Callable[[Board], None] = lambda _board: None,
    entries: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Carry a run out, as a supervisor is told by `on_view` and `entries`; returns its folder.

    Raises:
        KeyboardInterrupt: it was ended before its time, and so is the benchmark.
    """
    rig = load_rig(asked.rig)
    lock = RigLock(rig.name)
    try:
        spec = resolve(asked, rig)
        supervisor = Supervisor(spec, on_view, say, entries)
        supervisor.run()
    finally:
        lock.release()
    if supervisor.interrupted:
        raise KeyboardInterrupt
    return Path(spec.run_dir)
