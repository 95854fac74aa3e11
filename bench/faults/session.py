"""One row's run: set up, directed, ended, and looked at afterwards in its black box."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bench.faults import expect, harm, partition
from bench.faults.entry import PATCHES, RELAY
from bench.faults.expect import Finding
from bench.faults.misbehaviour import DROPS
from bench.faults.patch import TRIGGER
from bench.faults.relay import Relay
from bench.faults.stage import MissedError, Stage
from bench.faults.table import PICTURES, Row
from runtime.blackbox import Run as Recorded
from runtime.blackbox import load_run, parts
from runtime.board import ROLES, Board
from runtime.cli import Run
from runtime.clock import NS_PER_MS
from runtime.commands.run import resolve
from runtime.config import RigConfig, load_rig
from runtime.devices import SimLeader
from runtime.errors import LeadtimeError
from runtime.layout import ARM_DOF
from runtime.lock import RigLock
from runtime.spec import RunSpec
from runtime.states import Guard, Mode
from runtime.supervisor import Supervisor

DEADLINE_MS: Final = 600.0
"""Of a request in these runs; a rig's default is 5 s, for models that need it."""
RUN_S: Final = 170.0
ENTRY: Final = "bench.faults.entry"
SHIM: Final = Path(__file__).parent / "native" / "wallclock.c"
LATE_RAD: Final = 0.03
SWAY_RAD: Final = 0.06
"""Of the scripted leader: it takes the arms from wherever the policy left them, which may be close to the table."""
CLUTCH_S: Final = tuple((8.0 + 13.0 * i, 18.0 + 13.0 * i) for i in range(12))
"""The leader's hold on its clutch: long enough to be brought together, again and again."""


def rig_of(name: str, *, physical_times: bool) -> RigConfig:
    """Return a rig as these runs have it, with its own times or with those that a rig has by default."""
    rig = msgspec.structs.replace(load_rig(name), request_deadline_ms=DEADLINE_MS)
    if not physical_times:
        return rig
    defaults = {field.name: field.default for field in msgspec.structs.fields(RigConfig)}
    return msgspec.structs.replace(rig, **{name: defaults[name] for name in ("command_ttl_ms", "state_stale_ms")})


def play(row: Row, out: Path, *, blind: bool, physical_times: bool = False) -> Finding:
    """Play a row against a whole run; `blind`: as its negative control."""
    found = Finding()
    act = row.blind_act if blind and row.blind_act is not None else row.act
    rig = rig_of(row.rig, physical_times=physical_times)
    if row.policy != PICTURES:
        rig = msgspec.structs.replace(rig, cameras={})
    if row.led:
        rig = msgspec.structs.replace(
            rig, leaders={"script": SimLeader(clutch_s=CLUTCH_S, offset_rad=0.0, sway_rad=SWAY_RAD)}
        )
    command = Run(policy=row.policy, merge=row.merge, latency="pi0", duration_s=RUN_S, headless=True, out=out / "runs")
    lock = RigLock(rig.name)
    try:
        spec = resolve(command, rig)
        with ExitStack() as stack:
            if row.network:
                if not stack.enter_context(partition.namespace()):
                    return Finding(note="this host permits no network namespace")
                spec = msgspec.structs.replace(spec, endpoint=partition.ENDPOINT)
            relay = stack.enter_context(_relayed(spec)) if row.relay else None
            if relay is not None and act is expect.refused:
                relay.to_client = harm.unfit
            trigger = Path(spec.run_dir) / "trigger"
            if row.from_start:
                trigger.touch()
            patches = ["count-drops", *row.patches, *(["netns"] if row.network else []), *(row.blind if blind else ())]
            stack.enter_context(_environment(_settings(row, out, relay, trigger, patches)))
            stage = Stage(trigger, relay)
            _direct(row, act, stage, found, spec)
    finally:
        lock.release()
    if parts(Path(spec.run_dir)):
        _look_back(row, load_run(Path(spec.run_dir)), found)
    return found


@contextmanager
def _relayed(spec: RunSpec) -> Iterator[Relay]:
    relay = Relay(f"{spec.endpoint}-relay", spec.endpoint)
    relay.start()
    try:
        yield relay
    finally:
        relay.close()


def _settings(row: Row, out: Path, relay: Relay | None, trigger: Path, patches: list[str]) -> dict[str, str]:
    settings = {PATCHES: " ".join(patches), TRIGGER: str(trigger)}
    if relay is not None:
        settings[RELAY] = relay.front
    if row.wall_clock:
        library = (out / "wallclock.so").resolve()
        built = subprocess.run(
            ["cc", "-shared", "-fPIC", "-O2", "-o", library, SHIM, "-ldl"], capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise LeadtimeError(f"the wall clock's shim could not be built: {built.stderr.strip()[:200]}")
        settings["LD_PRELOAD"] = str(library)
    return settings


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Give the children of this process some variables more."""
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]


def _direct(row: Row, act: expect.Act, stage: Stage, found: Finding, spec: RunSpec) -> None:
    """Run the supervisor here and the act in a thread; whichever ends first ends the other."""
    began, directed = threading.Event(), threading.Event()

    def on_view(board: Board) -> None:
        stage.board = board
        began.set()
        if stage.stall_view_s:
            stall_s, stage.stall_view_s = stage.stall_view_s, 0.0
            time.sleep(stall_s)

    def direct() -> None:
        while not began.wait(0.05):
            if stage.over.is_set():
                return
        try:
            act(stage, found)
            violations = stage.latest("task")["limit_violations"]
            found.checks["limits held at the device"] = int(violations) == 0
        except (MissedError, OSError) as error:
            found.checks[f"the run can be observed ({error})"] = False
        finally:
            directed.set()
            os.kill(os.getpid(), signal.SIGINT)

    roles = [role for role in ROLES if role != "server" or row.network]
    supervisor = Supervisor(spec, on_view, _say, dict.fromkeys(roles, ENTRY))
    director = threading.Thread(target=direct)
    director.start()
    try:
        supervisor.run()
        if supervisor.interrupted and not directed.is_set():
            raise KeyboardInterrupt
    except LeadtimeError as error:
        if act is expect.refused:
            found.checks = {expect.REFUSED: row.refusal in str(error)}
        found.note = f"{found.note}; {error}".lstrip("; ")
    finally:
        stage.over.set()
        # The director's own signal may come after the run has ended by itself.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        director.join()
        signal.signal(signal.SIGINT, before)


def _look_back(row: Row, run: Recorded, found: Finding) -> None:
    """Check the whole run as it was recorded: no command jumps, no guardian lets an arm go that is armed."""
    ticks = run.ticks
    if not len(ticks):
        return
    positions, ack = ticks["command"]["position"], ticks["command"]["ack"]
    armed = ticks["command"]["armed"] == 1
    joined = (np.diff(ticks["servo_tick"]) == 1) & armed[1:] & armed[:-1] & (ack[1:] == ack[:-1]).all(axis=1)
    rig = run.spec.rig
    most = rig.stack("velocity_max") * rig.limits.velocity_fraction / rig.servo_hz
    disarmed = ticks["guardian"]["state"] == Guard.DISARMED
    # What a guardian does not follow yet begins where the arm is seen, be it anew at each tick.
    followed = joined[:, None] & ~np.repeat(disarmed[1:], ARM_DOF, axis=1)
    steps = (np.abs(np.diff(positions, axis=0)) / most)[followed]
    found.checks["no jump"] = bool(len(steps) == 0 or steps.max() <= 1.0 + 1e-6)
    first = int(np.argmax(~disarmed.any(axis=1))) if (~disarmed.any(axis=1)).any() else len(ticks)
    let_go = disarmed[first:] & armed[first:, None]
    # The left guardian of these is started anew; its device holds on meanwhile.
    side = slice(1, None) if row.key in {"14", "18b", "18c"} else slice(None)
    dropped = (Path(run.spec.run_dir) / DROPS).exists()
    found.checks["torque never off"] = not let_go[:, side].any() and not dropped
    if row.number == 10:
        _check_late(run, found)


def _check_late(run: Recorded, found: Finding) -> None:
    """Compare what was executed after a late chunk with that chunk's own actions for those ticks."""
    ratio = run.spec.rig.servo_hz // run.spec.rig.policy_hz
    chunks = run.records["chunk"]
    late = chunks[(chunks["t_received_ns"] - chunks["t_obs_ns"] > 250 * NS_PER_MS) & (chunks["cold"] == 0)]
    ticks = run.ticks[(run.ticks["servo_tick"] % ratio == 0) & (run.ticks["mode"] == Mode.POLICY)]
    apart = []
    for chunk in late:
        mine = ticks[ticks["chunk_id"] == chunk["chunk_id"]][3:]
        for tick in mine:
            index = int(tick["tick"] - chunk["start_tick"])
            if 1 <= index < int(chunk["horizon"]) - 1:
                before, here, after = chunk["actions"][index - 1 : index + 2]
                arm = np.arange(14) % 7 != 6
                apart.append(float(np.abs(tick["target"] - (before + 4 * here + after) / 6)[arm].max()))
    found.checks["the elapsed part is skipped"] = bool(apart) and max(apart) < LATE_RAD
    found.note = f"executed within {max(apart, default=float('nan')):.4f} rad of the late chunk's own ticks"


def _say(line: str) -> None:
    sys.stdout.write(f"    {line}\n")
    sys.stdout.flush()
