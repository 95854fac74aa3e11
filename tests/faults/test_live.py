"""Promises under a fault in a whole run: on the wire it is dropped, a silent bus stops both arms and is cleared.

The other rows, and every negative control, are `leadtime bench faults`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.faults.session import play
from bench.faults.table import ROWS


@pytest.mark.parametrize("key", ["4", "18"])
def test_a_fault_injected_into_a_whole_run_is_seen_and_answered(key: str, tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.key == key)
    found = play(row, tmp_path, blind=False)
    print(f"{row.title}: seen after {found.detected_ms} ms, stands after {found.stopped_ms} ms")
    assert found.checks
    assert [check for check, held in found.checks.items() if not held] == []
