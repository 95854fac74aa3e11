"""`leadtime view`: a recorded run's page and its summary."""

from __future__ import annotations

import sys

from runtime.blackbox import load_run
from runtime.cli import View
from runtime.console.report import write_report
from runtime.files import write_text
from runtime.summary import FILE_NAME, as_text, build_summary


def view(command: View) -> int:
    """Write the run's page and its summary from its black box and say where the page is."""
    run = load_run(command.run)
    summary = {**build_summary(run), "run_dir": str(command.run.resolve())}
    page = write_report(run, summary)
    # One that failed or was killed has left none.
    write_text(command.run / FILE_NAME, as_text(summary))
    sys.stdout.write(f"{page}\n")
    return 0
