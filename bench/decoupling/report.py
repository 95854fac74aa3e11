"""The page of the comparison: `report.html` beside results.json, self-contained."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

from bench.decoupling import charts
from bench.decoupling.charts import Curve
from bench.decoupling.promises import OURS, PUBLISHED, REFERENCE, Cell, Promise, constants, difference, promises
from bench.decoupling.strips import Strip
from runtime.console import page
from runtime.control.merge import MERGES
from runtime.inference.server.latency import LATENCY_PROFILES

FILE_NAME: Final = "report.html"
NONE: Final = "-"
DETAILED: Final = (PUBLISHED, "lognormal")
_STYLE: Final = """
.rates td, .rates th, .full td, .full th { padding: .28rem .3rem; text-align: right; line-height: 1.25; }
.rates td, .full td { white-space: nowrap; } .rates th, .full th { vertical-align: bottom; }
.rates td.key, .full td.key { text-align: left; position: sticky; left: 0; background: var(--card); }
.rates { font-size: .82rem; } .full small { color: var(--soft); font-size: .72rem; } .flag { color: var(--bad); }
.rates small, .rates .flag { display: block; font-size: .68rem; } .rates small { opacity: .75; }
tr.ours td { font-weight: 650; } tr.ours td small { font-weight: 400; } tr.ours td.key { color: var(--ours); }
h3 { font-size: .92rem; margin: 1rem 0 .2rem; font-weight: 600; } nav { margin: 0 0 1rem; } nav a { margin-right: 1rem;
  color: var(--ours); } h2.task { font-size: 1.3rem; margin: 1.6rem 0 .6rem; }
"""
_COLUMNS: Final = (
    ("jerk rms, rad/s³", "jerk_rms"),
    ("action age, ms", "action_age_ms_p50"),
    ("completion, s", "completion_s_p50"),
    ("coverage", "coverage"),
    ("over-provisioned ticks", "overprovision_ticks"),
    ("limit violations", "limit_violations"),
)


def write_report(out: Path, table: dict[str, Any], strips: list[Strip], forecasts_html: str) -> Path:
    """Write the page of results.json into a folder and return its path; `forecasts_html` is put in as it is."""
    path = out / FILE_NAME
    path.write_text(build_report(table, strips, forecasts_html), encoding="utf-8")
    return path


def build_report(table: dict[str, Any], strips: list[Strip], forecasts_html: str) -> str:
    """Return the page as HTML."""
    kept = promises(table)
    blocks = [f"<style>{charts.STYLE}{_STYLE}</style>", *_head(table, kept)]
    for i, (task, found) in enumerate(table["tasks"].items()):
        profiles = found["profiles"]
        zero = table["zero_delay"].get(task, {})
        blocks.append(f'<h2 class="task" id="task-{i}">{escape(task)}</h2>')
        blocks.append(_curves(profiles, zero))
        blocks.append(_rates(profiles, found["episodes"]))
        blocks += [_full(profile, profiles[profile]) for profile in DETAILED if profiles.get(profile)]
    if strips:
        blocks.append(_strips(strips))
    blocks += [forecasts_html, _checklist(kept)]
    return page.page("leadtime: decoupling", blocks)


def _head(table: dict[str, Any], kept: list[Promise]) -> Iterator[str]:
    tasks = table["tasks"]
    merges, profiles = _merges(table), _unique(name for found in tasks.values() for name in found["profiles"])
    held, measured = sum(promise.held is True for promise in kept), sum(promise.held is not None for promise in kept)
    tone = "warm" if not measured else "good" if held == measured else "bad"
    verdict = f"{held} of {measured} measured promises held" if measured else "no promise measured"
    about = "Every way to execute action chunks, under every delay between seeing and acting, in virtual time."
    yield page.header("Decoupling", about, verdict, tone)
    links = [(f"#task-{i}", task) for i, task in enumerate(tasks)]
    yield (
        "<nav>"
        + "".join(f'<a href="{at}">{escape(name)}</a>' for at, name in (*links, ("#promises", "what must come out")))
        + "</nav>"
    )
    episodes = _unique(str(found["episodes"]) for found in tasks.values())
    policies = _unique(str(found["policy"]) for found in tasks.values())
    first, last = table["seeds"]
    rows = [
        ("tasks", ", ".join(tasks) or NONE),
        ("policy", ", ".join(policies) or NONE),
        ("merges", ", ".join(merges) or NONE),
        ("delay processes", ", ".join(profiles) or NONE),
        ("episodes a cell", f"{', '.join(episodes) or NONE}, seeds {first} to {last}, the same in every cell"),
        ("versions", ", ".join(f"{name} {version}" for name, version in table["versions"].items()) or NONE),
    ]
    note = (
        "A column is a delay process: how long after its observation an answer can first move the arms; d=N is N policy"
        " ticks of 20 ms, the other names are delays that change or were published. A figure is over all episodes of"
        " one merge under that delay: success is the share of episodes that reached the goal, with its Wilson 95 %"
        " interval, and starved counts the servo ticks without a planned action."
    )
    yield page.section("What was compared", page.table(rows), note)


def _curves(profiles: dict[str, Any], zero: dict[str, Cell]) -> str:
    rows = {0: zero, **constants(profiles)} if zero else constants(profiles)
    curves = []
    for merge in _unique(merge for row in rows.values() for merge in row):
        cells = [(ticks, row.get(merge, {})) for ticks, row in rows.items()]
        points = tuple(
            (ticks, cell["success"], *(cell.get("ci95") or (cell["success"], cell["success"])))
            for ticks, cell in cells
            if cell.get("success") is not None
        )
        if points:
            curves.append(Curve(merge, _kind(merge), points))
    if not curves:
        return page.section("Success against constant delay", '<p class="note">Not measured.</p>')
    note = (
        "Shaded: the 95 % interval of leadtime, aligned and sync; point at another line for its own. Dashed: other"
        " projects' code. The figure at a name is the success at the line's last delay."
    )
    return page.section("Success against constant delay", charts.success_chart(curves), note)


def _kind(merge: str) -> str:
    kinds = {OURS: "ours", REFERENCE: "aligned", "sync": "sync"}
    return kinds.get(merge, "other" if merge in MERGES else "peer")


def _rates(profiles: dict[str, Any], episodes: int) -> str:
    steady = [name for name in profiles if name.startswith("d=")]
    published = [name for name in profiles if name in LATENCY_PROFILES]
    changing = [name for name in profiles if name not in steady and name not in published]
    groups = (("Constant delays", steady), ("Delays that change", changing), ("Published delays", published))
    parts = [
        f"<h3>{title}</h3>{_rate_table({name: profiles[name] for name in names})}" for title, names in groups if names
    ]
    note = (
        f"{episodes} episodes a cell, 95 % interval below. ● best of its column; ○ not significantly worse than"
        " the best: Newcombe's 95 % interval of the difference of two proportions holds zero, not corrected for the"
        " number of comparisons."
    )
    return page.section("Success", "".join(parts) or '<p class="note">Not measured.</p>', note)


def _rate_table(profiles: dict[str, dict[str, Cell]]) -> str:
    merges = _ours_first(_unique(merge for row in profiles.values() for merge in row))
    best = {
        name: max((cell for cell in row.values() if cell.get("success") is not None), key=_success, default={})
        for name, row in profiles.items()
    }
    head = "<tr><th></th>" + "".join(f"<th>{escape(name)}</th>" for name in profiles) + "</tr>"
    body = "".join(
        _row(merge, (_rate(row.get(merge, {}), best[name]) for name, row in profiles.items())) for merge in merges
    )
    return f'<table class="rates">{head}{body}</table>'


def _rate(cell: Cell, best: Cell) -> str:
    rate = cell.get("success")
    if rate is None:
        return f"<td>{NONE}</td>"
    behind = difference(cell, best)
    close = behind is not None and not behind.significant
    mark = " ●" if rate == best["success"] else " ○" if close else ""
    starved = f'<span class="flag">starved {cell["starved"]:g}</span>' if cell.get("starved") else ""
    shade = f"background: rgba(0, 125, 190, {0.34 * rate * rate:.3f})"
    return f'<td style="{shade}">{rate:.3f}{mark}<small>{_interval(cell)}</small>{starved}</td>'


def _full(profile: str, row: dict[str, Cell]) -> str:
    theirs_rad = row.get(REFERENCE, {}).get("seam_jump_rad_p99")
    names = ("success", "starved", "seam p50, rad", "seam p99, rad", f"p99 / {REFERENCE}'s")
    head = (
        "<tr><th></th>" + "".join(f"<th>{escape(name)}</th>" for name in (*names, *(c[0] for c in _COLUMNS))) + "</tr>"
    )
    body = "".join(_row(merge, _full_cells(row[merge], theirs_rad)) for merge in _ours_first(list(row)))
    note = (
        "A seam is the largest joint step at a change of chunk beyond what the old chunk's own velocity explains."
        " Action age and completion are medians, completion over the episodes that succeeded. Coverage is the share"
        " of answers that came within their forecast, over-provisioned what those forecasts waited too long."
    )
    return page.section(f"All figures under {profile}", f'<table class="full">{head}{body}</table>', note)


def _full_cells(cell: Cell, theirs_rad: float | None) -> Iterator[str]:
    rate = cell.get("success")
    yield f"<td>{NONE if rate is None else f'{rate:.3f}'} <small>{_interval(cell)}</small></td>"
    starved = cell.get("starved")
    yield f'<td class="{"flag" if starved else ""}">{_number(starved)}</td>'
    yield f"<td>{_number(cell.get('seam_jump_rad_p50'))}</td>"
    jump_rad = cell.get("seam_jump_rad_p99")
    yield f"<td>{_number(jump_rad)}</td>"
    yield f"<td>{_number(jump_rad / theirs_rad if jump_rad is not None and theirs_rad else None)}</td>"
    for _, key in _COLUMNS:
        yield f"<td>{_number(cell.get(key))}</td>"


def _strips(strips: list[Strip]) -> str:
    values = [charts.positions(strip) for strip in strips]
    span_rad = 1.1 * max(0.05, *(max(seen) - min(seen) for seen in values))
    order = sorted(strips, key=lambda strip: strip.merge != OURS)
    rows = "".join(
        f"<h3>{escape(strip.merge)}: {escape(strip.joint)}, seam of {_number(strip.jump_rad)} rad</h3>"
        f"{charts.strip_chart(strip, span_rad)}"
        for strip in order
    )
    note = (
        f"The largest seam of one episode of each merge under {PUBLISHED}, on the joint that jumps the most; every"
        " panel has the same scale. Black: commanded so far, up to now (orange). Blue: planned then, a dot for each"
        " policy tick. Dashed grey: the plan just before the seam."
    )
    return page.section("What happens at a seam", rows, note)


def _checklist(kept: list[Promise]) -> str:
    words = {True: ("yes", "good"), False: ("no", "bad"), None: ("not measured", "warm")}
    rows = "".join(
        f'<tr><td class="key">{escape(promise.task)}</td><td>{escape(promise.text)}</td>'
        f'<td class="{words[promise.held][1]}"><b>{words[promise.held][0]}</b></td>'
        f"<td>{escape(promise.figures)}</td></tr>"
        for promise in kept
    )
    head = "<tr><th>task</th><th>leadtime</th><th>held</th><th>figures</th></tr>"
    note = (
        "Computed from the table. A limit on success is held against the measured rates; the interval says what the"
        " number of episodes can tell. Comparisons with the other merges are each at 95 %: among equals about one in"
        " forty would come out below."
    )
    content = f"<table>{head}{rows}</table>" if kept else '<p class="note">Not measured.</p>'
    return f'<div id="promises">{page.section("What must come out", content, note)}</div>'


def _row(merge: str, cells: Iterator[str]) -> str:
    ours = ' class="ours"' if merge == OURS else ""
    return f'<tr{ours}><td class="key">{escape(merge)}</td>{"".join(cells)}</tr>'


def _merges(table: dict[str, Any]) -> list[str]:
    rows = [row for found in table["tasks"].values() for row in found["profiles"].values()]
    return _ours_first(_unique(merge for row in rows for merge in row))


def _ours_first(merges: list[str]) -> list[str]:
    return sorted(merges, key=lambda merge: merge != OURS)


def _unique(names: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _success(cell: Cell) -> float:
    return float(cell["success"])


def _interval(cell: Cell) -> str:
    low_high = cell.get("ci95")
    return f"{low_high[0]:.2f}&ndash;{low_high[1]:.2f}" if low_high else ""


def _number(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
