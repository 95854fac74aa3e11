"""A whole run with a director: waits until the policy moves the arms, injects, measures on the board, ends the run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.faults.relay import Relay
from runtime.board import Board
from runtime.clock import NS_PER_S, MonotonicClock
from runtime.faults import BIT
from runtime.layout import SIDES
from runtime.states import Guard, Mode

POLL_S: Final = 0.002
STARTED_S: Final = 60.0
STOPPED_S: Final = 6.0
CLEARED_S: Final = 40.0
REST_RAD_S: Final = 0.05
STATUS_RINGS: Final = ("client", "recorder")


class MissedError(Exception):
    """Something that a check needs did not happen in time."""


@dataclass
class Stage:
    """What a director sees of its run. `trigger` exists while the injection inside a child stands."""

    trigger: Path
    relay: Relay | None
    board: Board | None = None
    stall_view_s: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    clock: MonotonicClock = field(default_factory=MonotonicClock)

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return self.trigger.parent

    @property
    def rings(self) -> Board:
        """The board of the run; MissedError before there is one."""
        if self.board is None:
            raise MissedError("no board")
        return self.board

    def now_ns(self) -> int:
        """The time of every record."""
        return self.clock.now_ns()

    def pull(self) -> int:
        """Begin the injection that waits in a child, and return when."""
        now_ns = self.now_ns()
        self.trigger.touch()
        return now_ns

    def release(self) -> None:
        """End the injection in a child."""
        self.trigger.unlink(missing_ok=True)

    def aside(self, work: Callable[[], None]) -> None:
        """Do something while the director goes on."""
        threading.Thread(target=work, daemon=True).start()

    def pid(self, role: str) -> int:
        """Return a role's process."""
        beat = self.rings[f"heartbeat/{role}"].latest()
        if beat is None:
            raise MissedError(f"no {role}")
        return int(beat["pid"])

    def send(self, role: str, number: signal.Signals) -> int:
        """Signal a role's process and return when."""
        now_ns = self.now_ns()
        os.kill(self.pid(role), number)
        return now_ns

    def latest(self, ring: str) -> Any:
        """Return a ring's newest record; MissedError where there is none."""
        record = self.rings[ring].latest()
        if record is None:
            raise MissedError(f"nothing from {ring}")
        return record

    @property
    def mode(self) -> Mode:
        """The mode of the newest command."""
        return Mode(int(self.latest("joint_command")["mode"]))

    @property
    def epoch(self) -> int:
        """The epoch of the newest tick."""
        return int(self.latest("timeline")["epoch"])

    @property
    def at_rest(self) -> bool:
        """Whether the simulator's own arms stand still, whatever is reported of them."""
        return all(
            float(np.abs(self.latest(f"device/{side}/state")["velocity"][:6]).max()) < REST_RAD_S for side in SIDES
        )

    @property
    def guards(self) -> list[Guard]:
        """The guardians' states."""
        return [Guard(int(self.latest(f"guardian/{side}")["state"])) for side in SIDES]

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Poll until a condition holds; False when it does not in time, or the run ended."""
        deadline_s = time.monotonic() + timeout_s
        while not self.over.is_set() and time.monotonic() < deadline_s:
            if self._holds(condition):
                return True
            time.sleep(POLL_S)
        return False

    @staticmethod
    def _holds(condition: Callable[[], bool]) -> bool:
        try:
            return condition()
        except MissedError:
            return False

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.over.wait(seconds)

    def moving(self) -> None:
        """Wait until the policy has moved the arms for a while; MissedError where it does not."""
        if not self.wait(lambda: self.mode is Mode.POLICY and not self.at_rest, STARTED_S):
            raise MissedError("the policy never moved the arms")
        self.pause(0.5)
        if self.mode is not Mode.POLICY and not self.wait(lambda: self.mode is Mode.POLICY, STARTED_S):
            raise MissedError("the policy never moved the arms again")

    def seen(self, name: str, since_ns: int, timeout_s: float) -> int | None:
        """Wait for a fault on the board, and return when it was first there; None when it never was."""
        found: list[int] = []
        ticks = self.rings["tick"]
        cursor = max(ticks.head - 400, 0)

        def looked() -> bool:
            nonlocal cursor
            fresh, cursor, _ = ticks.since(cursor)
            found.extend(
                int(tick["now_ns"]) for tick in fresh if int(tick["faults"]) & BIT[name] and tick["now_ns"] >= since_ns
            )
            for ring in STATUS_RINGS:
                status = self.rings[ring].latest()
                if status is not None and int(status["faults"]) & BIT[name] and int(status["t_ns"]) >= since_ns:
                    found.append(int(status["t_ns"]))
            return bool(found)

        self.wait(looked, timeout_s)
        return min(found, default=None)

    def stays(self, mode: Mode, seconds: float) -> bool:
        """Whether every tick of the time to come is in a mode."""
        ticks = self.rings["tick"]
        cursor = ticks.head
        self.pause(seconds)
        modes = [int(tick["mode"]) for tick in ticks.since(cursor)[0]]
        return bool(modes) and set(modes) == {mode}

    def stopped(self) -> bool:
        """Wait until the arms have left the policy and stand."""

        def still() -> bool:
            return self.mode in {Mode.HOLD, Mode.FAULT, Mode.PARK, Mode.DISARMED} or self.control_gone

        return self.wait(lambda: still() and self.at_rest, STOPPED_S)

    @property
    def control_gone(self) -> bool:
        """Whether the newest command is old."""
        return self.now_ns() - int(self.latest("joint_command")["t_ns"]) > NS_PER_S // 10

    def again(self, epoch: int) -> bool:
        """Wait until the policy moves the arms again, in a later epoch than this one."""
        return self.wait(lambda: self.mode is Mode.POLICY and self.epoch > epoch, CLEARED_S)
