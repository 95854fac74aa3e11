"""The page of a run: `report.html` in its folder, written from the black box, self-contained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.blackbox import ForeseenFrame, Run, StoredFrame
from runtime.clock import NS_PER_S
from runtime.console import figures, page
from runtime.faults import FAULTS
from runtime.files import write_text
from runtime.outcomes import episodes
from runtime.states import Mode

FILE_NAME: Final = "report.html"
NONE: Final = "-"
SHEET_FRAMES: Final = 24
SHEET_FRAMES_OTHER: Final = 8


def write_report(run: Run, summary: dict[str, Any]) -> Path:
    """Write the page of a run into its folder and return its path."""
    path = run.run_dir / FILE_NAME
    write_text(path, build_report(run, summary))
    return path


def build_report(run: Run, summary: dict[str, Any]) -> str:
    """Return the page of a run as HTML."""
    spec = run.spec
    verdict, tone = _verdict(summary)
    about = (
        f"policy {spec.policy} · latency {spec.latency} · merge {spec.merge} · seed {spec.seed} · "
        f"{summary['duration_s']:.1f} s"
    )
    blocks = [
        page.header(f"{spec.rig.name} · {spec.task}", about, verdict, tone),
        page.tiles(_tiles(run, summary)),
    ]
    if len(run.ticks):
        blocks += _figures(run)
    blocks += [_faults(summary), *_sheets(run), page.pair(_tables(run, summary))]
    return page.page(f"leadtime: {spec.rig.name}, {spec.task}", blocks)


def _verdict(summary: dict[str, Any]) -> tuple[str, str]:
    decided = summary["successes"] + summary["failures"]
    if not decided:
        return "no episode decided", "warm"
    tone = "good" if summary["success"] else "bad" if not summary["successes"] else "warm"
    return f"{summary['successes']} of {decided} episodes succeeded", tone


def _tiles(run: Run, summary: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    inference, lateness = summary["inference"], summary["wake_lateness_us"]
    ahead_ms = figures.ahead_ms(run)[run.ticks["mode"] == Mode.POLICY]
    lowest_ms = float(ahead_ms.min()) if len(ahead_ms) else None
    yield _shown(summary["ticks_starved"]), "ticks starved in POLICY", _zero_is_good(summary["ticks_starved"])
    yield _shown(lowest_ms, "ms"), "least buffer in POLICY", ""
    yield _shown(inference["latency_ms"]["p50"], "ms"), "answer latency, median", ""
    yield _shown(summary["seam_jump_rad"]["p99"], "rad"), "jump at a seam, p99", ""
    yield _shown(lateness["p99"], "µs"), "tick woke late by, p99", ""
    violations = summary["limit_violations"]
    yield _shown(violations), "limit violations at the device", _zero_is_good(violations)


def _zero_is_good(value: int | None) -> str:
    return "" if value is None else "bad" if value else "good"


def _shown(value: float | None, unit: str = "") -> str:
    if value is None:
        return NONE
    text = f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:.0f}"
    return f"{text} {unit}".strip()


def _figures(run: Run) -> list[str]:
    middle = f"{figures.WINDOW_S:.0f} s around the middle of POLICY; dashed: the first action of a new chunk"
    return [
        page.section(
            "Actions ahead of the arms",
            figures.svg(figures.buffer_figure(run)),
            "The line is the lowest of each stretch. Below: each request from asking to answer, green when used.",
        ),
        page.section(
            "Answer latency and forecast",
            figures.svg(figures.latency_figure(run)),
            "Of a long run the slowest answer of each stretch.",
        ),
        page.section("Joint targets and seams", figures.svg(figures.seam_figure(run)), middle),
        page.section(
            "All joints, whole run",
            figures.svg(figures.joints_figure(run)),
            "Blue: commanded. Orange: measured. Joints in rad, grippers as a fraction of their opening.",
        ),
        page.section("Punctuality of the servo tick", figures.svg(figures.lateness_figure(run))),
    ]


def _faults(summary: dict[str, Any]) -> str:
    events = summary["faults"]
    if not events:
        return page.section("Faults", '<p class="note">None.</p>')
    remedies = {fault.name: fault.remedy for fault in FAULTS}
    rows = [(f"{e['t_s']:.2f} s", e["name"], e["action"], remedies.get(e["name"], "")) for e in events]
    return page.section("Faults", page.table(rows, ("when", "fault", "what was done", "remedy")))


def _sheets(run: Run) -> Iterator[str]:
    began_ns = int(run.ticks["now_ns"][0]) if len(run.ticks) else 0
    for i, (camera, stored) in enumerate(run.frames.items()):
        frames = [frame for frame in stored if frame.t_ns >= began_ns] or stored
        count = min(len(frames), SHEET_FRAMES if i == 0 else SHEET_FRAMES_OTHER)
        chosen = [frames[j] for j in np.linspace(0, len(frames) - 1, count).round().astype(int)]
        images = [(frame.jpeg, f"{(frame.t_ns - run.t0_ns) / NS_PER_S:.1f} s") for frame in chosen]
        yield page.section(camera, page.contact_sheet(images))
    for camera, foreseen in run.foreseen.items():
        pairs = list(_foreseen_and_seen(run, foreseen, run.frames.get(camera, [])))
        if pairs:
            note = "Pictures that the policy foresaw, and after each what the camera saw then."
            yield page.section(f"{camera}, foreseen", page.contact_sheet(pairs), note)


def _foreseen_and_seen(
    run: Run, foreseen: list[ForeseenFrame], frames: list[StoredFrame]
) -> Iterator[tuple[bytes, str]]:
    """Yield predicted pictures over the run with the camera's frame nearest to each; those whose time came."""
    times_ns = np.array([frame.t_ns for frame in frames], dtype=np.int64)
    due = [picture for picture in foreseen if len(frames) and picture.t_ns <= times_ns.max()]
    count = min(len(due), SHEET_FRAMES_OTHER)
    for i in np.linspace(0, len(due) - 1, count).round().astype(int):
        picture = due[i]
        seen = frames[int(np.abs(times_ns - picture.t_ns).argmin())]
        yield picture.jpeg, f"foreseen for {(picture.t_ns - run.t0_ns) / NS_PER_S:.1f} s"
        yield seen.jpeg, f"{(seen.t_ns - run.t0_ns) / NS_PER_S:.1f} s"


def _tables(run: Run, summary: dict[str, Any]) -> Iterator[str]:
    rows = [(key, text) for key, text in _flat(summary) if not key.startswith("faults")]
    yield page.section("Summary", page.table(rows))
    done = episodes(run)
    if done:
        words = {True: "success", False: "failed", None: "undecided"}
        lines = [
            (str(e.number), words[e.success], f"{e.t_s:.1f} s", _shown(e.policy_s, "s"), str(e.seed)) for e in done
        ]
        yield page.section(
            "Episodes", page.table(lines, ("episode", "outcome", "laid out at", "decided after", "seed"))
        )


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", NONE if value is None else str(value)
