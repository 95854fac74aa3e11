"""`leadtime bench transport`: our server beside openpi's and LeRobot's own, in turns, on one host and a slow link."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from bench.say import say
from bench.transport import payload
from bench.transport.contender import PORT, AbsentError, Contender, Seat, seated
from bench.transport.openpi import SERVER_FILE
from bench.transport.relay import HOST
from bench.transport.report import WORDS, write_report
from runtime.cli import BenchTransport
from runtime.clock import NS_PER_MS
from runtime.errors import LeadtimeError, UsageError
from runtime.files import make_folder

ROUNDS: Final = 12
TURN: Final = 20
QUICK_ROUNDS: Final = 3
QUICK_TURN: Final = 5
WARM_UP: Final = 5
LEROBOT_LATENCY_S: Final = 1 / 30
"""What LeRobot's server holds an answer back to, unless it is told otherwise."""
PACKAGES: Final = ("openpi-client", "websockets", "lerobot", "grpcio", "pyzmq", "msgpack", "numpy")
_VERSIONS: Final = """
import json
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in %r:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Target:
    """Our median shall be at most `most` of another contender's; None where there is no such aim."""

    ours: str
    theirs: str
    most: float | None = None


TARGETS: Final = (
    Target("leadtime", "openpi", 1 / 10),
    Target("leadtime", "lerobot", 1 / 20),
    Target("leadtime", "lerobot-unpaced"),
    Target("leadtime-gigabit", "openpi-gigabit", 1 / 4),
    Target("leadtime-gigabit", "lerobot-gigabit"),
)


@dataclass
class Took:
    """What a contender's requests took, ns, by round, and how many bytes they sent over the emulated link.

    `outside_ns` is what servers say that they spent on them outside the model; ours do.
    """

    contender: Contender
    link_bytes: int = 0
    rounds: list[list[int]] = field(default_factory=list)
    outside_ns: list[int] = field(default_factory=list)
    note: str = ""

    @property
    def all_ms(self) -> Any:
        """Every request, ms."""
        return np.concatenate([np.array(turn) for turn in self.rounds]) / NS_PER_MS

    @property
    def p50_ms(self) -> float:
        """The median, ms."""
        return float(np.percentile(self.all_ms, 50))


def contenders(command: BenchTransport) -> tuple[list[Contender], dict[str, str]]:
    """Return who can be measured and, for the others, why not.

    Raises:
        UsageError: the folder given as openpi's checkout is none, or there is no contender of a name that was given.
    """
    found, absent = _all(command)
    names = [contender.name for contender in found] + list(absent)
    unknown = [name for name in command.contenders if name not in names]
    if unknown:
        raise UsageError(f"--contenders {unknown[0]}: there is no such; choose of {', '.join(names)}")
    asked = command.contenders or tuple(names)
    chosen = [contender for contender in found if contender.name in asked]
    return chosen, {name: reason for name, reason in absent.items() if name in asked}


def _all(command: BenchTransport) -> tuple[list[Contender], dict[str, str]]:
    ipc = f"ipc://@leadtime-bench-{os.getpid()}"
    tcp = f"tcp://{HOST}:{PORT}"
    found = [
        _ours("leadtime", "Leadtime", ("serve", ipc), ipc),
        _ours(
            "leadtime-copied",
            "Leadtime, copied to be sent",
            ("serve", f"{ipc}-copied"),
            f"{ipc}-copied",
            ask="ask-copying",
        ),
        _ours("leadtime-raw", "Leadtime, pictures raw", ("serve", f"{ipc}-raw"), f"{ipc}-raw?pictures=raw"),
        _ours("leadtime-gigabit", "Leadtime", ("serve-apart", tcp), tcp, "gigabit"),
        _ours(
            "leadtime-gigabit-jpeg", "Leadtime, pictures JPEG", ("serve-apart", tcp), f"{tcp}?pictures=jpeg", "gigabit"
        ),
        _ours("leadtime-gigabit-raw", "Leadtime, pictures raw", ("serve-apart", tcp), f"{tcp}?pictures=raw", "gigabit"),
    ]
    absent: dict[str, str] = {}
    if command.openpi is None:
        absent["openpi"] = "give a checkout of openpi with --openpi"
    else:
        file = (command.openpi / SERVER_FILE).resolve()
        if not file.is_file():
            raise UsageError(f"--openpi {command.openpi}: no {SERVER_FILE} there; give a checkout of openpi")
        theirs, python = "bench.transport.openpi", command.openpi_python or sys.executable
        programs = ((theirs, "serve", str(file), PORT), (theirs, "ask", PORT))
        found += [
            Contender("openpi", "openpi", python, *programs),
            Contender("openpi-gigabit", "openpi", python, *programs, "gigabit"),
        ]
    theirs, python = "bench.transport.lerobot", command.lerobot_python or sys.executable
    paced = ((theirs, "serve", PORT, str(LEROBOT_LATENCY_S)), (theirs, "ask", PORT))
    unpaced = ((theirs, "serve", PORT, "0"), (theirs, "ask", PORT))
    found += [
        Contender("lerobot", "LeRobot", python, *paced),
        Contender("lerobot-unpaced", "LeRobot, not held back", python, *unpaced),
        Contender("lerobot-gigabit", "LeRobot, not held back", python, *unpaced, "gigabit"),
    ]
    return found, absent


def _ours(
    name: str, label: str, serve: tuple[str, str], asked: str, link: str = "host", *, ask: str = "ask"
) -> Contender:
    program = "bench.transport.ours"
    return Contender(name, label, sys.executable, (program, *serve), (program, ask, asked), link)


def run(command: BenchTransport) -> int:
    """Measure every contender in turns and leave results.json and report.html in the command's folder."""
    chosen, absent = contenders(command)
    make_folder(command.out)
    rounds, turn = (QUICK_ROUNDS, QUICK_TURN) if command.quick else (ROUNDS, TURN)
    took = measure(chosen, absent, rounds, turn)
    results = tabulate(took, absent)
    results["host"] = _host()
    pythons = {entry.contender.label.split(",")[0]: entry.contender.python for entry in took}
    results["versions"] = {label: _versions(python) for label, python in pythons.items()}
    (command.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for name, row in results["contenders"].items():
        outside = row["server_outside_model_ms"]
        server = "" if outside is None else f"  server but model p50 {outside['p50']:.2f} p99 {outside['p99']:.2f}"
        say(f"{name:22} p50 {row['p50_ms']:8.2f} ms  p99 {row['p99_ms']:8.2f} ms{server}  {row['note']}")
    for ratio in results["ratios"]:
        aim = "" if ratio["most"] is None else f", at most {ratio['most']:.3g} wanted: {WORDS[ratio['met']]}"
        say(f"{ratio['ours']} / {ratio['theirs']}: {ratio['ratio']:.3f}{aim}")
    for name, reason in absent.items():
        say(f"{name}: not measured: {reason}")
    say(f"report: {write_report(command.out, results)}")
    return 0


def measure(chosen: list[Contender], absent: dict[str, str], rounds: int, turn: int) -> list[Took]:
    """Return what the requests of each contender took; one that does not start is put into `absent` with its reason.

    In each round every contender makes `turn` requests in a row while the others wait, so that what else happens on
    the machine happens to all.

    Raises:
        LeadtimeError: our own programs do not start.
    """
    with ExitStack() as stack:
        seats: list[Seat] = []
        for contender in chosen:
            # Their imports take most of a run: LeRobot's are torch's, twice for each of three seats.
            say(f"starting {contender.name}")
            try:
                seats.append(stack.enter_context(seated(contender)))
            except AbsentError as error:
                if contender.name.startswith("leadtime"):
                    raise LeadtimeError(str(error)) from None
                absent[contender.name] = str(error)
        took = [Took(seat.contender, note=seat.note) for seat in seats]
        for seat, entry in zip(seats, took, strict=True):
            seat.turn(WARM_UP)
            entry.link_bytes = -seat.carried_bytes()
        for i in range(rounds):
            say(f"round {i + 1} of {rounds}")
            for seat, entry in zip(seats, took, strict=True):
                took_ns, outside_ns = seat.turn(turn)
                entry.rounds.append(took_ns)
                entry.outside_ns += outside_ns
        for seat, entry in zip(seats, took, strict=True):
            entry.link_bytes += seat.carried_bytes()
    return took


def tabulate(took: list[Took], absent: dict[str, str]) -> dict[str, Any]:
    """Return what was measured as JSON values: a row for each contender, and the ratios of the targets."""
    by_name = {entry.contender.name: entry for entry in took}
    return {
        "payload": {
            "request_bytes": payload.request_bytes(),
            "cameras": len(payload.CAMERAS),
            "picture": [payload.HEIGHT_PX, payload.WIDTH_PX, 3],
            "reply": [payload.HORIZON, payload.ACTION_WIDTH],
        },
        "contenders": {name: _row(entry) for name, entry in by_name.items()},
        "ratios": [
            _ratio(target, by_name[target.ours], by_name[target.theirs])
            for target in TARGETS
            if target.ours in by_name and target.theirs in by_name
        ],
        "absent": absent,
    }


def _row(entry: Took) -> dict[str, Any]:
    p50, p99 = np.percentile(entry.all_ms, (50, 99)).tolist()
    return {
        "label": entry.contender.label,
        "link": entry.contender.link,
        "note": entry.note,
        "requests": len(entry.all_ms),
        # What went past the emulated link would show here.
        "link_bytes_per_request": entry.link_bytes // len(entry.all_ms),
        "p50_ms": round(p50, 4),
        "p99_ms": round(p99, 4),
        "server_outside_model_ms": _outside(entry),
        "round_p50_ms": [round(float(np.median(turn)) / NS_PER_MS, 4) for turn in entry.rounds],
    }


def _outside(entry: Took) -> dict[str, float] | None:
    if not entry.outside_ns:
        return None
    p50, p99 = (np.percentile(entry.outside_ns, (50, 99)) / NS_PER_MS).tolist()
    return {"p50": round(p50, 4), "p99": round(p99, 4)}


def _ratio(target: Target, ours: Took, theirs: Took) -> dict[str, Any]:
    by_round = [float(np.median(a) / np.median(b)) for a, b in zip(ours.rounds, theirs.rounds, strict=True)]
    ratio = ours.p50_ms / theirs.p50_ms
    return {
        "ours": target.ours,
        "theirs": target.theirs,
        "ratio": round(ratio, 4),
        "by_round": [round(min(by_round), 4), round(max(by_round), 4)],
        "most": target.most,
        "met": None if target.most is None else ratio <= target.most,
    }


def _host() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def _versions(python: str) -> dict[str, str]:
    done = subprocess.run([python, "-c", _VERSIONS % (PACKAGES,)], capture_output=True, text=True, check=False)
    versions: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return versions
