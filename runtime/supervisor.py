"""The supervisor of a run: starts the processes in order, plays the operator, watches, stops cleanly."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from runtime import records
from runtime.board import ROLES, Board
from runtime.children import TERMINAL_SIGNALS, Children
from runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock
from runtime.devices import has_emulated_bus
from runtime.episodes import Episodes, Phase, Sight
from runtime.errors import LeadtimeError, UsageError
from runtime.faults import stopping
from runtime.files import make_folder
from runtime.layout import SIDES
from runtime.seed import episode_seed
from runtime.shm import blank
from runtime.spec import RunSpec
from runtime.states import LED, Link, Mode, Source

PERIOD_NS: Final = 20 * NS_PER_MS
VIEW_EVERY: Final = 6
REST_VELOCITY_RAD_S: Final = 0.03
MOVERS: Final = ("control", "guardian-left", "guardian-right")
"""Roles whose loss ends an episode; the policy plays on without the others for as long as it can."""
COMMAND_STALE_NS: Final = 200 * NS_PER_MS
"""A command older than this says nothing of the present: the control process is gone."""
HOLD_BEFORE_STOP_NS: Final = 500 * NS_PER_MS
"""How long the arms have to brake to HOLD before the processes end; what is left of it the guardians do."""


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
            LeadtimeError: a process failed; everything has been stopped by then.
        """
        spec_file = self._spec.save()
        board = self._board = Board.create(self._spec)
        children = Children(board, spec_file, self._clock, self._clock.now_ns(), self._roles(), self._entries)
        # A run that nobody looks after any more ends: Ctrl-Z as well.
        numbers = (signal.SIGTERM, *TERMINAL_SIGNALS)
        handlers = {number: signal.signal(number, lambda _signal, _frame: self.interrupt()) for number in numbers}
        try:
            self._ask(Mode.HOLD, 0)
            children.start(lambda: self._interrupted)
            return self._conduct(board, children)
        finally:
            children.stop()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if self._spec.kept() != self._spec:
                self._spec.kept().save()

    def _roles(self) -> tuple[str, ...]:
        absent = set()
        if not self._spec.rig.simulated:
            absent.add("sim")
        if not any(map(has_emulated_bus, self._spec.rig.arms.values())):
            absent.add("emulator")
        if self._spec.rig.ros2 is None:
            absent.add("ros2")
        if not self._spec.rig.cameras:
            absent.add("camera")
        if not self._spec.rig.leaders:
            absent.add("leader")
        if self._spec.teleop:
            absent |= {"server", "client"}
        if not self._spec.serve:
            absent.add("server")
        return tuple(role for role in ROLES if role not in absent)

    def interrupt(self) -> None:
        """End the run before its time: the arms brake and hold, then everything stops."""
        self._interrupted = True

    def _conduct(self, board: Board, children: Children) -> Episodes:
        start_ns = due_ns = self._clock.now_ns()
        episodes = Episodes(
            end_ns=start_ns + round(self._spec.duration_s * NS_PER_S),
            limit_ns=round(self._spec.episode_s * NS_PER_S),
            judged=self._spec.rig.simulated,
            wanted=self._spec.episodes,
            leaders=bool(self._spec.rig.leaders),
        )
        if self._spec.teleop:
            # Nobody but the person moves the arms: they are armed, and hold while no clutch is pressed.
            episodes = replace(episodes, judged=False, phase=Phase.OFFER, want=Mode.HOLD)
        self._ask(episodes.want, episodes.clear)
        beat = 0
        introduced = False
        while not (episodes.over or self._interrupted):
            due_ns += PERIOD_NS
            self._clock.sleep_until_ns(due_ns)
            sight = self._look(board)
            if sight.link_ready and not introduced:
                introduced = True
                self._on_note(_text(board["client"].latest()))
            following = episodes.step(sight)
            for role, note in children.watch():
                self._on_note(note)
                if role in MOVERS:
                    # Whoever restarts finds the operator asking for HOLD or PARK: nothing engages by itself.
                    following = episodes.disturbed(sight)
            if following is not episodes:
                if following.episode != episodes.episode:
                    self._lay_out(board, following.episode)
                self._ask(following.want, following.clear)
                self._judge(board, episodes, following, sight)
                self._offer(episodes, following, sight)
                episodes = following
            beat += 1
            if beat % VIEW_EVERY == 0:
                self._on_view(board)
        self._hold(board, episodes)
        if not episodes.engaged and not self._interrupted and not self._spec.teleop:
            raise LeadtimeError(f"the policy never took over: {_obstacle(board)}")
        return episodes

    def _judge(self, board: Board, before: Episodes, after: Episodes, sight: Sight) -> None:
        """Write the verdict of an episode that has just ended, and say it."""
        won = after.successes > before.successes
        if not won and after.failures == before.failures:
            return
        end: Any = blank(records.EPISODE_END)
        end["t_ns"] = sight.now_ns
        end["episode"] = after.episode
        end["success"] = won
        end["policy_s"] = (sight.now_ns - before.began_ns) / NS_PER_S
        end["successes"], end["failures"] = after.successes, after.failures
        board["episode_end"].push(end)
        why = "failed" if sight.outcome is False else f"no success ({sight.mode.name} at its end)"
        self._on_note(f"episode {after.episode}: {'success' if won else why}")

    def _offer(self, before: Episodes, after: Episodes, sight: Sight) -> None:
        """Say that a person has the arms, or may take them."""
        if after.phase is not Phase.OFFER or before.phase is Phase.OFFER:
            return
        if sight.mode in LED:
            self._on_note("a person leads the arms; the policy returns only when asked for anew")
        else:
            self._on_note(f"the arms hold ({sight.mode.name}): press a clutch to lead them, or ask for the policy anew")

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
        if command is not None and self._clock.now_ns() - int(command["t_ns"]) > COMMAND_STALE_NS:
            command = None
        task = board["task"].latest()
        client = board["client"].latest()
        if client is not None and client["link"] == Link.REFUSED:
            raise UsageError(_text(client))
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


def _obstacle(board: Board) -> str:
    """Return what keeps the arms from being the policy's: a fault with its remedy, or how the client stands."""
    tick, client = board["tick"].latest(), board["client"].latest()
    fault = None if tick is None else stopping(int(tick["faults"]))
    if fault is not None:
        return f"{fault.message}; {fault.remedy}"
    return "no client" if client is None else _text(client)


def _text(client: Any) -> str:
    return bytes(client["text"]).rstrip(b"\0").decode(errors="replace")


def _settled(board: Board) -> bool:
    for side in SIDES:
        state = board[f"arm/{side}"].latest()
        if state is None or np.any(np.abs(state["velocity"][:-1]) > REST_VELOCITY_RAD_S):
            return False
    return True


def run_folder(base: Path, name: str) -> Path:
    """Make and return the folder of a new run, numbered after those that are there."""
    make_folder(base)
    taken = (re.fullmatch(r"(\d{4,})-.*", path.name) for path in base.iterdir())
    number = 1 + max((int(match[1]) for match in taken if match), default=0)
    while True:
        folder = base / f"{number:04d}-{name}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
