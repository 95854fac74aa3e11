"""Sessions for the process tests, ended whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.harness import Session


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Start `leadtime run`, or another command, with the given arguments; the run is ended with the test."""
    sessions: list[Session] = []

    def begin(*arguments: str, command: str = "run") -> Session:
        sessions.append(Session.start(tmp_path / f"runs{len(sessions)}", *arguments, command=command))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()
