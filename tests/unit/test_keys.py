"""Promises of what `leadtime keys` leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.net.keys import KeyPair, write_pair


@pytest.mark.parametrize("whole", [0, 1])
def test_a_disk_that_fills_leaves_no_half_of_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    chmod: Callable[[int, int], None] = os.fchmod
    calls: list[int] = []

    def fill(descriptor: int, mode: int) -> None:
        chmod(descriptor, mode)
        calls.append(mode)
        if len(calls) > whole:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fchmod", fill)
    with pytest.raises(OSError, match="No space") as refused:
        write_pair(tmp_path / "rig")
    assert refused.value.filename == str(tmp_path / "rig" / ("own.key_secret", "own.key")[whole])
    assert not list((tmp_path / "rig").iterdir())
    monkeypatch.undo()
    write_pair(tmp_path / "rig")
    assert KeyPair.load(tmp_path / "rig").public
