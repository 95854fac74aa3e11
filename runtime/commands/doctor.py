"""`leadtime doctor`: what this host permits, what is missing, and the remedy for each."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runtime import realtime
from runtime.cli import Doctor
from runtime.config import RigConfig, load_rig
from runtime.drivers.checks import check_devices
from runtime.drivers.sim.probe import rendering_obstacle
from runtime.errors import LeadtimeError
from runtime.inference.backends.providers import GPU_REMEDY
from runtime.inference.policy import load_policy
from runtime.lock import RigLock

PACKAGES: Final = ("numpy", "pyzmq", "msgpack", "msgspec", "ruckig", "mujoco", "onnxruntime", "mcap", "simplejpeg")
EXTRAS: Final = {
    "torch": "torch",
    "gpu": "tensorrt",
    "ros2": "eclipse-zenoh",
}
DISK_FREE_MIN_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report. `needed` findings that are not `fine` make the command fail."""

    what: str
    fine: bool
    says: str
    needed: bool = True


def doctor(command: Doctor) -> int:
    """Print the findings; status 0 when nothing needed is missing."""
    rig = load_rig(command.rig)
    findings = [*_host(), *_packages(), *_rig(rig)]
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "finding"):
        # Folded, never cut: a remedy is there to be copied.
        table.add_column(column, overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.fine else ("[red]missing[/]" if finding.needed else "[yellow]absent[/]")
        table.add_row(mark, finding.what, escape(finding.says))
    console = Console(file=sys.stdout, soft_wrap=True)
    with console.capture() as page:
        console.print(table)
    sys.stdout.write(page.get())
    missing = [finding.what for finding in findings if finding.needed and not finding.fine]
    if missing:
        raise LeadtimeError(f"doctor: missing on this host: {', '.join(missing)}")
    return 0


def _host() -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])
    cores = len(os.sched_getaffinity(0))
    yield Finding("processors", cores >= 2, f"{cores} (two or more keep the policy away from the control loop)")
    for grant in realtime.survey():
        yield Finding(grant.name, grant.granted, "granted" if grant.granted else grant.remedy, needed=False)
    cyclictest = shutil.which("cyclictest")
    yield Finding("cyclictest", cyclictest is not None, cyclictest or "apt-get install rt-tests", needed=False)
    free = shutil.disk_usage(".").free
    yield Finding("disk", free >= DISK_FREE_MIN_BYTES, f"{free / 2**30:.1f} GiB free for recordings")


def _packages() -> Iterator[Finding]:
    on_gpu = _version("onnxruntime-gpu")
    for name in PACKAGES:
        version = _version(name)
        if name == "onnxruntime":
            if version and on_gpu:
                yield Finding("onnxruntime-gpu", False, f"in one folder with onnxruntime: {GPU_REMEDY}", needed=False)
            version = version or on_gpu
        yield Finding(name, version is not None, version or "make run installs it")
    for extra, name in EXTRAS.items():
        version = _version(name)
        yield Finding(name, version is not None, version or f"pip install 'leadtime[{extra}]'", needed=False)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _rig(rig: RigConfig) -> Iterator[Finding]:
    yield Finding(f"rig {rig.name}", True, f"{rig.servo_hz} Hz servo, {rig.policy_hz} Hz policy")
    try:
        RigLock(rig.name).release()
        yield Finding("rig lock", True, "free")
    except LeadtimeError as error:
        yield Finding("rig lock", False, str(error), needed=False)
    if rig.simulated:
        obstacle = rendering_obstacle()
        yield Finding("rendering", obstacle is None, obstacle or "works", needed=False)
    for check in check_devices(rig):
        yield Finding(check.what, check.fine, check.says)
    try:
        policy = load_policy("demo")
        chunk = min(policy.horizon(task) for task in policy.tasks)
        yield Finding("policy demo", True, f"chunk of {chunk} at {policy.manifest.rate_hz} Hz")
    except LeadtimeError as error:
        yield Finding("policy demo", False, str(error))
