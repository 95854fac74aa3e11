"""`leadtime teleop`: a person leads the arms, without a policy; recorded as a run is."""

from __future__ import annotations

import sys

import msgspec

from runtime.cli import Teleop
from runtime.commands.run import check_session, conduct
from runtime.config import RigConfig, load_rig
from runtime.devices import SimLeader
from runtime.drivers.factory import make_leader
from runtime.drivers.sim.plant import Plant, state_size
from runtime.drivers.sim.probe import rendering_obstacle
from runtime.drivers.sim.tasks import TASKS
from runtime.errors import UsageError
from runtime.lock import RigLock
from runtime.spec import RunSpec
from runtime.supervisor import run_folder


def teleop(command: Teleop) -> int:
    """Carry the command out; returns the exit status."""
    rig = load_rig(command.rig)
    lock = RigLock(rig.name)
    try:
        return conduct(command, resolve(command, _led(rig)))
    finally:
        lock.release()


def _led(rig: RigConfig) -> RigConfig:
    """Return the rig with its leaders; raises UsageError where nobody could lead it."""
    if not rig.leaders and not rig.simulated:
        raise UsageError(f"rig {rig.name} has no leaders: name one below 'leaders' in its file (docs/teleoperation.md)")
    if not rig.leaders:
        sys.stdout.write(f"{rig.name} has no leaders: a script leads it, from 3 s to 12 s after the start\n")
        rig = msgspec.structs.replace(rig, leaders={"script": SimLeader()})
    for leader in rig.leaders.values():
        make_leader(leader, rig)
    return rig


def resolve(command: Teleop, rig: RigConfig) -> RunSpec:
    """Check what was asked for and make the run's folder; raises UsageError before anything starts."""
    check_session(command, rig)
    if rig.simulated and rig.cameras and rendering_obstacle() is not None:
        rig = msgspec.structs.replace(rig, cameras={})
    prompt, scene_length = command.task, 0
    if rig.simulated:
        task = TASKS[command.task]()
        prompt, scene_length = task.prompt, state_size(Plant(rig.arms["left"].model, task).model)
    return RunSpec(
        rig=rig,
        run_dir=str(run_folder(command.out, f"{rig.name}-teleop").resolve()),
        policy="a person",
        endpoint="",
        serve=False,
        task=command.task,
        prompt=prompt,
        latency="none",
        merge="leadtime",
        seed=command.seed,
        duration_s=command.duration_s,
        episode_s=0.0,
        scene_length=scene_length,
        teleop=True,
    )
