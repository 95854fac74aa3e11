"""The folders that commands write to."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import UsageError


def make_folder(path: Path) -> None:
    """Make the folder that `--out` names, where it is not there; UsageError where a file is in its way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {path}: give a folder, not a file") from None
