"""The supervisor of a run: starts the processes in order, plays the operator, watches, stops cleanly."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, Final

import numpy as np

from runtime import records
from runtime.board import ROLES, Board
from runtime.children import Children
from runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock
from runtime.episodes import Episodes, Sight
from runtime.errors import UsageError
from runtime.layout import SIDES
from runtime.lock import RigLock
from runtime.records import Link, Mode, Source
from runtime.shm import blank
from runtime.spec import RunSpec

PERIOD_NS: Final = 20 * NS_PER_MS
VIEW_EVERY: Final = 6
REST_VELOCITY_RAD_S: Final = 0.03
HOLD_BEFORE_STOP_NS: Final = 500 * NS_PER_MS
"""How long Ctrl-C lets the arms brake to HOLD before the processes end: a brake takes well under this."""


class Supervisor:
    """Runs one session from start to clean stop.

    `on_view` is called about eight times a second with the board; `on_note` with one line for each event worth
    a line. `entries` names another module than `runtime.process` to start a role with (fault injection).
    """

    def __init__(
        self,
        spec: RunSpec,
        on_view: Callable[[Board], None],
        on_note: Callable[[str], None],
        entries: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._spec = spec
        self._on_view = on_view
        self._on_note = on_note
        self._entries = entries
        self._clock = MonotonicClock()
        self._interrupted = False
        self._operator: Any = blank(records.OPERATOR)
        self._request: Any = blank(records.TASK_REQUEST)

    @property
    def interrupted(self) -> bool:
        """Whether a person or a signal ended the run before its time."""
        return self._interrupted

    def run(self) -> Episodes:
        """Run the session; returns how its episodes went.

        Raises:
            LeadtimeError: a process failed or the rig is in use; everything has been stopped by then.
        """
        lock = RigLock(self._spec.rig.name)
        spec_file = self._spec.save()
        board = self._board = Board.create(self._spec)
        children = Children(board, spec_file, self._clock, self._clock.now_ns(), self._roles(), self._entries)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        try:
            self._ask(Mode.HOLD, 0)
            children.start()
            return self._conduct(board, children)
        finally:
            children.stop()
            lock.release()

    def _roles(self) -> tuple[str, ...]:
        absent = set()
        if not self._spec.rig.simulated:
            absent.add("sim")
        if not self._spec.rig.cameras:
            absent.add("camera")
        if not self._spec.serve:
            absent.add("server")
        return tuple(role for role in ROLES if role not in absent)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            return
        self._interrupted = True

    def _conduct(self, board: Board, children: Children) -> Episodes:
        start_ns = due_ns = self._clock.now_ns()
        episodes = Episodes(
            end_ns=start_ns + round(self._spec.duration_s * NS_PER_S),
            limit_ns=round(self._spec.episode_s * NS_PER_S),
            judged=self._spec.rig.simulated,
            wanted=self._spec.episodes,
        )
        self._ask(episodes.want, episodes.clear)
        beat = 0
        while not (episodes.over or self._interrupted):
            due_ns += PERIOD_NS
            self._clock.sleep_until_ns(due_ns)
            for note in children.watch():
                self._on_note(note)
                # Whoever restarts finds the operator asking for HOLD: nothing engages by itself.
                self._ask(Mode.HOLD, episodes.clear)
            sight = self._look(board)
            following = episodes.step(sight)
            if following is not episodes:
                if following.episode != episodes.episode:
                    self._lay_out(board, following.episode)
                self._ask(following.want, following.clear)
                self._note_end(episodes, following, sight)
                episodes = following
            beat += 1
            if beat % VIEW_EVERY == 0:
                self._on_view(board)
        self._hold(board, episodes)
        return episodes

    def _note_end(self, before: Episodes, after: Episodes, sight: Sight) -> None:
        if after.successes > before.successes:
            self._on_note(f"episode {after.episode}: success")
        elif after.failures > before.failures:
            why = "failed" if sight.outcome is False else f"no success ({sight.mode.name} at its end)"
            self._on_note(f"episode {after.episode}: {why}")

    def _hold(self, board: Board, episodes: Episodes) -> None:
        self._ask(Mode.HOLD, episodes.clear)
        deadline_ns = self._clock.now_ns() + HOLD_BEFORE_STOP_NS
        while self._clock.now_ns() < deadline_ns:
            sight = self._look(board)
            if sight.mode is Mode.DISARMED or (sight.mode in {Mode.HOLD, Mode.FAULT} and sight.at_rest):
                return
            self._clock.sleep_until_ns(self._clock.now_ns() + PERIOD_NS)

    def _ask(self, want: Mode, clear: int) -> None:
        record = self._operator
        record["seq"] += 1
        record["t_ns"] = self._clock.now_ns()
        record["want"] = want
        record["clear"] = clear
        self._board["operator"].push(record)

    def _lay_out(self, board: Board, episode: int) -> None:
        self._request["episode"] = episode
        self._request["seed"] = episode_seed(self._spec.seed, episode)
        self._request["t_ns"] = self._clock.now_ns()
        board["task_request"].push(self._request)

    def _look(self, board: Board) -> Sight:
        command = board["joint_command"].latest()
        task = board["task"].latest()
        client = board["client"].latest()
        if client is not None and client["link"] == Link.REFUSED:
            raise UsageError(bytes(client["text"]).rstrip(b"\0").decode(errors="replace"))
        outcome = None if task is None or task["outcome"] < 0 else bool(task["outcome"])
        episode = 0 if task is None else int(task["episode"])
        return Sight(
            now_ns=self._clock.now_ns(),
            mode=Mode.DISARMED if command is None else Mode(int(command["mode"])),
            at_rest=command is not None and command["source"] == Source.HOLD and _settled(board),
            episode=episode,
            outcome=outcome,
            link_ready=client is not None and client["link"] == Link.READY,
        )


def episode_seed(seed: int, episode: int) -> int:
    """Return the seed of an episode's layout: the run's seed and the episode's number decide it."""
    return seed * 100_003 + episode


def _settled(board: Board) -> bool:
    for side in SIDES:
        state = board[f"arm/{side}"].latest()
        if state is None or np.any(np.abs(state["velocity"][:-1]) > REST_VELOCITY_RAD_S):
            return False
    return True


def run_folder(base: Path, name: str) -> Path:
    """Make and return the folder of a new run, numbered after those that are there."""
    base.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(p.name.split("-")[0]) for p in base.iterdir() if p.name[:4].isdigit()), default=0)
    while True:
        folder = base / f"{number:04d}-{name}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
