"""The live view fits a terminal of 80 columns and says what matters."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from runtime import records
from runtime.board import Board
from runtime.cli import Run, main
from runtime.clock import VirtualClock
from runtime.commands.run import _watched
from runtime.console.live import LiveView, Watcher, render
from runtime.faults import FAULTS
from runtime.shm import blank
from runtime.states import Guard, Link, Mode
from tests.unit import recorded


def shown(view: object) -> str:
    """Return what a renderable shows on a terminal of 80 columns."""
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(view)
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= 80
    return text


def test_before_anything_was_published_the_view_stands(tmp_path: Path) -> None:
    text = shown(render(Watcher().look(recorded.make_board(tmp_path), recorded.T0_NS)))
    assert "DISARMED" in text
    assert "not connected yet" in text


@pytest.mark.parametrize("task", ["take [bin 3]", "put [red] in [/box]", "[/] up"])
def test_a_task_is_shown_as_it_was_written(tmp_path: Path, task: str) -> None:
    board = Board.create(msgspec.structs.replace(recorded.make_spec(tmp_path), task=task))
    assert task in shown(render(Watcher().look(board, recorded.T0_NS)))


def test_a_run_under_way_shows_its_mode_buffer_lateness_and_outcome(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    watcher = Watcher()
    for i in range(601):
        recorded.put(board, i, 600)
        if i % 25 == 0:
            scene = watcher.look(board, recorded.T0_NS + i * recorded.PERIOD_NS)
    text = shown(render(scene))
    assert "POLICY" in text
    assert "episode 1 success" in text
    assert f"{scene.ahead_ms:.0f} ms" in text
    assert "p50 15 µs" in text
    assert "latency 362 ms   forecast 400 ms" in text
    assert "00:03 / 00:05" in text
    assert len(scene.lateness_us) == 200


def test_starvation_adds_up_over_the_run_and_not_only_over_what_is_shown(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    watcher = Watcher()
    for i in range(1000):
        tick = recorded.make_tick(i)
        tick["starved"] = i < 3
        board["tick"].push(tick)
        if i % 50 == 49:
            scene = watcher.look(board, recorded.T0_NS)
    assert scene.starved == 3
    assert "starved 3" in shown(render(scene))


def test_a_stop_for_want_of_actions_is_no_buffer(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    tick = recorded.make_tick(400)
    tick["starved"], tick["ahead_ticks"] = 1, 2
    board["tick"].push(tick)
    assert Watcher().look(board, recorded.T0_NS).ahead_ms == 0.0


@pytest.mark.parametrize("bit", range(len(FAULTS)))
def test_each_fault_shows_its_message_and_its_remedy(tmp_path: Path, bit: int) -> None:
    board = recorded.make_board(tmp_path)
    tick = recorded.make_tick(0)
    tick["faults"] = 1 << bit
    tick["mode"] = Mode.FAULT
    board["tick"].push(tick)
    text = " ".join(shown(render(Watcher().look(board, recorded.T0_NS))).replace("│", " ").split())
    assert "FAULT" in text
    assert " ".join(FAULTS[bit].message.split()) in text
    assert " ".join(FAULTS[bit].remedy.split()) in text


def test_a_refused_policy_shows_the_reason_and_a_guardian_its_state(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    client = blank(records.CLIENT_STATUS)
    client["link"], client["text"] = Link.REFUSED, b"the policy wants 7 joints"
    board["client"].push(client)
    guardian = blank(records.GUARDIAN_STATUS)
    guardian["state"] = Guard.BRAKE
    board["guardian/left"].push(guardian)
    text = shown(render(Watcher().look(board, recorded.T0_NS)))
    assert "refused  the policy wants 7 joints" in text
    assert "left BRAKE" in text


def test_the_view_draws_itself_and_leaves_its_last_state(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    output = io.StringIO()
    console = Console(file=output, width=80, force_terminal=True)
    with LiveView(console, VirtualClock(recorded.T0_NS)) as view:
        view.note("camera ended (exit status 1) and was restarted")
        view.update(board)
    assert "camera ended" in output.getvalue()
    assert "sim-x5" in output.getvalue()


def test_a_terminal_without_the_signs_shows_the_view_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: object) -> int:
        with LiveView() as view:
            view.update(recorded.make_board(tmp_path))
        return 0

    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", ["leadtime", "run"])
    monkeypatch.setattr("runtime.commands.run.run", run)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    terminal.flush()
    assert b"DISARMED" in terminal.buffer.getvalue()


def test_a_terminal_that_hangs_up_ends_no_run_before_its_time(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(errno.EIO, "Input/output error")
            return super().write(text)

    board, terminal = recorded.make_board(tmp_path), Terminal()
    with LiveView(Console(file=terminal, width=80, force_terminal=True), VirtualClock(recorded.T0_NS)) as view:
        view.update(board)
        terminal.gone = True
        view.update(board)
    assert "sim-x5" in terminal.getvalue()


@pytest.mark.parametrize(("term", "watched"), [("xterm", True), ("dumb", False), ("unknown", False)])
def test_a_terminal_that_cannot_draw_gets_a_line_for_each_event(
    monkeypatch: pytest.MonkeyPatch, term: str, watched: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert _watched(Run()) == watched
    assert not _watched(Run(headless=True))
