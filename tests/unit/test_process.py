"""What a role's process does with its own log."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from runtime.process import Log, run
from tests.unit import recorded


@pytest.fixture
def full_disk() -> Iterator[TextIO]:
    """A log as a process has it, on a disk that is full."""
    with io.FileIO("/dev/full", "w") as file, io.TextIOWrapper(file, write_through=True) as stream:
        yield stream


def test_a_log_on_a_full_disk_takes_what_it_cannot_write(full_disk: TextIO) -> None:
    with pytest.raises(OSError, match="No space left"):
        full_disk.write("one line\n")
    log = Log(full_disk)
    assert log.write("one line\n") == 9
    log.flush()
    assert log.fileno() == full_disk.fileno()


def test_a_role_writes_to_such_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec_file = recorded.make_spec(tmp_path).save()
    seen: list[object] = []
    monkeypatch.setattr("runtime.process._run", lambda *_: seen.append(sys.stderr) or 0)
    before = sys.stderr
    assert run("recorder", spec_file, 0) == 0
    assert isinstance(seen[0], Log)
    assert sys.stderr is before
