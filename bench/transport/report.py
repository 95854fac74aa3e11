"""The page of the comparison: `report.html` beside results.json, self-contained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from runtime.console import figures, page

FILE_NAME: Final = "report.html"
WORDS: Final = {True: "met", False: "missed", None: ""}
LINKS: Final = {"host": "one host", "gigabit": "emulated 1 Gbit/s"}


def write_report(out: Path, results: dict[str, Any]) -> Path:
    """Write the page of results.json into a folder and return its path."""
    path = out / FILE_NAME
    path.write_text(build_report(results), encoding="utf-8")
    return path


def build_report(results: dict[str, Any]) -> str:
    """Return the page as HTML."""
    ratios = results["ratios"]
    aims = [ratio["met"] for ratio in ratios if ratio["met"] is not None]
    tone = "warm" if not aims else "good" if all(aims) else "bad"
    verdict = f"{sum(aims)} of {len(aims)} ratios as wanted" if aims else "nothing to compare with"
    sent = results["payload"]
    about = (
        f"{sent['cameras']} pictures of {sent['picture'][1]}x{sent['picture'][0]} and the joints there, "
        f"a chunk of {sent['reply'][0]}x{sent['reply'][1]} back, a policy that takes no time, two processes."
    )
    note = (
        "Every contender runs its own server and client, and all take turns. LeRobot's server holds each answer back to"
        " 1/30 s unless it is told not to; both are shown. The emulated link lets the bytes of each direction through"
        " at 1 Gbit/s and adds nothing else. Machines are noisy: read the ratios within this run."
    )
    blocks = [page.header("Transport", about, verdict, tone), page.tiles(_tiles(results))]
    blocks.append(page.section("From the pictures to the chunk", figures.svg(_figure(results["contenders"])), note))
    blocks.append(page.section("Every contender", _table(results)))
    blocks.append(page.section("Ours against theirs", _ratios(ratios)))
    host = results.get("host", {})
    blocks.append(page.section("Where", page.table([(key, str(value)) for key, value in host.items()])))
    return page.page("leadtime: transport", blocks)


def _tiles(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (
            f"{ratio['ratio']:.3f}",
            f"of {ratio['theirs']}" + ("" if ratio["most"] is None else f"; at most {ratio['most']:.3g}"),
            {True: "good", False: "bad", None: ""}[ratio["met"]],
        )
        for ratio in results["ratios"]
    ]


def _figure(rows: dict[str, Any]) -> Figure:
    with figures.drawing(11, 0.45 * len(rows) + 1.0) as figure:
        axes = figure.subplots()
        for i, (name, row) in enumerate(reversed(rows.items())):
            colour = figures.GREEN if name.startswith("leadtime") else figures.GREY
            axes.barh(i, row["p50_ms"], color=colour, height=0.6)
            axes.plot([row["p50_ms"], row["p99_ms"]], [i, i], color=figures.ORANGE, linewidth=1.4)
            axes.plot(row["p99_ms"], i, "|", color=figures.ORANGE, markersize=9)
        labels = [f"{row['label']}, {LINKS[row['link']]}" for row in reversed(rows.values())]
        axes.set_yticks(range(len(rows)), labels)
        least_ms = min((row["p50_ms"] for row in rows.values()), default=1.0)
        axes.set(xscale="log", xlim=(least_ms / 4, None), xlabel="ms a request: bar to the median, line to p99")
        axes.grid(visible=False, axis="y")
    return figure


def _table(results: dict[str, Any]) -> str:
    rows = [
        (
            f"{row['label']}, {LINKS[row['link']]}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            str(row["requests"]),
            _spent(row["server_outside_model_ms"]),
            f"{row['link_bytes_per_request'] / 1e3:.0f} kB" if row["link"] == "gigabit" else "",
            row["note"],
        )
        for row in results["contenders"].values()
    ]
    rows += [(name, "not measured", reason, "", "", "", "") for name, reason in results["absent"].items()]
    heads = (
        "contender",
        "p50 ms",
        "p99 ms",
        "requests",
        "server outside the model",
        "a request over the link",
        "pictures",
    )
    return page.table(rows, heads)


def _spent(outside: dict[str, float] | None) -> str:
    return "" if outside is None else f"p50 {outside['p50']:.2f}, p99 {outside['p99']:.2f} ms"


def _ratios(ratios: list[dict[str, Any]]) -> str:
    rows = [
        (
            f"{ratio['ours']} / {ratio['theirs']}",
            f"{ratio['ratio']:.3f}",
            f"{ratio['by_round'][0]:.3f} to {ratio['by_round'][1]:.3f}",
            "" if ratio["most"] is None else f"{ratio['most']:.3g}",
            WORDS[ratio["met"]],
        )
        for ratio in ratios
    ]
    return page.table(rows, ("medians of", "ratio", "by round", "at most", ""))
