"""Whole runs of the `leadtime` command in processes of their own, and what they leave behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.board import Board
from runtime.spec import RunSpec
from runtime.states import Mode

PATIENCE_S = 90.0
"""How long a test waits for something that takes a second or two on an idle machine."""


def leadtime(*arguments: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "runtime", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@dataclass
class Session:
    """A `leadtime run` under way."""

    process: subprocess.Popen[str]
    out: Path

    @classmethod
    def start(cls, out: Path, *arguments: str, command: str = "run") -> Session:
        """Start a headless run, or another `command` that makes one, that writes below `out`, in a group of its own."""
        words = _headless(command, out, *arguments)
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, process_group=0), out)

    @classmethod
    def start_on_terminal(cls, out: Path, *arguments: str) -> tuple[Session, int]:
        """Start a headless run on a terminal of its own; returns it and the terminal's other end."""
        words = ["setsid", "--ctty", *_headless("run", out, *arguments)]
        ours, theirs = pty.openpty()
        process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, text=True)
        os.close(theirs)
        return cls(process, out), ours

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return sorted(self.out.iterdir())[0]

    def children(self) -> dict[str, int]:
        """Process ids of the run's roles that are alive."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"runtime.process" in words and str(self.out).encode() in b" ".join(words):
                found[words[words.index(b"runtime.process") + 1].decode()] = int(entry.name)
        return found

    def board(self) -> Board:
        """The run's board, reached through the supervisor's own descriptor."""
        spec = RunSpec.load(self.run_dir / "spec.json")
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            if "memfd:leadtime" in str(link.readlink()):
                return Board.attach(spec, os.open(link, os.O_RDWR))
        raise LookupError("the supervisor has no board")

    def await_roles(self, *roles: str) -> dict[str, int]:
        """Wait until the roles are alive and return all that are."""
        wait_for(lambda: set(roles) <= set(self.children()), "processes")
        return self.children()

    def await_mode(self, mode: Mode) -> Board:
        """Wait until the control process is in a mode and return the board."""
        self.await_roles("control")
        board = self.board()

        def reached() -> bool:
            command = board["joint_command"].latest()
            return command is not None and command["mode"] == mode

        wait_for(reached, f"mode {mode.name}")
        return board

    def interrupt(self) -> float:
        """Send what Ctrl-C sends, wait for the end, and return how long it took in seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE_S)
        return time.monotonic() - began

    def finish(self) -> tuple[int, str, str]:
        """Wait for the run's own end; exit status, stdout, stderr."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, stdout, stderr

    def summary(self) -> dict[str, Any]:
        """The summary the run left."""
        found: dict[str, Any] = json.loads((self.run_dir / "summary.json").read_text())
        return found

    def close(self) -> None:
        """End whatever is left, whatever state the test left it in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        for pid in self.children().values():
            os.kill(pid, signal.SIGKILL)


def _headless(command: str, out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "runtime", command, "--headless", "--out", str(out), *arguments]


def wait_for(condition: Any, what: str) -> None:
    """Poll until a condition holds; fails the test when it does not in `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.02)
