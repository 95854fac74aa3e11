"""`leadtime replay`: the recorded decisions, made again."""

from __future__ import annotations

import sys

from runtime.cli import Replay
from runtime.errors import LeadtimeError
from runtime.replay import replay as replay_run


def replay(command: Replay) -> int:
    """Replay a run; raises LeadtimeError with the first difference unless every command is bit-identical."""
    result = replay_run(command.run)
    if not result.identical:
        raise LeadtimeError("; ".join(result.describe().splitlines()))
    sys.stdout.write(f"{result.describe()}\n")
    return 0
