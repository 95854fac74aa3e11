"""What a storm of malformed messages on a server is: its figures, a healthy client beside it, and what must hold."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent.parent
GROWTH_MAX_BYTES: Final = 16 * 2**20
UNDER_WAY_MAX_BYTES: Final = 48 * 2**20
"""More than that meanwhile: 16 messages are read ahead of each sender, the largest of them 0.7 MiB."""
FILES_MAX: Final = 8
"""More open files than after warm-up: connections that are being closed."""
PAGE_BYTES: Final = resource.getpagesize()


@dataclass
class Report:
    """What was sent, what came back, and what it did to the server."""

    messages: int
    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    sorts: dict[str, int] = field(default_factory=dict)
    rss_warm_bytes: int = 0
    rss_max_bytes: int = 0
    rss_end_bytes: int = 0
    files_warm: int = 0
    files_end: int = 0
    bystander: dict[str, Any] = field(default_factory=dict)

    def warm(self, pid: int) -> None:
        """Note what the server has after its warm-up: pools and caches are full by then."""
        self.rss_warm_bytes, self.files_warm = rss_bytes(pid), files(pid)

    def look(self, pid: int) -> None:
        """Note what it has meanwhile."""
        self.rss_max_bytes = max(self.rss_max_bytes, rss_bytes(pid))

    def end(self, pid: int) -> None:
        """Note what it has in the end."""
        self.rss_end_bytes, self.files_end = rss_bytes(pid), files(pid)
        self.rss_max_bytes = max(self.rss_max_bytes, self.rss_end_bytes)

    def check(self) -> None:
        """Fail where the server has grown, or its model was asked what it cannot answer."""
        assert "failed" not in self.answers, self.text()
        assert self.rss_end_bytes - self.rss_warm_bytes <= GROWTH_MAX_BYTES, self.text()
        assert self.rss_max_bytes - self.rss_warm_bytes <= GROWTH_MAX_BYTES + UNDER_WAY_MAX_BYTES, self.text()
        assert self.files_end - self.files_warm <= FILES_MAX, self.text()

    def text(self) -> str:
        """The figures, a line for each."""
        rss = [round(value / 2**20, 1) for value in (self.rss_warm_bytes, self.rss_max_bytes, self.rss_end_bytes)]
        lines = [
            f"messages {self.messages} in {self.seconds:.1f} s: {self.messages / self.seconds:.0f} a second",
            f"sorts {json.dumps(self.sorts)}",
            f"answers {json.dumps(self.answers)}",
            f"server memory MiB: {rss[0]} warm, {rss[1]} at most, {rss[2]} at the end",
        ]
        if self.bystander:
            alone, beside = self.bystander["alone_ms"], self.bystander["beside_ms"]
            ratios = ", ".join(f"{name} {beside[name] / alone[name]:.1f}" for name in alone)
            lines += [
                f"server files: {self.files_warm} warm, {self.files_end} at the end",
                f"healthy client: all its {self.bystander['answered']} requests answered",
                f"healthy client's latency ms: {alone} alone, {beside} beside",
                f"healthy client's latency beside against alone: {ratios}",
            ]
        return "\n".join(lines)


@contextmanager
def bystander(module: str, *where: str, report: Report, patience_s: float) -> Iterator[None]:
    """Have a healthy client ask meanwhile; fails where it was not answered as it should be."""
    command, pipe = [sys.executable, "-m", module, *where], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
            said, _ = process.communicate(timeout=patience_s)
        finally:
            process.kill()
    assert process.returncode == 0, "the healthy client was harmed"
    report.bystander = json.loads(said)


def rss_bytes(pid: int) -> int:
    """Return the memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def files(pid: int) -> int:
    """Return how many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
