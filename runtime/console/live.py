"""The live terminal view of a run: reads the board a few times a second, never more than it shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtime.board import Board
from runtime.clock import NS_PER_S, NS_PER_US, Clock, MonotonicClock
from runtime.faults import FAULTS, MILD, Fault
from runtime.layout import SIDES
from runtime.shm import TornReadError
from runtime.spec import public
from runtime.states import Carriage, Guard, Link, Mode

WIDTH: Final = 80
HISTORY: Final = 40
BAR_CELLS: Final = 30
FAULT_SHOWN_NS: Final = 3 * NS_PER_S
"""How long a fault is shown after it was last seen: some are set for one tick."""
MODE_STYLES: Final[dict[Mode, str]] = {
    Mode.DISARMED: "bold black on white",
    Mode.HOLD: "bold black on yellow",
    Mode.POLICY: "bold black on green",
    Mode.TELEOP: "bold black on cyan",
    Mode.HANDOVER: "bold black on magenta",
    Mode.PARK: "bold white on blue",
    Mode.FAULT: "bold white on red",
}
GUARD_STYLES: Final[dict[Guard, str]] = {
    Guard.DISARMED: "dim",
    Guard.FOLLOW: "green",
    Guard.BRAKE: "bold red",
    Guard.HOLD: "yellow",
    Guard.FAULT: "bold red",
}
LINK_STYLES: Final[dict[Link, str]] = {
    Link.CONNECTING: "yellow",
    Link.READY: "green",
    Link.REFUSED: "bold red",
    Link.LOST: "bold red",
}
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Scene:
    """What the view shows at one moment; None where nothing was published yet."""

    title: str
    elapsed_s: float
    duration_s: float
    mode: Mode
    ahead_ms: float
    ahead_history_ms: Sequence[float]
    horizon_ms: float
    policy_period_ms: float
    servo_hz: int
    lateness_us: Sequence[float]
    starved: int
    skipped: int
    guards: Sequence[Guard]
    faults: Sequence[Fault]
    client: Any | None
    task: Any | None
    verdicts: tuple[int, int]
    notes: Sequence[str]


@dataclass
class Watcher:
    """Follows a board: the last second of ticks, and what has added up since the start."""

    cursor: int = 0
    began_ns: int = 0
    starved: int = 0
    skipped: int = 0
    mode: Mode = Mode.DISARMED
    ahead_ms: float = 0.0
    fault_ns: dict[int, int] = field(default_factory=dict)
    lateness_us: deque[float] = field(default_factory=deque)
    ahead_history_ms: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=3))

    def look(self, board: Board, now_ns: int) -> Scene:
        """Take what is new on the board and return what there is to show."""
        spec = board.spec
        period_ms = 1000.0 / spec.rig.policy_hz
        ticks, self.cursor, _lost = board["tick"].since(self.cursor)
        for tick in ticks:
            self.lateness_us.append(int(tick["now_ns"] - tick["scheduled_ns"]) / NS_PER_US)
            self.starved += int(tick["starved"])
            self.skipped += int(tick["skipped"])
            self._note_faults(int(tick["faults"]), now_ns)
        for status in (_newest(board, "client"), _newest(board, "recorder")):
            self._note_faults(0 if status is None else int(status["faults"]), now_ns)
        while len(self.lateness_us) > spec.rig.servo_hz:
            self.lateness_us.popleft()
        if ticks:
            self.began_ns = self.began_ns or int(ticks[0]["scheduled_ns"])
            newest = ticks[-1]
            self.mode = Mode(int(newest["mode"]))
            # A stop that is planned for want of actions is none.
            self.ahead_ms = 0.0 if newest["starved"] else int(newest["ahead_ticks"]) * period_ms
        self.ahead_history_ms.append(self.ahead_ms)
        return Scene(
            title=f"{spec.rig.name} · {public(spec.policy)} · {spec.task}",
            elapsed_s=(now_ns - self.began_ns) / NS_PER_S if self.began_ns else 0.0,
            duration_s=spec.duration_s,
            mode=self.mode,
            ahead_ms=self.ahead_ms,
            ahead_history_ms=tuple(self.ahead_history_ms),
            horizon_ms=max(1000.0, *self.ahead_history_ms),
            policy_period_ms=period_ms,
            servo_hz=spec.rig.servo_hz,
            lateness_us=tuple(self.lateness_us),
            starved=self.starved,
            skipped=self.skipped,
            guards=tuple(_guard(board, side) for side in SIDES),
            faults=tuple(FAULTS[i] for i, t_ns in self.fault_ns.items() if now_ns - t_ns < FAULT_SHOWN_NS),
            client=_newest(board, "client"),
            task=_newest(board, "task"),
            verdicts=_verdicts(board),
            notes=tuple(self.notes),
        )

    def _note_faults(self, bits: int, now_ns: int) -> None:
        while bits:
            self.fault_ns[(bits & -bits).bit_length() - 1] = now_ns
            bits &= bits - 1


def _verdicts(board: Board) -> tuple[int, int]:
    """Return how many episodes succeeded and how many failed so far."""
    end = _newest(board, "episode_end")
    return (0, 0) if end is None else (int(end["successes"]), int(end["failures"]))


def _newest(board: Board, topic: str) -> Any | None:
    try:
        return board[topic].latest()
    except TornReadError:
        return None


def _guard(board: Board, side: str) -> Guard:
    record = _newest(board, f"guardian/{side}")
    return Guard.DISARMED if record is None else Guard(int(record["state"]))


def render(scene: Scene) -> RenderableType:
    """Lay a scene out for a terminal of 80 columns or more."""
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="dim", width=9)
    rows.add_column()
    rows.add_row("mode", _mode_line(scene))
    rows.add_row("ahead", _ahead_line(scene))
    rows.add_row("", Text(_sparkline(scene.ahead_history_ms, scene.horizon_ms), style="cyan"))
    rows.add_row("model", _model_line(scene))
    rows.add_row("answers", _answers_line(scene))
    rows.add_row("tick", _tick_line(scene))
    rows.add_row("guardians", _guards_line(scene))
    parts: list[RenderableType] = [rows]
    for fault in scene.faults:
        colour = "yellow" if fault.action in MILD else "red"
        parts.append(Text.assemble(("✖ ", f"bold {colour}"), (fault.message, colour), "  → ", fault.remedy))
    parts += [Text(note, style="dim", overflow="ellipsis", no_wrap=True) for note in scene.notes]
    clock = f"{_minutes(scene.elapsed_s)} / {_minutes(scene.duration_s)}"
    return Panel(
        Group(*parts),
        title=Text.assemble(("leadtime", "bold"), f"  {scene.title}"),
        title_align="left",
        subtitle=clock,
        subtitle_align="right",
        border_style="red" if any(fault.action not in MILD for fault in scene.faults) else "bright_black",
        width=WIDTH,
    )


def _mode_line(scene: Scene) -> Text:
    line = Text.assemble((f" {scene.mode.name} ", MODE_STYLES[scene.mode]))
    task = scene.task
    if task is None:
        return line
    line.append(f"   episode {int(task['episode'])}")
    outcome = int(task["outcome"])
    if outcome >= 0:
        line.append(" success" if outcome else " failed", "bold green" if outcome else "bold red")
    successes, failures = scene.verdicts
    line.append(f"   ✔ {successes}", "green")
    line.append(f"  ✘ {failures}", "red" if failures else "dim")
    factor = float(task["real_time_factor"])
    line.append(f"   {factor:.2f} of real time", "dim" if factor > 0.98 else "bold yellow")
    return line


def _ahead_line(scene: Scene) -> Text:
    cells = min(scene.ahead_ms / scene.horizon_ms, 1.0) * BAR_CELLS
    whole = int(cells)
    bar = "█" * whole + (_EIGHTHS[int((cells - whole) * 8)] if whole < BAR_CELLS else "")
    low = scene.mode is Mode.POLICY and scene.ahead_ms < 3 * scene.policy_period_ms
    line = Text.assemble((bar.ljust(BAR_CELLS), "bold red on grey23" if low else "green on grey23"))
    line.append(f"  {scene.ahead_ms:4.0f} ms")
    starved = f"   starved {scene.starved}"
    line.append(starved, "bold red" if scene.starved else "dim")
    return line


def _model_line(scene: Scene) -> Text:
    client = scene.client
    if client is None:
        return Text("not connected yet", style="dim")
    link = Link(int(client["link"]))
    line = Text.assemble((link.name.lower(), LINK_STYLES[link]))
    if link in {Link.REFUSED, Link.LOST}:
        text = bytes(client["text"]).rstrip(b"\0").decode(errors="replace")
        return line.append(f"  {text}")
    forecast_ms = int(client["forecast_ticks"]) * scene.policy_period_ms
    line.append(f"   latency {float(client['latency_ms']):.0f} ms   forecast {forecast_ms:.0f} ms")
    if client["pictures"]:
        line.append(f"   pictures {Carriage(int(client['pictures'])).name.lower()}", "dim")
    forecasts = int(client["forecasts"])
    if forecasts:
        coverage = 100 * int(client["covered"]) / forecasts
        line.append(f"   covered {coverage:.0f} % of {100 * float(client['coverage_target']):.0f} %", "dim")
    return line


def _answers_line(scene: Scene) -> Text:
    client = scene.client
    if client is None:
        return Text("-", style="dim")
    line = Text(f"{int(client['used'])} used of {int(client['requests'])} asked")
    for name in ("rejected", "timeouts", "reconnects"):
        count = int(client[name])
        line.append(f"   {name} {count}", "yellow" if count else "dim")
    return line


def _tick_line(scene: Scene) -> Text:
    if not scene.lateness_us:
        return Text("-", style="dim")
    p50, p99 = np.percentile(scene.lateness_us, (50, 99))
    line = Text(f"{scene.servo_hz} Hz   late p50 {p50:.0f} µs   p99 {p99:.0f} µs")
    line.append(f"   max {max(scene.lateness_us):.0f} µs", "dim")
    return line.append(f"   skipped {scene.skipped}", "yellow" if scene.skipped else "dim")


def _guards_line(scene: Scene) -> Text:
    line = Text()
    for side, guard in zip(SIDES, scene.guards, strict=True):
        line.append(f"{side} ", "dim").append(f"{guard.name:<10}", GUARD_STYLES[guard])
    return line


def _sparkline(values: Sequence[float], top: float) -> str:
    return "".join(_LEVELS[min(int(value / top * len(_LEVELS)), len(_LEVELS) - 1)] for value in values)


def _minutes(seconds: float) -> str:
    return f"{int(max(seconds, 0)) // 60:02d}:{int(max(seconds, 0)) % 60:02d}"


class LiveView:
    """Shows a run while it lasts: `with LiveView() as view: ... view.update(board)`.

    A terminal that is gone shows nothing; the run is not kept from its end by that.
    """

    def __init__(self, console: Console | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or MonotonicClock()
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._watcher = Watcher()

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._live.stop()

    def update(self, board: Board) -> None:
        """Show the board's newest state."""
        scene = self._watcher.look(board, self._clock.now_ns())
        with suppress(OSError):
            self._live.update(render(scene), refresh=True)

    def note(self, line: str) -> None:
        """Keep an event's line under the view; the last three are shown."""
        self._watcher.notes.append(line)
