"""`leadtime view`: a recorded run's page and its summary."""

from __future__ import annotations

import sys

from runtime.cli import View
from runtime.console.report import write_report
from runtime.files import write_text
from runtime.summary import FILE_NAME, as_text, summarise


def view(command: View) -> int:
    """Write the run's page and its summary from its black box and say where the page is."""
    page = write_report(command.run)
    # One that failed or was killed has left none.
    write_text(command.run / FILE_NAME, as_text(summarise(command.run.resolve())))
    sys.stdout.write(f"{page}\n")
    return 0
