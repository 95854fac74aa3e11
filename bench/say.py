"""What a benchmark says while it is at work."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Write a line for whoever looks after the benchmark."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
