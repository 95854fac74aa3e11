"""The charts of the comparison as inline SVG in the page's colours: success against delay, and seams as strips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bench.decoupling.profiles import TICK_MS
from bench.decoupling.strips import Moment, Strip

STYLE: Final = """
:root { --ours: #0072b2; --aligned: #d55e00; --sync: #00875f; --thin-0: #a8558a; --thin-1: #3d94c9;
  --thin-2: #8d7a00; --thin-3: #8089a0; }
@media (prefers-color-scheme: dark) { :root { --ours: #56b4f5; --aligned: #ff8a45; --sync: #2fd0a0;
  --thin-0: #d98fc0; --thin-1: #7cc4ea; --thin-2: #d6c24a; --thin-3: #98a4b6; } }
.chart text { font-size: 12px; fill: var(--ink); } .chart .axis { fill: var(--soft); }
.chart .grid { stroke: var(--line); stroke-width: 1; } .chart .mark { stroke: var(--ink); stroke-dasharray: 2 4; }
.curve path { fill: none; stroke-width: 1.3; stroke-linejoin: round; } .curve .band { stroke: none; opacity: .13; }
.curve .lead { stroke-width: .8; opacity: .7; } .curve.peer .run { stroke-dasharray: 6 4; }
.curve.main .run { stroke-width: 2.4; } .curve.ours .run { stroke-width: 4; } .curve.ours text { font-weight: 700; }
.curve .bars { opacity: 0; } .curve:hover .bars { opacity: 1; } .curve:hover .run { stroke-width: 4; }
.strip text { font-size: 11px; fill: var(--soft); } .strip .frame { fill: none; stroke: var(--line); }
.strip .ghost { fill: none; stroke: var(--soft); stroke-width: 1.6; stroke-dasharray: 3 3; }
.strip .done { fill: none; stroke: var(--ink); stroke-width: 2; } .strip .plan { fill: none; stroke: var(--ours);
  stroke-width: .6; } .strip .dots { fill: none; stroke: var(--ours); stroke-width: 2.4; stroke-linecap: round; }
.strip .now { stroke: var(--aligned); } .strip .seam { stroke: var(--line); stroke-dasharray: 2 3; }
"""
MARK_TICKS: Final = 18
"""The delay the comparison is about: 360 ms."""
_MAIN: Final = {"ours": "--ours", "aligned": "--aligned", "sync": "--sync"}
_THIN: Final = 4
_WIDTH, _HEIGHT = 1120.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 190.0, 26.0, 62.0
_LABEL_GAP: Final = 16.0
_PANEL_WIDTH, _PANEL_HEIGHT, _PANEL_GAP, _PANEL_TOP = 172.0, 104.0, 8.0, 18.0
_PANEL_LEFT: Final = 52.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A merge's success over the delay: (ticks, rate, low, high) rising; kind is ours, aligned, sync, peer or other."""

    name: str
    kind: str
    points: tuple[tuple[int, float, float, float], ...]


def success_chart(curves: Sequence[Curve]) -> str:
    """Return the chart of a task: every curve with its name at its right end, ours on top."""
    last = max(1, *(curve.points[-1][0] for curve in curves))
    order = sorted(curves, key=lambda curve: (-curve.points[-1][1], curve.kind != "ours"))
    heights = spread([_y(curve.points[-1][1]) for curve in order], _LABEL_GAP, _TOP, _HEIGHT - _BOTTOM)
    labels = {curve.name: height for curve, height in zip(order, heights, strict=True)}
    thin = [curve.name for curve in curves if curve.kind not in _MAIN]
    drawn = []
    for curve in sorted(curves, key=lambda curve: ("other", "peer", "sync", "aligned", "ours").index(curve.kind)):
        colour = _MAIN.get(curve.kind) or f"--thin-{thin.index(curve.name) % _THIN}"
        drawn.append(_curve(curve, f"var({colour})", last, labels[curve.name]))
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img"'
        f' aria-label="success against constant delay">{_axes(last)}{"".join(drawn)}</svg>'
    )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return heights at least `gap` apart, near the wanted ones (rising) and between `low` and `high`.

    Neighbours that are too close share the room around their mean (pool adjacent violators); where all do not fit, the
    gap shrinks until they do.
    """
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    pools: list[tuple[float, int]] = []
    for i, height in enumerate(wanted):
        mean, count = height - i * gap, 1
        while pools and pools[-1][0] > mean:
            other, n = pools.pop()
            mean, count = (mean * count + other * n) / (count + n), count + n
        pools.append((mean, count))
    free = [mean for mean, count in pools for _ in range(count)]
    top = high - (len(wanted) - 1) * gap
    return [min(max(height, low), top) + i * gap for i, height in enumerate(free)]


def _x(ticks: float, last: int) -> float:
    return _LEFT + 8 + (_WIDTH - _LEFT - _RIGHT - 8) * ticks / last


def _y(rate: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - rate)


def _axes(last: int) -> str:
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for i in range(6):
        y = _y(i / 5)
        parts.append(f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{right:g}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{i / 5:.1f}", "axis", "end"))
    for ticks in range(0, last + 1, max(2, -(-last // 24) * 2)):
        x = _x(ticks, last)
        parts.append(_text(x, base + 18, str(ticks), "axis", "middle"))
        parts.append(_text(x, base + 34, f"{ticks * TICK_MS}", "axis", "middle"))
    parts.append(_text(_LEFT - 8, base + 18, "ticks", "axis", "end"))
    parts.append(_text(_LEFT - 8, base + 34, "ms", "axis", "end"))
    middle = "constant delay from observation to the first action it can change"
    parts.append(_text((_LEFT + right) / 2, base + 54, middle, "axis", "middle"))
    parts.append(_text(_LEFT - 8, _TOP - 12, "success", "axis", "middle"))
    if last >= MARK_TICKS:
        x = _x(MARK_TICKS, last)
        parts.append(f'<path class="mark" d="M{x:.1f} {_TOP - 6:g}V{base:g}"/>')
        parts.append(_text(x, _TOP - 12, f"{MARK_TICKS * TICK_MS} ms", "axis", "middle"))
    return "".join(parts)


def _curve(curve: Curve, colour: str, last: int, label_y: float) -> str:
    points = [(_x(ticks, last), rate, low, high) for ticks, rate, low, high in curve.points]
    run = _path((x, _y(rate)) for x, rate, _, _ in points)
    if curve.kind in _MAIN:
        edge = [(x, _y(high)) for x, _, _, high in points] + [(x, _y(low)) for x, _, low, _ in reversed(points)]
        ranges = f'<path class="band" style="fill:{colour}" d="{_path(edge)}Z"/>'
    else:
        bars = "".join(f"M{x:.1f} {_y(low):.1f}V{_y(high):.1f}" for x, _, low, high in points)
        ranges = f'<path class="bars" stroke="{colour}" d="{bars}"/>'
    radius = {"ours": 4.5, "other": 1.8, "peer": 1.8}.get(curve.kind, 3.2)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{_y(rate):.1f}" r="{radius:g}"/>' for x, rate, _, _ in points)
    end_x, end_y, label_x = points[-1][0], _y(points[-1][1]), _WIDTH - _RIGHT + 26
    lead = _path([(end_x, end_y), (_WIDTH - _RIGHT + 6, end_y), (label_x - 4, label_y)])
    name = f"{curve.name} {points[-1][1]:.3f}"
    kind = f"{curve.kind} main" if curve.kind in _MAIN else curve.kind
    return (
        f'<g class="curve {kind}"><title>{escape(curve.name)}</title>{ranges}'
        f'<path class="lead" stroke="{colour}" d="{lead}"/><path class="run" stroke="{colour}" d="{run}"/>'
        f'<g style="fill:{colour}">{dots}<circle cx="{label_x + 2:g}" cy="{label_y:.1f}" r="3.5"/></g>'
        f"{_text(label_x + 10, label_y + 4, name)}</g>"
    )


def strip_chart(strip: Strip, span_rad: float) -> str:
    """Return a strip as a row of panels, all of the same window of time and of `span_rad` in height."""
    values = positions(strip)
    bottom = (min(values) + max(values) - span_rad) / 2
    times = [t_s for moment in strip.moments for t_s, _ in (*moment.executed, *moment.planned)]
    window = (min(times), max(*times, min(times) + 1e-3))
    before = [moment for moment in strip.moments if moment.t_s < 0.0]
    panels = []
    for i, moment in enumerate(strip.moments):
        ghost = before[-1].planned if before and moment.t_s >= 0.0 else ()
        panels.append(_panel(moment, ghost, _PANEL_LEFT + i * (_PANEL_WIDTH + _PANEL_GAP), window, (bottom, span_rad)))
    ends = "".join(
        _text(_PANEL_LEFT - 6, y, f"{value:.2f}", anchor="end")
        for y, value in ((_PANEL_TOP + 10, bottom + span_rad), (_PANEL_TOP + _PANEL_HEIGHT, bottom))
    )
    width = _PANEL_LEFT + len(strip.moments) * (_PANEL_WIDTH + _PANEL_GAP)
    unit = _text(_PANEL_LEFT - 6, _PANEL_TOP + _PANEL_HEIGHT / 2 + 4, "rad", anchor="end")
    return (
        f'<svg class="strip" viewBox="0 0 {width:g} {_PANEL_TOP + _PANEL_HEIGHT + 2:g}" role="img"'
        f' aria-label="{escape(strip.merge)} at a seam">{ends}{unit}{"".join(panels)}</svg>'
    )


def positions(strip: Strip) -> list[float]:
    """Return every position of a strip, rad."""
    return [rad for moment in strip.moments for _, rad in (*moment.executed, *moment.planned)]


def _panel(
    moment: Moment, ghost: Iterable[Point], left: float, window: tuple[float, float], scale: tuple[float, float]
) -> str:
    (first_s, last_s), (bottom, span_rad) = window, scale

    def x(t_s: float) -> float:
        return left + _PANEL_WIDTH * (t_s - first_s) / (last_s - first_s)

    def placed(points: Iterable[Point]) -> list[Point]:
        return [(x(t_s), _PANEL_TOP + _PANEL_HEIGHT * (1.0 - (rad - bottom) / span_rad)) for t_s, rad in points]

    plan = placed(moment.planned)
    dots = "".join(f"M{px:.1f} {py:.1f}h0" for px, py in plan)
    title = (
        "at the seam"
        if moment.t_s == 0.0
        else f"{abs(moment.t_s) * 1000:.0f} ms {'before' if moment.t_s < 0.0 else 'after'}"
    )
    down = f"{_PANEL_TOP:g}v{_PANEL_HEIGHT:g}"
    return (
        f'<rect class="frame" x="{left:g}" y="{_PANEL_TOP:g}" width="{_PANEL_WIDTH:g}" height="{_PANEL_HEIGHT:g}"/>'
        f'{_text(left + 2, _PANEL_TOP - 5, title)}<path class="seam" d="M{x(0.0):.1f} {down}"/>'
        f'<path class="now" d="M{x(moment.t_s):.1f} {down}"/><path class="ghost" d="{_path(placed(ghost))}"/>'
        f'<path class="plan" d="{_path(plan)}"/><path class="dots" d="{dots}"/>'
        f'<path class="done" d="{_path(placed(moment.executed))}"/>'
    )


def _path(points: Iterable[Point]) -> str:
    text = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{text}" if text else ""


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
