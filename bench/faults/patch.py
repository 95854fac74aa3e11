"""How a child process is changed from inside, and what begins and ends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

TRIGGER: Final = "LEADTIME_FAULT_TRIGGER"
TRIGGER_FILE: Final = Path(os.environ.get(TRIGGER, "/nonexistent"))


def triggered() -> bool:
    """Whether the injection has begun and has not ended."""
    return TRIGGER_FILE.exists()


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Put `around(original, *arguments)` in place of a function of a class or a module."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        return around(original, *arguments, **named)

    setattr(owner, name, wrapped)


def put(owner: Any, name: str, value: Any) -> None:
    """Put something else in place of a name of a class or a module."""
    setattr(owner, name, value)
