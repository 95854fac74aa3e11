"""The comparison of forecasts as blocks of a page: what each way covers at what price, and how it follows changes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.decoupling.estimators import OURS
from bench.decoupling.profiles import TICK_MS
from runtime.console import figures, page

COLUMNS: Final = 4
COLOURS: Final = (
    figures.GREY,
    figures.RED,
    figures.ORANGE,
    "#a855f7",
    "#06b6d4",
    "#84cc16",
    figures.GREEN,
    figures.BLUE,
)
LOWEST: Final = 0.90
WIDEST: Final = 2.0
"""Less coverage than this, and more over-provisioning than ours this many times, is drawn at the edge."""
TRACED: Final = ("max of 10", "p95", "conformal", OURS)
NOTE: Final = (
    "First line: coverage and over-provisioned ticks a request, bold for the least among those that hold the target. "
    "Second line: requests until a rise was covered / until a fall was followed to 20 % and a tick above the ideal, "
    "and the longest row of misses in any run."
)


def write_section(results: dict[str, Any]) -> str:
    """Return the blocks as HTML, from what `forecasts.compare` returns."""
    target = float(results["coverage_target"])
    about = (
        f"{results['runs']} runs of {results['requests']} requests for each process, seed {results['seed']}; "
        f"target {target:.0%}; a tick is {TICK_MS} ms. Up and to the left is better; what lies beyond is at the edge."
    )
    return "\n".join(
        (
            page.section("Forecasts of the delay: coverage against over-provisioning", _map(results, target), about),
            page.section("How they follow a change", _traces(results), "Delays as dots, forecasts as lines."),
            page.section("Figures", _table(results, target), NOTE),
            page.section("The ways", page.table(list(results["ways"].items()))),
        )
    )


def _map(results: dict[str, Any], target: float) -> str:
    processes = results["processes"]
    rows = -(-len(processes) // COLUMNS)
    figure = Figure(figsize=(11, 2.3 * rows), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, (name, process) in zip(panels, processes.items(), strict=False):
        right = WIDEST * max(float(process["ways"][OURS]["overprovision_ticks"]), 1.0)
        axes.axhline(target, color=figures.GREEN, linewidth=0.8)
        for colour, (way, found) in zip(COLOURS, process["ways"].items(), strict=True):
            coverage = max(float(found["coverage"]), LOWEST)
            marker, size = ("*", 11) if way == OURS else ("o", 5)
            surplus_ticks = min(float(found["overprovision_ticks"]), right)
            axes.plot(surplus_ticks, coverage, marker, color=colour, markersize=size, label=way, clip_on=False)
        axes.set(ylim=(LOWEST, 1.005), xlim=(-0.03 * right, right))
        _dress(axes, name)
    for axes in panels[len(processes) :]:
        axes.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=8, frameon=False, labelcolor=figures.INK, fontsize=8
    )
    figure.supxlabel("over-provisioned ticks a request", color=figures.INK, fontsize=9)
    figure.supylabel("coverage", color=figures.INK, fontsize=9)
    return figures.svg(figure)


def _traces(results: dict[str, Any]) -> str:
    shown = results["shown"]
    figure = Figure(figsize=(11, 2.2 * max(len(shown), 1)), layout="constrained")
    panels = figure.subplots(max(len(shown), 1), 1, squeeze=False).flat
    colours = dict(zip(results["ways"], COLOURS, strict=True))
    for axes, (name, run) in zip(panels, shown.items(), strict=False):
        delays = run["delays"]
        top = sorted(delay for delay in delays if delay is not None)[-max(len(delays) // 50, 2)] * 3.0
        kept = [(i, min(delay, top)) for i, delay in enumerate(delays) if delay is not None]
        axes.plot(*zip(*kept, strict=True), ".", color=figures.INK, markersize=2.5)
        for way in TRACED:
            line = [min(forecast, top) for forecast in run["forecasts"][way]]
            axes.plot(line, color=colours[way], linewidth=1.8 if way == OURS else 1.0, label=way, drawstyle="steps-mid")
        axes.set(ylim=(0.0, top * 1.03), ylabel="ticks")
        _dress(axes, name)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=8, frameon=False, labelcolor=figures.INK, fontsize=8
    )
    figure.supxlabel("request", color=figures.INK, fontsize=9)
    return figures.svg(figure)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9, loc="left", color=figures.INK)
    axes.tick_params(labelsize=7, labelcolor=figures.INK, color=figures.FAINT)
    axes.yaxis.label.set_color(figures.INK)
    axes.grid(color=figures.FAINT, linewidth=0.5)
    axes.set_facecolor("none")
    for edge in axes.spines.values():
        edge.set_color(figures.FAINT)


def _table(results: dict[str, Any], target: float) -> str:
    ways = list(results["ways"])
    head = "".join(f"<th>{escape(way)}</th>" for way in ("process", *ways))
    rows = "".join(_row(name, process, ways, target) for name, process in results["processes"].items())
    return f"<table><tr>{head}</tr>{rows}</table>"


def _row(name: str, process: dict[str, Any], ways: Sequence[str], target: float) -> str:
    cells = "".join(_cell(process["ways"][way], way == process["cheapest"], target) for way in ways)
    return f'<tr><td class="key" title="{escape(process["about"])}">{escape(name)}</td>{cells}</tr>'


def _cell(found: dict[str, Any], cheapest: bool, target: float) -> str:
    tone = "good" if found["coverage"] >= target else "bad"
    first = f'<span class="{tone}">{100 * found["coverage"]:.1f} %</span> {found["overprovision_ticks"]:.1f}'
    if cheapest:
        first = f"<b>{first}</b>"
    rise, fall = ("-" if found[key] is None else f"{found[key]:.1f}" for key in ("rise_requests", "fall_requests"))
    return f"<td>{first}<br><small>{rise} / {fall}, {found['misses_in_a_row']}</small></td>"
