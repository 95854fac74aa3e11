"""Where built engines and their timings are kept between starts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/leadtime`, `~/.cache/leadtime` by default (XDG base directory specification); made.

    Raises:
        OSError: it cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "leadtime"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
