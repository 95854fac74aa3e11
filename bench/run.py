"""`leadtime bench`: which benchmark a name stands for."""

from __future__ import annotations

import importlib
import sys

from runtime.cli import Bench


def run(command: Bench) -> int:
    """Run a benchmark and leave results.json and report.html in its folder."""
    command.out.mkdir(parents=True, exist_ok=True)
    page = importlib.import_module(f"bench.{command.what}").main(command.out, quick=command.quick)
    sys.stdout.write(f"report: {page}\n")
    return 0
