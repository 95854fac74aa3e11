"""The child processes of a run: spawned together, begun in order, watched, and ended without leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime import records
from runtime.board import ROLES, Board
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.errors import LeadtimeError, UsageError
from runtime.shm import blank
from runtime.states import Life

START_TIMEOUT_NS: Final = 120 * NS_PER_S
STOP_TIMEOUT_NS: Final = 1100 * NS_PER_MS
KILL_TIMEOUT_S: Final = 5.0
"""How long a process that was killed may take to end."""
POLL_NS: Final = 5 * NS_PER_MS
SILENT_NS: Final = 3 * NS_PER_S
"""A process whose heart has not beaten for this long hangs and is replaced; the slowest beats five times a second."""
RESTARTS_MAX: Final = 3
TERMINAL_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
"""Ctrl-C, the terminal closed or its connection lost, Ctrl-\\ and Ctrl-Z: each goes to every process of the run."""
RESTARTABLE: Final = (
    "server",
    "recorder",
    "ros2",
    "camera",
    "leader",
    "client",
    "guardian-left",
    "guardian-right",
    "control",
)
"""Roles that a run survives losing: each restarts into a state in which nothing moves."""

_ENVIRONMENT: Final = {
    # One thread per library: the cores belong to the processes of the run.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass
class Child:
    """One role's process and how often it was restarted."""

    role: str
    process: subprocess.Popen[bytes]
    log: Path
    restarts: int = 0


@dataclass
class Children:
    """All processes of one run."""

    board: Board
    spec_file: Path
    clock: Clock
    t0_ns: int
    roles: tuple[str, ...] = ROLES
    entries: Mapping[str, str] = field(default_factory=dict)
    _children: dict[str, Child] = field(default_factory=dict)
    _watched_ns: int = 0
    _awake_ns: int = 0
    _lifecycle: Any = field(default_factory=lambda: blank(records.LIFECYCLE))

    def start(self, stopped: Callable[[], bool]) -> None:
        """Spawn every role, then let them begin one after the other, arms last; early to return when `stopped`.

        Raises:
            LeadtimeError: a role ended or did not get ready; carries the role's own one-line reason.
        """
        self._publish(stage=0)
        for role in self.roles:
            self._children[role] = self._spawn(role)
        for role in self.roles:
            self._publish(stage=ROLES.index(role) + 1)
            self._await_ready(role, stopped)
            if stopped():
                return

    def pid(self, role: str) -> int:
        """Return a role's process id."""
        return self._children[role].process.pid

    def watch(self) -> list[tuple[str, str]]:
        """Restart what has died or hangs; returns each role with a line that says so.

        Raises:
            LeadtimeError: a role died that the run cannot go on without, or once too often.
        """
        notes = []
        now_ns = self.clock.now_ns()
        if now_ns - self._watched_ns > NS_PER_S:
            self._awake_ns = now_ns
        self._watched_ns = now_ns
        for role, child in list(self._children.items()):
            if self._silent(role):
                # Not waited for: what hangs in the kernel does not end yet, and the others are to be watched meanwhile.
                _signal(child.process, signal.SIGKILL)
            status = child.process.poll()
            if status is None:
                continue
            if role not in RESTARTABLE or child.restarts >= RESTARTS_MAX or status == UsageError.exit_status:
                raise self._obituary(child, status)
            replacement = self._spawn(role)
            replacement.restarts = child.restarts + 1
            self._children[role] = replacement
            notes.append((role, f"{role} ended ({_how(status)}) and was restarted"))
        return notes

    def _silent(self, role: str) -> bool:
        """Whether a process that was ready has not beaten its heart for too long: it hangs."""
        beat = self.board[f"heartbeat/{role}"].latest()
        return (
            beat is not None
            and beat["life"] == Life.READY
            and beat["pid"] == self._children[role].process.pid
            # Silence counts only from when this process was awake to hear it.
            and self._watched_ns - max(int(beat["t_ns"]), self._awake_ns) > SILENT_NS
        )

    def stop(self) -> None:
        """Ask all to end, then end what has not: nothing of the run is left but what is named on standard error."""
        self._publish(stage=len(ROLES), stop=1)
        deadline_ns = self.clock.now_ns() + STOP_TIMEOUT_NS
        for child in self._children.values():
            # A stopped process cannot hear anything.
            _signal(child.process, signal.SIGCONT)
        while self.clock.now_ns() < deadline_ns and self._alive():
            self.clock.sleep_until_ns(self.clock.now_ns() + POLL_NS)
        for child in self._alive():
            _signal(child.process, signal.SIGKILL)
        for child in self._children.values():
            try:
                child.process.wait(KILL_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                sys.stderr.write(
                    f"leadtime: {child.role}, process {child.process.pid}, hangs in the kernel and lives on\n"
                )

    def _alive(self) -> list[Child]:
        return [child for child in self._children.values() if child.process.poll() is None]

    def _publish(self, *, stage: int, stop: int = 0) -> None:
        self._lifecycle["t0_ns"], self._lifecycle["stage"], self._lifecycle["stop"] = self.t0_ns, stage, stop
        self.board["lifecycle"].push(self._lifecycle)

    def _spawn(self, role: str) -> Child:
        log = Path(self.board.spec.run_dir) / "logs" / f"{role}.log"
        log.parent.mkdir(exist_ok=True)
        fd = self.board.segment.fd
        module = self.entries.get(role, "runtime.process")
        with log.open("ab") as sink, _without_interrupts():
            process = subprocess.Popen(
                [sys.executable, "-m", module, role, str(self.spec_file), str(fd), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                pass_fds=(fd,),
                env={**os.environ, **_ENVIRONMENT},
            )
        return Child(role, process, log)

    def _await_ready(self, role: str, stopped: Callable[[], bool]) -> None:
        child = self._children[role]
        deadline_ns = self.clock.now_ns() + START_TIMEOUT_NS
        while not stopped():
            beat = self.board[f"heartbeat/{role}"].latest()
            if beat is not None and beat["pid"] == child.process.pid and beat["life"] == Life.READY:
                return
            status = child.process.poll()
            if status is not None:
                raise self._obituary(child, status)
            if self.clock.now_ns() > deadline_ns:
                raise LeadtimeError(f"{role} was not ready in {START_TIMEOUT_NS // NS_PER_S} s; see {child.log}")
            self.clock.sleep_until_ns(self.clock.now_ns() + POLL_NS)

    @staticmethod
    def _obituary(child: Child, status: int) -> LeadtimeError:
        lines = child.log.read_text(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"ended ({_how(status)}); see {child.log}"
        if status == UsageError.exit_status:
            return UsageError(reason.removeprefix(f"{child.role}: "))
        return LeadtimeError(reason if reason.startswith(f"{child.role}: ") else f"{child.role}: {reason}")


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block what a terminal sends for the processes started meanwhile: it reaches them all, but who stops when is
    decided here, and guardians have arms to brake.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
