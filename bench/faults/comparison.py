"""`leadtime bench faults`: every row of the fault table injected into whole runs, and its negative control."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.faults.expect import Finding
from bench.faults.report import write_report
from bench.faults.session import play, rig_of
from bench.faults.table import ROWS, Row
from bench.say import say
from runtime.cli import BenchFaults
from runtime.config import RigConfig
from runtime.errors import LeadtimeError, UsageError
from runtime.faults import FAULTS
from runtime.files import make_folder, replace_text

RIG: Final = "sim-x5"
"""Its times are the report's; the emulated rigs have the same."""
QUICK: Final = ("4", "9", "12", "14")
"""Rows of the quick bench: the wire, the client, the guardians, the control process."""


def run(command: BenchFaults) -> int:
    """Play the rows, leave results.json and report.html; 1 where a row does not hold or its control does not fail."""
    chosen = list(_chosen(command))
    if not 0.0 <= command.limit_s < math.inf:
        raise UsageError(f"--limit-s {command.limit_s:g}: give a number of seconds, or 0 for no limit")
    make_folder(command.out)
    results = _earlier(command.out, rig_of(RIG, physical_times=command.physical_times)) if command.rows else {}
    began_s = time.monotonic()
    for row in chosen:
        if command.limit_s and time.monotonic() - began_s > command.limit_s:
            break
        results[row.key] = _judge(row, command)
        table = _table(results, physical_times=command.physical_times)
        # It has the rows of earlier calls too.
        replace_text(command.out / "results.json", json.dumps(table, indent=2) + "\n")
    table = _table(results, physical_times=command.physical_times)
    say(f"report: {write_report(command.out, table)}")
    return int(any(result["held"] is False or result["control_fails"] is False for result in results.values()))


def _chosen(command: BenchFaults) -> Iterable[Row]:
    keys = command.rows or (QUICK if command.quick else tuple(row.key for row in ROWS))
    for key in keys:
        rows = [row for row in ROWS if key in {row.key, str(row.number)}]
        if not rows:
            raise UsageError(f"--rows {key}: the fault table has rows 1 to 27; give their numbers")
        yield from rows


def _earlier(out: Path, rig: RigConfig) -> dict[str, Any]:
    """Return the results of rows that an earlier call left here: rows may be played a few at a time."""
    path = out / "results.json"
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, Any] = table["rows"]
        times = table["rig"]
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"{path}: holds no rows of this benchmark; give another --out") from None
    if times != _times(rig):
        raise UsageError(f"--out {out}: its rows were played with other time limits; give another folder")
    return found


def _judge(row: Row, command: BenchFaults) -> dict[str, Any]:
    found = _played(row, command, blind=False)
    held = bool(found.checks) and all(found.checks.values()) if found.checks or not found.note else None
    control = control_fails = None
    if (row.blind or row.blind_act) and not command.without_controls:
        control = _played(row, command, blind=True)
        control_fails = not all(control.checks.values()) if control.checks else None
    said = "held" if held else "not injected" if held is None else "BROKEN"
    failed = [name for name, kept in found.checks.items() if not kept]
    blind = {None: "no control", True: "its control fails", False: "ITS CONTROL HOLDS TOO"}[control_fails]
    say(f"{row.key:4} {row.title}: {said} {failed or ''} ({_time(row, found)}); {blind}; {found.note}")
    return _result(row, found, control, held=held, control_fails=control_fails)


def _played(row: Row, command: BenchFaults, *, blind: bool) -> Finding:
    try:
        return play(row, command.out, blind=blind, physical_times=command.physical_times)
    except LeadtimeError as error:
        return Finding(checks={"the run": False}, note=str(error))


def _time(row: Row, found: Finding) -> str:
    if found.detected_ms is None:
        return "no time"
    bound = "" if row.bound_ms is None else f", {found.detected_ms / row.bound_ms:.2f} of its bound"
    return f"seen after {found.detected_ms:.0f} ms{bound}"


def _result(
    row: Row, found: Finding, control: Finding | None, *, held: bool | None, control_fails: bool | None
) -> dict[str, Any]:
    entry = next(fault for fault in FAULTS if fault.name == row.fault)
    ratio = None if found.detected_ms is None or row.bound_ms is None else round(found.detected_ms / row.bound_ms, 3)
    return {
        "number": row.number,
        "title": row.title,
        "injection": row.injection,
        "fault": row.fault,
        "action": entry.action,
        "bound_ms": row.bound_ms,
        "of_bound": ratio,
        "held": held,
        **asdict(found),
        "control": None if control is None else {"blind": list(row.blind) or ["a patched second"], **asdict(control)},
        "control_fails": control_fails,
    }


def _table(results: dict[str, Any], *, physical_times: bool = False) -> dict[str, Any]:
    order = [row.key for row in ROWS]
    return {
        "rows": {key: results[key] for key in order if key in results},
        "rig": _times(rig_of(RIG, physical_times=physical_times)),
        "host": {"machine": platform.machine(), "kernel": platform.release(), "processors": os.cpu_count()},
    }


def _times(rig: RigConfig) -> dict[str, Any]:
    return {
        "name": rig.name,
        "command_ttl_ms": rig.command_ttl_ms,
        "state_stale_ms": rig.state_stale_ms,
        "request_deadline_ms": rig.request_deadline_ms,
    }
