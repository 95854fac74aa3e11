"""Promises of the fault table: every row is there, is injected or says why not, and its page is current."""

from __future__ import annotations

import ast
import inspect
import json
import os
from pathlib import Path

import pytest

from bench.faults import comparison, handbook, patches, report
from bench.faults.expect import Finding
from bench.faults.session import rig_of
from bench.faults.table import ROWS, Row
from runtime.cli import BenchFaults
from runtime.drivers.emulators import piper as emulated
from runtime.errors import UsageError
from runtime.faults import BIT, FAULTS

ROOT = Path(__file__).parents[2]


def test_every_row_of_the_design_has_an_entry_and_an_injection() -> None:
    assert {fault.number for fault in FAULTS} == set(range(1, 29)), "28 is the workspace's, of tests/unit"
    assert {row.number for row in ROWS} == set(range(1, 28))
    assert len({row.key for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_an_injection_names_its_fault_and_its_negative_control(row: Row) -> None:
    assert row.fault in BIT
    assert row.blind or row.blind_act
    names = {name.partition(":")[0] for name in (*row.blind, *row.patches)}
    assert names <= {*patches.PATCHES, "mask", "mute", "emulator"}
    assert {name.partition(":")[2] for name in row.blind if ":" in name} <= set(BIT)
    assert {name.partition(":")[2] for name in row.patches if ":" in name} <= set(emulated.FAULTS)


def test_the_page_of_the_faults_is_current() -> None:
    assert handbook.PAGE.read_text(encoding="utf-8") == handbook.build(), "run python -m bench.faults.handbook"


def test_a_fault_that_nothing_raises_is_one_that_is_said_to_be_raised_elsewhere() -> None:
    """Every name of the table is written somewhere in the product besides the table itself."""
    elsewhere = {"driver", "supervisor", "viewer", "nothing"}
    words: set[str] = set()
    for path in (ROOT / "runtime").rglob("*.py"):
        if path.name == "faults.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        words |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    silent = {fault.name for fault in FAULTS if fault.name not in words and fault.detected_by not in elsewhere}
    assert silent <= {"policy_unfit"}


def test_an_unknown_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rows 1 to 27"):
        comparison.run(BenchFaults(out=tmp_path, rows=("28",)))


def test_rows_of_one_folder_are_played_with_the_same_times(tmp_path: Path) -> None:
    simulated, physical = rig_of("sim-x5", physical_times=False), rig_of("sim-x5", physical_times=True)
    assert (physical.command_ttl_ms, physical.state_stale_ms) == (20.0, 25.0)
    assert simulated.command_ttl_ms > physical.command_ttl_ms
    table = comparison._table({"1": {"held": True}}, physical_times=True)
    (tmp_path / "results.json").write_text(json.dumps(table), encoding="utf-8")
    assert comparison._earlier(tmp_path, physical) == {"1": {"held": True}}
    with pytest.raises(UsageError, match="other time limits; give another folder"):
        comparison._earlier(tmp_path, simulated)


def test_the_report_tells_a_row_that_broke_from_one_that_held() -> None:
    row = ROWS[0]
    held = comparison._result(
        row, Finding(detected_ms=25.0, checks={"seen": True}), None, held=True, control_fails=True
    )
    assert held["of_bound"] == 0.5
    broken = comparison._result(row, Finding(checks={"seen": False}), None, held=False, control_fails=False)
    page = report.build_report(comparison._table({"1": held, "2": broken}))
    assert "1 of 2 injections held, 1 of 2 controls fail" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_what_an_injection_changes_is_still_there_to_be_changed(row: Row) -> None:
    """In a process of its own, as in a run: a patch whose target was renamed would blind no detector."""
    names = [name for name in (*row.patches, *row.blind, "count-drops") if name != "netns"]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            patches.apply(names)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_patches_are_named_by_what_they_do() -> None:
    assert all(inspect.isfunction(patch) for patch in patches.PATCHES.values())
    with pytest.raises(KeyError):
        patches.apply(["blind-everything"])
