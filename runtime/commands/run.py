"""`leadtime run`: resolve what was asked for, run it, leave its summary and page."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from runtime.blackbox import load_run, parts
from runtime.board import Board
from runtime.cli import Run, Teleop
from runtime.config import RigConfig, load_rig
from runtime.console.live import LiveView
from runtime.console.report import write_report
from runtime.control.merge import MERGES
from runtime.drivers.sim.plant import Plant, state_size
from runtime.drivers.sim.probe import rendering_obstacle
from runtime.drivers.sim.tasks import TASKS
from runtime.errors import UsageError, unknown_name
from runtime.files import write_text
from runtime.inference.adapters.registry import is_adapter, make_adapter
from runtime.inference.check import check_policy
from runtime.inference.client.carrier import carriage_of
from runtime.inference.client.corrector import load_corrector
from runtime.inference.client.terms import choose
from runtime.inference.policy import Policy, load_policy
from runtime.inference.sampler import conditions_of
from runtime.inference.server.latency import parse_latency
from runtime.lock import RigLock
from runtime.net.keys import ClientKeys
from runtime.net.sockets import check_endpoint
from runtime.seed import check_seed
from runtime.spec import RunSpec, public
from runtime.summary import FILE_NAME, as_text, build_summary
from runtime.supervisor import Supervisor, run_folder

ENDPOINT_SCHEMES: Final = ("tcp://", "ipc://")
DURATION_MAX_S: Final = 86_400.0
STATE_POLICY: Final = "demo-state"
"""What stands in for the demo policy where nothing can be rendered."""


def run(command: Run) -> int:
    """Carry the command out; returns the exit status."""
    rig = load_rig(command.rig)
    lock = RigLock(rig.name)
    try:
        return conduct(command, resolve(command, rig))
    finally:
        lock.release()


def conduct(command: Run | Teleop, spec: RunSpec) -> int:
    """Run a resolved session, live or headless, and leave its summary and page."""
    view = LiveView() if _watched(command) else None

    def on_view(board: Board) -> None:
        if view is not None:
            view.update(board)

    def on_note(line: str) -> None:
        if view is not None:
            view.note(line)
            return
        try:
            _say(line)
        except BrokenPipeError:
            # Nobody looks after the run any more, as where its terminal was closed.
            supervisor.interrupt()
        except OSError:
            pass  # What a full disk has no room for is lost; the arms go on.

    if not spec.teleop:
        _say(f"{public(spec.policy)} on {spec.rig.name}, task {spec.task}, latency {spec.latency}, merge {spec.merge}")
    supervisor = Supervisor(spec, on_view, on_note)
    with view if view is not None else nullcontext():
        supervisor.run()
    if supervisor.interrupted and not parts(Path(spec.run_dir)):
        _say("interrupted before anything moved")
        return 0
    run = load_run(Path(spec.run_dir))
    summary = build_summary(run)
    text = as_text(summary)
    # One disk may be full, and the other be another.
    try:
        if command.summary is not None:
            write_text(command.summary, text)
    finally:
        write_text(run.run_dir / FILE_NAME, text)
    if supervisor.interrupted:
        _say(f"interrupted; everything has stopped. The recording is whole: leadtime view {spec.run_dir}")
    else:
        _say(_closing(summary, write_report(run, summary)))
    return 0


def check_session(command: Run | Teleop, rig: RigConfig) -> None:
    """Check what a session of any kind is given; raises UsageError."""
    if rig.simulated and command.task not in TASKS:
        raise unknown_name("task", command.task, TASKS)
    if not 0 < command.duration_s <= DURATION_MAX_S:
        raise UsageError(f"--duration-s {command.duration_s}: give a number of seconds above 0, at most a day")
    check_seed(command.seed)
    if command.summary is not None and (command.summary.is_dir() or not command.summary.parent.is_dir()):
        raise UsageError(f"--summary {command.summary}: give a file in a folder that exists")


def _check(command: Run, rig: RigConfig) -> None:
    if command.merge not in MERGES:
        raise unknown_name("merge", command.merge, MERGES)
    check_session(command, rig)
    if command.episodes < 0:
        raise UsageError(f"--episodes {command.episodes}: give a number of episodes, or 0 for no limit")
    if command.episodes and not rig.simulated:
        raise UsageError(f"--episodes {command.episodes}: rig {rig.name} has none that end by themselves; leave it out")
    parse_latency(command.latency)
    if command.keys is not None:
        if not _remote(command.policy):
            raise UsageError(f"--keys {command.keys} is for the endpoint of a policy server, not for {command.policy}")
        ClientKeys.load(command.keys)
    if _remote(command.policy):
        check_endpoint(carriage_of(command.policy)[0], bind=False)
        if command.latency != "none":
            raise UsageError(
                f"--latency {command.latency} is held by the server that a run starts; give it to `leadtime serve`"
            )


def resolve(command: Run, rig: RigConfig) -> RunSpec:
    """Check what was asked for and make the run's folder; raises UsageError before anything starts."""
    _check(command, rig)
    policy = command.policy
    if rig.simulated and rig.cameras and (obstacle := rendering_obstacle()) is not None:
        rig = msgspec.structs.replace(rig, cameras={})
        policy = STATE_POLICY if policy == "demo" else policy
        _say(f"no pictures on this host: {obstacle}. Going on with joint and object states, policy {policy}")
    corrector = ""
    if is_adapter(policy):
        # Read now, so that a wrong setting is said before anything starts; reached by the server of the run.
        make_adapter(policy)
    elif not _remote(policy):
        loaded = load_policy(policy)
        check_policy(loaded, rig, command.task)
        choose(command.merge, conditions_of(loaded, command.task), remembers=False)
        corrector = corrector_of(loaded, command.task, command.merge)
    prompt, episode_s, scene_length = command.task, 0.0, 0
    if rig.simulated:
        task = TASKS[command.task]()
        prompt, episode_s = task.prompt, task.time_limit_s
        scene_length = state_size(Plant(rig.arms["left"].model, task).model)
    return RunSpec(
        rig=rig,
        run_dir=str(run_folder(command.out, f"{rig.name}-{command.task if rig.simulated else 'task'}").resolve()),
        policy=policy,
        # An abstract socket: nothing in the file system to collide with or to leave behind.
        endpoint=policy if _remote(policy) else f"ipc://@leadtime-{os.getpid()}",
        serve=not _remote(policy),
        task=command.task,
        prompt=prompt,
        latency=command.latency,
        merge=command.merge,
        corrector=corrector,
        seed=command.seed,
        duration_s=command.duration_s,
        episode_s=episode_s,
        episodes=command.episodes,
        allow_slow=command.allow_slow,
        scene_length=scene_length,
        keys="" if command.keys is None else str(command.keys.resolve()),
    )


def corrector_of(policy: Policy, task: str, merge: str) -> str:
    """Return the file of the corrector that a merge uses with a policy, "" for none.

    Raises:
        UsageError: the file is no corrector, or reads other objects than the policy.
    """
    if not MERGES[merge].amends or load_corrector(policy, task) is None:
        return ""
    return str(policy.corrector(task))


def _remote(policy: str) -> bool:
    return policy.startswith(ENDPOINT_SCHEMES)


def _watched(command: Run | Teleop) -> bool:
    # A terminal without cursor movements would show nothing before the end.
    return not command.headless and sys.stdout.isatty() and not Console().is_dumb_terminal


def _closing(summary: dict[str, Any], page: Path) -> str:
    """Say in one line how the run went and where its page is."""
    finished = summary["successes"] + summary["failures"]
    attempts = f"{summary['successes']} of {finished} attempts succeeded; " if finished else ""
    latency_ms = summary["inference"]["latency_ms"]["p50"]
    model = "" if latency_ms is None else f"model {latency_ms:.0f} ms away, "
    return f"{attempts}{model}{summary['ticks_starved']} ticks starved; page: {page}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
