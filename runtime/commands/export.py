"""`leadtime export`: recorded runs as a dataset to train from."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.blackbox import load_run
from runtime.cli import Export
from runtime.errors import LeadtimeError, UsageError
from runtime.export.demonstrations import demonstrations
from runtime.files import make_folder, named


def export(command: Export) -> int:
    """Write the dataset and say what is in it."""
    missing = [name for name in ("av", "pyarrow") if find_spec(name) is None]
    if missing:
        raise LeadtimeError(f"export needs {' and '.join(missing)}: pip install 'leadtime[export]'")
    if command.out.exists():
        raise UsageError(f"--out {command.out}: exists; a dataset gets a folder of its own")
    from runtime.export import lerobot  # noqa: PLC0415  an extra

    run = load_run(command.run)
    found = demonstrations(run)
    if not found:
        raise LeadtimeError(f"{command.run}: nothing to export: neither a policy nor a person moved the arms")
    make_folder(command.out.parent)
    # Beside its place until it is whole: what a full disk cut short would be no dataset, and in the way of the next.
    with named(command.out), TemporaryDirectory(prefix=f".{command.out.name}-", dir=command.out.parent) as beside:
        whole = Path(beside) / command.out.name
        lerobot.write(whole, found, run.spec.rig.policy_hz, run.spec.rig.name)
        whole.rename(command.out)
    rows, by_hand = sum(len(demo.state) for demo in found), sum(int(demo.intervention.sum()) for demo in found)
    sys.stdout.write(f"{command.out}: {len(found)} episodes, {rows} rows, {by_hand} of them by a person\n")
    return 0
