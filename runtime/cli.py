"""The `leadtime` command: parse, dispatch, and turn errors into one line and an exit status."""

from __future__ import annotations

import importlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro
from tyro.conf import Positional, subcommand

from runtime.errors import LeadtimeError, UsageError


@dataclass(frozen=True)
class Run:
    """Run a policy on a rig."""

    rig: str = "sim-x5"
    """Built-in rig (sim-x5, sim-piper, sim-vx300s) or a rig file."""
    policy: str = "demo"
    """Built-in policy, policy folder or .onnx file, the endpoint of a policy server (tcp://..., ipc://...), or another
    project's server: openpi://HOST:PORT?setting=value; docs/systems.md has them all."""
    task: str = "transfer"
    """Built-in task of a simulated rig, or the instruction given to the policy on a real one."""
    duration_s: float = 60.0
    """How long to run; a simulated task is repeated with a new layout until then."""
    episodes: int = 0
    """End after this many finished episodes of a simulated task, if that is before the time is up; 0 for no limit."""
    latency: str = "none"
    """Latency profile of a server that the run starts: pi0, fast-wam, gigaworld, lingbot-va, cosmos-policy, motus,
    constant:MS, lognormal:MEDIAN_MS,SIGMA, trace:FILE, or none."""
    merge: str = "leadtime"
    """How chunks are executed: leadtime, or one of those that it is compared with; an unknown name lists them."""
    allow_slow: bool = False
    """Where a chunk is too short for the delay, move slower instead of halting between chunks; not for a task in which
    something moves by itself."""
    seed: int = 0
    """Seed of the task's layouts, the policy's noise and the latency profile."""
    headless: bool = False
    """No live view; one line for each event."""
    summary: Path | None = None
    """Also write the summary to this file."""
    keys: Path | None = None
    """Folder with the keys of this rig and server.key, for a policy server that takes keyed connections."""
    out: Path = Path("runs")
    """Folder that receives the run's folder."""


@dataclass(frozen=True)
class Teleop:
    """Lead a rig's arms by hand, without a policy, and record it."""

    rig: str = "sim-x5"
    """Built-in rig or a rig file whose `leaders` name the devices; a simulated rig without any is led by a script."""
    task: str = "transfer"
    """Built-in task of a simulated rig, or what is recorded as the instruction on a real one."""
    duration_s: float = 60.0
    """How long."""
    seed: int = 0
    """Seed of the task's layout."""
    headless: bool = False
    """No live view; one line for each event."""
    summary: Path | None = None
    """Also write the summary to this file."""
    out: Path = Path("runs")
    """Folder that receives the run's folder."""


@dataclass(frozen=True)
class Serve:
    """Serve a policy to runs on this host or, with keys, on others."""

    policy: str = "demo"
    """Built-in policy, or a policy folder or .onnx file."""
    backend: Literal["onnx", "torch", "tensorrt"] = "onnx"
    """What runs the model; torch may run code that is in the policy's folder."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where it runs, in place of what the policy's manifest says."""
    bind: str = "tcp://127.0.0.1:8790"
    """Endpoint to listen on: tcp://127.0.0.1:PORT or ipc://PATH; with --keys also tcp://HOST:PORT or tcp://*:PORT."""
    protocol: Literal["leadtime", "openpi"] = "leadtime"
    """Wire protocol to speak; openpi is its websocket, for programs written for its client."""
    latency: str = "none"
    """Latency profile that answers are held back to."""
    seed: int = 0
    """Seed of the latency profile."""
    keys: Path | None = None
    """Folder with the keys of this server and clients/, the public keys of the rigs that may connect."""
    insecure: bool = False
    """Serve other hosts without keys: anyone who reaches the endpoint may connect and read along."""


@dataclass(frozen=True)
class Keys:
    """Make a key pair for a policy server or for a rig."""

    out: Path
    """Folder that receives own.key and own.key_secret; keys that are there are not overwritten."""


@dataclass(frozen=True)
class Doctor:
    """Say what this host permits and what is missing, with the remedy for each."""

    rig: str = "sim-x5"
    """Rig to check."""


@dataclass(frozen=True)
class Replay:
    """Run the control decisions of a recorded run again and compare every command bit for bit."""

    run: Positional[Path]
    """Folder of the run."""


@dataclass(frozen=True)
class View:
    """Write a recorded run's page and summary anew, of one that failed or was killed too, and say where the page is."""

    run: Positional[Path]
    """Folder of the run."""


@dataclass(frozen=True)
class Export:
    """Write a recorded run as a dataset to train from."""

    run: Positional[Path]
    """Folder of the run."""
    format: Literal["lerobot"] = "lerobot"
    """LeRobot's dataset format v3.0; needs pip install 'leadtime[export]'."""
    out: Path = Path("dataset")
    """Folder that receives the dataset; it must not exist."""


@dataclass(frozen=True)
class Calibrate:
    """Estimate what a rig's arms, grippers or cameras really are, and keep it; no device is written to."""

    what: Positional[Literal["zero", "gripper", "camera", "hand-eye", "latency"]]
    """zero, gripper and latency read a recorded run, camera and hand-eye pictures of a ChArUco board."""
    rig: str = "sim-x5"
    """Built-in rig or a rig file."""
    side: Literal["left", "right"] = "left"
    """The arm."""
    run: Path | None = None
    """Folder of a run: the arm held in its jig (zero), its gripper moved from closed to open, or the arm moving."""
    jig_rad: tuple[float, ...] = ()
    """The jig's 6 joint angles, rad; the arm's rest pose when not given."""
    camera: str = "cam_high"
    """The camera, by its name in the rig's file."""
    images: Path | None = None
    """Folder of pictures of the board; for hand-eye also joints.yaml with the arm's 6 angles at each picture."""
    board: str = "7x5:30:22"
    """The board: COLUMNSxROWS:SQUARE_MM:MARKER_MM, markers of ArUco's 4x4_50."""
    mount: Literal["hand", "base"] = "hand"
    """Where the camera is: on the arm's hand, or standing still in its base's frame with the board on the hand."""
    out: Path = Path("calibrations")
    """Folder of the file that keeps what is known of the rig."""


@dataclass(frozen=True)
class BenchJitter:
    """Measure wake-up lateness of the control process beside cyclictest and a plain sleep loop."""

    out: Path = Path("out")
    """Folder that receives results.json and report.html."""
    quick: bool = False
    """Seconds instead of minutes; a smoke test, not a measurement."""


@dataclass(frozen=True)
class BenchDecoupling:
    """Compare every way of executing action chunks under every delay, in virtual time; an interrupted run goes on."""

    out: Path = Path("out")
    """Folder that receives results.json and report.html, and keeps the episodes."""
    quick: bool = False
    """One task, four delay processes and a few episodes in under 3 minutes: a smoke table."""
    policy: str = "demo-state"
    """Policy that plays: one that reads object states is much faster than one that reads pictures (demo)."""
    tasks: tuple[str, ...] = ()
    """Tasks to play; all that the policy knows when not given."""
    profiles: tuple[str, ...] = ()
    """Delay processes by their name in the table, or as --latency takes them (trace:FILE); all when not given."""
    merges: tuple[str, ...] = ()
    """Merges to compare; all when not given."""
    episodes: int = 0
    """Episodes of each cell; 0 for the default."""
    workers: int = 0
    """Processes that play; 0 for as many as there are cores."""


@dataclass(frozen=True)
class BenchLatency:
    """Take the time from camera to motor command apart: a policy held to pi0's 73 ms, and the one that is named."""

    out: Path = Path("out")
    """Folder that receives results.json and report.html, and keeps the runs."""
    quick: bool = False
    """Seconds instead of a minute; a smoke test, not a measurement."""
    policy: str = "demo"
    """What is measured beside it: built-in policy, a policy folder or .onnx file, or the endpoint of a server."""


@dataclass(frozen=True)
class BenchTransport:
    """Send an observation and get a chunk back: our server beside openpi's and LeRobot's own, in turns."""

    out: Path = Path("out")
    """Folder that receives results.json and report.html."""
    quick: bool = False
    """A few requests of each; a smoke test, not a measurement."""
    openpi: Path | None = None
    """Checkout of openpi, whose websocket server is measured; left out without it."""
    openpi_python: str = ""
    """Python that has openpi-client and websockets; this one when not given."""
    lerobot_python: str = ""
    """Python that has lerobot 0.4.4 and grpcio; this one when not given."""
    contenders: tuple[str, ...] = ()
    """Who is measured, by name (leadtime openpi lerobot-gigabit ...); all when not given."""


@dataclass(frozen=True)
class BenchFaults:
    """Inject every row of the fault table into whole runs, each with its negative control."""

    out: Path = Path("out")
    """Folder that receives results.json and report.html, and keeps the runs."""
    quick: bool = False
    """A few rows instead of all; a smoke test."""
    rows: tuple[str, ...] = ()
    """Rows of the table to inject, by number; results of others that are in the folder are kept."""
    without_controls: bool = False
    """Leave the negative controls out."""
    physical_times: bool = False
    """Commands live and feedback counts for as long as on a physical rig by default, not as on the simulated ones: a
    host that stands still for some milliseconds then has the arms braked."""
    limit_s: float = 0.0
    """Begin no more rows after this time; 0 for no limit. The others are played by another call."""


@dataclass(frozen=True)
class BenchSoak:
    """Run for an hour and watch memory, descriptors, threads and what was dropped, of every process."""

    out: Path = Path("out")
    """Folder that receives results.json and report.html, and keeps the run."""
    duration_s: float = 3600.0
    """How long."""
    quick: bool = False
    """A minute; a smoke test, not a soak."""
    policy: str = "demo"
    """Built-in policy, or a policy folder or .onnx file."""


Bench = (
    Annotated[BenchJitter, subcommand("jitter")]
    | Annotated[BenchDecoupling, subcommand("decoupling")]
    | Annotated[BenchLatency, subcommand("latency")]
    | Annotated[BenchTransport, subcommand("transport")]
    | Annotated[BenchFaults, subcommand("faults")]
    | Annotated[BenchSoak, subcommand("soak")]
)


@dataclass(frozen=True)
class Policies:
    """List the systems that a rig could be driven by, and how their chunks would be executed on it."""

    rig: str = "sim-x5"
    """Built-in rig or a rig file; its policy rate and arms decide."""
    json: bool = False
    """Everything that is known of each, as JSON."""


HANDLERS: Final[dict[type[Any], str]] = {
    Run: "runtime.commands.run:run",
    Teleop: "runtime.commands.teleop:teleop",
    Serve: "runtime.commands.serve:serve",
    Keys: "runtime.commands.keys:keys",
    Doctor: "runtime.commands.doctor:doctor",
    Replay: "runtime.commands.replay:replay",
    Policies: "runtime.commands.policies:policies",
    View: "runtime.commands.view:view",
    Export: "runtime.commands.export:export",
    Calibrate: "calibration.command:calibrate",
    BenchJitter: "bench.jitter:run",
    BenchDecoupling: "bench.decoupling.comparison:run",
    BenchLatency: "bench.latency.comparison:run",
    BenchTransport: "bench.transport.comparison:run",
    BenchFaults: "bench.faults.comparison:run",
    BenchSoak: "bench.soak:run",
}
"""What carries a command out; imported only for the command that is given."""

NEAR: Final = 80
"""Letters that are shown around one that cannot be written."""

Command = (
    Annotated[Run, subcommand("run")]
    | Annotated[Teleop, subcommand("teleop")]
    | Annotated[Serve, subcommand("serve")]
    | Annotated[Keys, subcommand("keys")]
    | Annotated[Doctor, subcommand("doctor")]
    | Annotated[Replay, subcommand("replay")]
    | Annotated[Policies, subcommand("policies")]
    | Annotated[View, subcommand("view")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Calibrate, subcommand("calibrate")]
    | Annotated[Bench, subcommand("bench", description="Run a benchmark.")]
)


def main() -> None:
    """Entry of the `leadtime` script."""
    _open_streams()
    status = _carry_out()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        status = _blame(error)
    sys.exit(status)


def _carry_out() -> int:
    """Parse and carry out what is asked for; returns the exit status, its reason said."""
    try:
        command: Any = tyro.cli(Command, prog="leadtime")
        module, function = HANDLERS[type(command)].split(":")
        status: int = getattr(importlib.import_module(module), function)(command)
    except LeadtimeError as error:
        sys.stderr.write(f"leadtime: {error}\n")
        return error.exit_status
    except UnicodeEncodeError as error:
        # What has no letters for it may be a whole page.
        near = error.object[max(error.start - NEAR, 0) : error.end + NEAR]
        sys.stderr.write(f"leadtime: {near!r} is no UTF-8 text; rename it\n")
        return UsageError.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 0
    except OSError as error:
        return _blame(error)
    return status


def _open_streams() -> None:
    """Put the null device where the caller closed a standard stream: what is opened next would be taken for it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding has no sign for is shown as a question mark, of the same width.
        sys.stdout.reconfigure(errors="replace")


def _drop_output() -> None:
    """Go on without the reader of our output, who left (`| head`): not an error of the job."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _blame(error: OSError) -> int:
    sys.stderr.write(f"leadtime: {error.filename or 'this host'}: {error.strerror or error}\n")
    return LeadtimeError.exit_status
