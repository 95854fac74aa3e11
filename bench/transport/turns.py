"""How the programs of a contender talk to the bench: lines on pipes, kept apart from whatever else they print."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO


def claim_stdout() -> TextIO:
    """Return a stream on what was standard output; all that is printed from now on goes to standard error."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def take_turns(ask: Callable[[int], int | None], channel: TextIO, note: str = "") -> None:
    """Say that the client is connected, with a note, then answer each line `COUNT` with how long its requests took, ns.

    `ask(i)` makes the i-th request and returns when its chunk is there: how much of the time its server says that it
    spent outside the model, ns, where it says that. Those come second in an answer.
    """
    channel.write(f"ready {note}\n")
    channel.flush()
    i = 0
    for line in sys.stdin:
        took_ns, outside_ns = [], []
        for _ in range(int(line)):
            began_ns = time.perf_counter_ns()
            spent_ns = ask(i)
            took_ns.append(time.perf_counter_ns() - began_ns)
            outside_ns += [] if spent_ns is None else [spent_ns]
            i += 1
        channel.write(json.dumps([took_ns, outside_ns]) + "\n")
        channel.flush()
