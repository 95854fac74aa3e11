"""Files and folders that a command leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import UsageError


def make_folder(path: Path) -> None:
    """Make the folder that `--out` names, where it is not there; UsageError where a file is in its way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {path}: give a folder, not a file") from None


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an OSError of what is written inside name `path` where it names no file, as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file; raises an OSError that names it."""
    with named(path):
        path.write_text(text, encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Write a file, where a link leads to; what was there before stays where the disk does not take all of it."""
    whole = Path(os.path.realpath(path))
    new = whole.with_name(f"{whole.name}.new")
    write_text(new, text)
    new.replace(whole)
