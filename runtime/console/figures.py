"""The figures of a run's page: matplotlib drawings as SVG whose colours follow the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from runtime.blackbox import Run
from runtime.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from runtime.faults import MILD
from runtime.layout import ARM_SLICE, JOINT_NAMES, RIG_DOF, SIDES
from runtime.states import Mode, Verdict
from runtime.summary import answered, answers, fault_events

INK: Final = "#010203"
FAINT: Final = "#010204"
_THEMED: Final = {INK: "var(--ink)", FAINT: "var(--line)"}
"""Stand-in colours and the page's variables that take their place."""

BLUE: Final = "#3b82f6"
ORANGE: Final = "#f59e0b"
GREEN: Final = "#10b981"
RED: Final = "#ef4444"
GREY: Final = "#8a94a6"
JOINT_COLOURS: Final = ("#3b82f6", "#10b981", "#f59e0b", "#ef4444", "#a855f7", "#06b6d4", "#8a94a6")
MODE_COLOURS: Final[dict[Mode, str]] = {
    Mode.DISARMED: "#8a94a6",
    Mode.HOLD: "#f59e0b",
    Mode.POLICY: "#10b981",
    Mode.TELEOP: "#06b6d4",
    Mode.HANDOVER: "#a855f7",
    Mode.PARK: "#3b82f6",
    Mode.FAULT: "#ef4444",
}
POINTS_MAX: Final = 1500
WINDOW_S: Final = 6.0
SPANS_MAX: Final = 400

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "leadtime",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.xmargin": 0.005,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Give a figure of a size in inches, drawn in the page's style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def svg(figure: Figure) -> str:
    """Return a figure as an inline SVG element in the page's colours."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, variable in _THEMED.items():
        text = text.replace(stand_in, variable)
    # Two decimals are a hundredth of a point; more would only be bytes. Between tags are the numbers that are read.
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0]), text)
    return re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)


def seconds(run: Run, t_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return times as seconds since the run's tick zero."""
    return (t_ns - run.t0_ns) / NS_PER_S


def ahead_ms(run: Run) -> NDArray[np.float64]:
    """Return for each tick how long the actions that are planned last; a stop for want of them is none."""
    ahead: NDArray[np.float64] = np.where(run.ticks["starved"] == 1, 0.0, run.ticks["ahead_ticks"])
    return ahead * (1000.0 / run.spec.rig.policy_hz)


def _thinned(count: int) -> slice:
    return slice(None, None, max(1, count // POINTS_MAX))


def _low_points(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Thin a curve to the lowest value of each stretch, so that no dip is lost; indices and values."""
    width = max(1, len(values) // POINTS_MAX)
    count = len(values) // width
    lowest = values[: count * width].reshape(count, width).argmin(axis=1) + np.arange(count) * width
    return lowest, values[lowest]


def _one_of_each_stretch(indices: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Thin marks at some of `count` points to the first of each stretch."""
    return indices[np.unique(indices // max(1, count // POINTS_MAX), return_index=True)[1]]


def _mode_spans(run: Run) -> Iterator[tuple[Mode, float, float]]:
    modes = run.ticks["mode"]
    times = seconds(run, run.ticks["now_ns"])
    edges = [0, *(np.flatnonzero(np.diff(modes)) + 1).tolist(), len(modes)]
    for start, stop in pairwise(edges):
        yield Mode(int(modes[start])), float(times[start]), float(times[min(stop, len(times) - 1)])


def _legend(axes: Axes) -> None:
    """Put the legend above the axes, where it hides no data."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=8, borderaxespad=0.2)


def _mark_modes(axes: Axes, run: Run) -> None:
    named = set()
    for mode, start_s, stop_s in _mode_spans(run):
        label = None if mode in named else mode.name
        named.add(mode)
        axes.axvspan(start_s, stop_s, color=MODE_COLOURS[mode], alpha=0.13, linewidth=0, label=label)
    for event in fault_events(run):
        axes.axvline(event["t_s"], color=ORANGE if event["action"] in MILD else RED, linewidth=1)


def buffer_figure(run: Run) -> Figure:
    """Planned actions ahead of the arms over time, with each request from asking to answer below."""
    ticks = run.ticks
    with drawing(11, 3.6) as figure:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
        _mark_modes(top, run)
        kept, lowest_ms = _low_points(ahead_ms(run))
        times = seconds(run, ticks["now_ns"])[kept]
        top.plot(times, lowest_ms, color=BLUE, linewidth=1.1, drawstyle="steps-post")
        top.fill_between(times, lowest_ms, color=BLUE, alpha=0.15, step="post", linewidth=0)
        starved = _one_of_each_stretch(np.flatnonzero(ticks["starved"]), len(ticks))
        if len(starved):
            starved_s = seconds(run, ticks["now_ns"][starved])
            top.plot(starved_s, np.zeros(len(starved)), "|", color=RED, label="starved")
        top.set_ylabel("buffer ahead, ms")
        top.set_ylim(bottom=0)
        _legend(top)
        requests = answered(answers(run))
        requests = requests[:: max(1, len(requests) // SPANS_MAX)]
        starts = seconds(run, requests["t_request_ns"])
        widths = (requests["t_received_ns"] - requests["t_request_ns"]) / NS_PER_S
        used = requests["verdict"] == Verdict.USED
        for chosen, colour in ((used, GREEN), (~used, RED)):
            spans = list(zip(starts[chosen].tolist(), widths[chosen].tolist(), strict=True))
            below.broken_barh(spans, (0.15, 0.7), facecolors=colour, linewidth=0)
        below.set(ylim=(0, 1), yticks=[], xlabel="s since tick zero", ylabel="asked")
        below.grid(visible=False)
    return figure


def latency_figure(run: Run) -> Figure:
    """What each answer took, what was forecast for it, and the delay in ticks that it acted with; of a long run the
    slowest of each stretch.
    """
    requests = answers(run)
    period_ms = 1000.0 / run.spec.rig.policy_hz
    came = answered(requests)
    kept, sooner_ms = _low_points((came["t_request_ns"] - came["t_received_ns"]) / NS_PER_MS)
    came = came[kept]
    with drawing(11, 2.8) as figure:
        axes = figure.subplots()
        times = seconds(run, came["t_request_ns"])
        axes.plot(
            times,
            -sooner_ms,
            ".",
            color=BLUE,
            markersize=4,
            label="latency (asked to answered)",
        )
        axes.step(
            times,
            came["delay_ticks"] * period_ms,
            where="post",
            color=GREY,
            linewidth=0.9,
            label="delay, whole ticks",
        )
        axes.step(
            times, came["forecast_ticks"] * period_ms, where="post", color=ORANGE, linewidth=1.2, label="forecast"
        )
        lost = requests[(requests["verdict"] == Verdict.TIMEOUT) | (requests["verdict"] == Verdict.ERROR)]
        if len(lost):
            axes.plot(seconds(run, lost["t_request_ns"]), np.zeros(len(lost)), "x", color=RED, label="no answer")
        top_ms = float(max(axes.dataLim.ymax, 1.0)) if len(requests) else 1.0
        axes.set(xlabel="s since tick zero", ylabel="ms", ylim=(0, top_ms * 1.15))
        _legend(axes)
    return figure


def lateness_figure(run: Run) -> Figure:
    """How late the servo ticks woke and how long they decided, both axes logarithmic."""
    ticks = run.ticks
    late_us = np.maximum((ticks["now_ns"] - ticks["scheduled_ns"]) / NS_PER_US, 0.1)
    decided_us = np.maximum(ticks["compute_ns"] / NS_PER_US, 0.1)
    period_us = 1e6 / run.spec.rig.servo_hz
    with drawing(11, 2.8) as figure:
        axes = figure.subplots()
        top = max(period_us * 1.5, float(late_us.max(initial=1.0)), float(decided_us.max(initial=1.0)))
        bins = np.geomspace(1.0, top, 70).tolist()
        axes.hist(np.clip(late_us, 1.0, None), bins, color=BLUE, alpha=0.75, label="woke late by")
        axes.hist(np.clip(decided_us, 1.0, None), bins, color=GREEN, alpha=0.55, label="decided in")
        axes.axvline(period_us, color=RED, linewidth=1, label="one period")
        axes.set(xscale="log", yscale="log", xlabel="µs", ylabel="ticks")
        _legend(axes)
    return figure


def seam_figure(run: Run) -> Figure:
    """Joint targets of both arms in a window around the middle of POLICY, chunk seams as vertical lines."""
    ticks = run.ticks
    times = seconds(run, ticks["now_ns"])
    middle_s = _middle_s(run)
    shown = np.abs(times - middle_s) <= WINDOW_S / 2
    near, times = ticks[shown], times[shown]
    with drawing(11, 4.6) as figure:
        panels = figure.subplots(len(SIDES), 1, sharex=True)
        for axes, side in zip(panels, SIDES, strict=True):
            for i, joint in enumerate(range(RIG_DOF)[ARM_SLICE[side]]):
                name = JOINT_NAMES[joint].removeprefix(f"{side}_")
                axes.plot(times, near["target"][:, joint], color=JOINT_COLOURS[i], linewidth=1.1, label=name)
            for seam_s in times[near["switched"] == 1]:
                axes.axvline(seam_s, color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
            axes.set_ylabel(f"{side}, rad")
        _legend(panels[0])
        panels[-1].set_xlabel("s since tick zero")
    return figure


def _middle_s(run: Run) -> float:
    times = seconds(run, run.ticks["now_ns"])
    policy = times[run.ticks["mode"] == Mode.POLICY]
    chosen = policy if len(policy) else times
    return float(chosen[len(chosen) // 2]) if len(chosen) else 0.0


def joints_figure(run: Run) -> Figure:
    """Every joint over the whole run: commanded, and measured behind it."""
    kept = run.ticks[_thinned(len(run.ticks) * 2)]
    times = seconds(run, kept["now_ns"])
    measured = kept["arm"]["position"].reshape(len(kept), RIG_DOF)
    fresh = (kept["arm"]["t_ns"] > 0).all(axis=1)
    with drawing(11, 8.5) as figure:
        panels: NDArray[Any] = figure.subplots(RIG_DOF // len(SIDES), len(SIDES), sharex=True)
        for column, side in enumerate(SIDES):
            for row, joint in enumerate(range(RIG_DOF)[ARM_SLICE[side]]):
                axes = panels[row, column]
                axes.plot(times[fresh], measured[fresh, joint], color=ORANGE, linewidth=1.6, alpha=0.6)
                axes.plot(times, kept["command"]["position"][:, joint], color=BLUE, linewidth=0.8)
                axes.set_title(JOINT_NAMES[joint].replace("_", " "), pad=2)
                axes.locator_params(axis="y", nbins=3)
        for axes in panels[-1]:
            axes.set_xlabel("s since tick zero")
    return figure
