"""`leadtime replay`: the recorded decisions, made again."""

from __future__ import annotations

import sys

from runtime.cli import Replay
from runtime.replay import replay as replay_run


def replay(command: Replay) -> int:
    """Replay a run; status 0 when every command is bit-identical, 1 otherwise."""
    result = replay_run(command.run)
    sys.stdout.write(f"{result.describe()}\n")
    return 0 if result.identical else 1
