"""`leadtime view`: a recorded run's page."""

from __future__ import annotations

import sys

from runtime.cli import View
from runtime.console.report import write_report


def view(command: View) -> int:
    """Write the run's page from its black box and say where it is."""
    sys.stdout.write(f"{write_report(command.run)}\n")
    return 0
