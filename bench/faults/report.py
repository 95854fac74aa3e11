"""The page of the fault bench: `report.html` beside results.json, self-contained."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Final

from runtime.console import page
from runtime.faults import FAULTS

FILE_NAME: Final = "report.html"
NONE: Final = "-"
_STYLE: Final = "<style>td.bad, b.bad { color: var(--bad); } .faults td { font-size: .85rem; }</style>"
_HEAD: Final = (
    "row",
    "injected",
    "held",
    "seen, ms",
    "of its bound",
    "stands, ms",
    "back, s",
    "negative control",
    "note",
)


def write_report(out: Path, table: dict[str, Any]) -> Path:
    """Write the page into a folder and return its path."""
    path = out / FILE_NAME
    path.write_text(build_report(table), encoding="utf-8")
    return path


def build_report(table: dict[str, Any]) -> str:
    """Return the page as HTML."""
    rows = table["rows"]
    played = {key: row for key, row in rows.items() if row["held"] is not None}
    held = sum(row["held"] for row in played.values())
    controls = [row["control_fails"] for row in played.values() if row["control_fails"] is not None]
    good = held == len(played) and all(controls)
    verdict = f"{held} of {len(played)} injections held, {sum(controls)} of {len(controls)} controls fail"
    about = "Each fault injected into a whole run of the simulated rig: real processes, real sockets, real time."
    rig = table["rig"]
    note = (
        f"The bound is what is promised of a physical rig with the default times. In these runs commands live"
        f" {rig['command_ttl_ms']:.0f} ms and feedback may be {rig['state_stale_ms']:.0f} ms old (the simulated rigs"
        " have 60 and 80, because a shared machine can stand still for tens of milliseconds). A request's deadline is"
        f" {rig['request_deadline_ms']:.0f} ms."
        " The negative control is the same injection with the detector switched off: it must not hold."
    )
    blocks = [
        _STYLE,
        page.header("Faults", about, verdict, "good" if good else "bad"),
        page.section("Injections", f'<div class="faults">{_rows(rows)}</div>', note),
        page.section("What was checked", page.table(_checks(rows), ("row", "check", "held"))),
        page.section(
            "The table", page.table(_entries(), ("row", "fault", "detected by", "action", "clears", "remedy"))
        ),
    ]
    return page.page("leadtime: faults", blocks)


def _rows(rows: dict[str, Any]) -> str:
    cells = []
    for key, row in rows.items():
        held = {None: NONE, True: "yes", False: "NO"}[row["held"]]
        control = {None: NONE, True: "fails, as it must", False: "HOLDS"}[row["control_fails"]]
        times = (row["detected_ms"], row["of_bound"], row["stopped_ms"], row["cleared_s"])
        shown = (NONE if value is None else f"{value:g}" for value in times)
        cells.append((f"{key} {row['title']}", row["injection"], held, *shown, control, row["note"] or ""))
    return page.table(cells, _HEAD)


def _checks(rows: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (f"{key} {row['title']}", name, "yes" if kept else "NO")
        for key, row in rows.items()
        for name, kept in row["checks"].items()
    ]


def _entries() -> list[tuple[str, ...]]:
    ordered = sorted(FAULTS, key=lambda fault: fault.number)
    return [(str(f.number), escape(f.name), f.detected_by, f.action, f.clears, f.remedy) for f in ordered]
