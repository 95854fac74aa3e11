"""Whether this host can reach the devices of a rig, found out without touching any: files, interfaces, packages."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runtime import devices
from runtime.config import RigConfig
from runtime.devices import EMULATED, Device
from runtime.errors import LeadtimeError

CAN_BITRATE: Final = 1_000_000
FTDI_LATENCY_MS: Final = 1
ROOT: Final = Path("/")


@dataclass(frozen=True)
class Check:
    """What was looked at, whether it is as a driver needs it, and what was found or would be right."""

    what: str
    fine: bool
    says: str


def check_devices(rig: RigConfig, root: Path = ROOT) -> Iterator[Check]:
    """Check every device that a rig names; `root` is where /sys and /dev are looked for."""
    for room, named in (("arms", rig.arms), ("cameras", rig.cameras), ("leaders", rig.leaders)):
        for name, device in named.items():
            what = f"{room}.{name} ({device.driver})"
            for fine, says in _CHECKS.get(type(device), _nothing)(device, root):
                yield Check(what, fine, says)


Finding = tuple[bool, str]


def _nothing(_device: Any, _root: Path) -> Iterator[Finding]:
    yield from ()


def _package(module: str, extra: str) -> Finding:
    there = importlib.util.find_spec(module) is not None
    return there, f"package {module} is there" if there else f"needs {module}: pip install 'leadtime[{extra}]'"


def _can(channel: str, root: Path) -> Iterator[Finding]:
    """A SocketCAN interface: there, up, at the arms' bit rate."""
    if channel == EMULATED:
        return
    interface = root / "sys/class/net" / channel
    set_up = f"ip link set {channel} up type can bitrate {CAN_BITRATE} restart-ms 100"
    if not interface.exists():
        yield False, f"no interface {channel}: plug the adapter in, then `{set_up}`"
        return
    state = _read(interface / "operstate")
    yield (
        state in {"up", "unknown"},
        f"{channel} is {state or 'of unknown state'}" + ("" if state == "up" else f": `{set_up}`"),
    )
    rate = _read(interface / "can_bittiming/bitrate")
    if rate:
        yield (
            int(rate) == CAN_BITRATE,
            f"{channel} at {rate} bit/s" + ("" if int(rate) == CAN_BITRATE else f": `{set_up}`"),
        )


def _serial(port: str, root: Path) -> Iterator[Finding]:
    """A serial device: there, permitted, and quick where it is an FTDI's."""
    if port == EMULATED:
        return
    yield from _file(port, root, "dialout")
    device = (root / port.lstrip("/")).resolve()
    timer = _read(root / "sys/bus/usb-serial/devices" / device.name / "latency_timer")
    if timer:
        fine = int(timer) == FTDI_LATENCY_MS
        remedy = "" if fine else f": echo {FTDI_LATENCY_MS} > /sys/bus/usb-serial/devices/{device.name}/latency_timer"
        yield fine, f"latency timer {timer} ms{remedy}"


def _file(path: str, root: Path, group: str) -> Iterator[Finding]:
    """A device file: there and permitted."""
    file = root / path.lstrip("/")
    if not file.exists():
        yield False, f"no {path}: plug it in; its stable name is under /dev/*/by-id"
    elif not os.access(file, os.R_OK | os.W_OK):
        yield False, f"{path} is not permitted: usermod -aG {group} $USER, then log in again"
    else:
        yield True, f"{path} is there"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _piper(device: devices.PiperArm | devices.PiperLeader, root: Path) -> Iterator[Finding]:
    if device.interface == "socketcan":
        yield from _can(device.channel, root)
    elif device.channel != EMULATED:
        yield _package("can", "piper")


def _interbotix(device: devices.InterbotixArm | devices.DynamixelLeader, root: Path) -> Iterator[Finding]:
    yield from _serial(device.port, root)


def _interbotix_ros(device: devices.InterbotixRosArm, _root: Path) -> Iterator[Finding]:
    for module in () if device.robot == EMULATED else ("rclpy", "interbotix_xs_modules"):
        there = importlib.util.find_spec(module) is not None
        yield (
            there,
            f"package {module} is there" if there else f"no {module}: source the Interbotix workspace's setup.bash",
        )


def _arx(device: devices.ArxX5Arm, root: Path) -> Iterator[Finding]:
    if device.channel != EMULATED:
        yield _package("arx5_interface", "arx")
    yield from _can(device.channel, root)


def _realsense(_device: Any, _root: Path) -> Iterator[Finding]:
    yield _package("pyrealsense2", "realsense")


def _uvc(device: devices.UvcCamera, root: Path) -> Iterator[Finding]:
    yield _package("av", "uvc")
    yield from _file(device.device, root, "video")


def _orbbec(device: devices.OrbbecCamera, root: Path) -> Iterator[Finding]:
    python = root / device.python.lstrip("/")
    fine = os.access(python, os.X_OK)
    yield fine, f"{device.python} is there" if fine else f"no interpreter {device.python}: see docs/cameras.md"


def _recorded(device: devices.RecordedCamera, _root: Path) -> Iterator[Finding]:
    fine = Path(device.file).exists()
    yield fine, f"{device.file} is there" if fine else f"no recording {device.file}"


def _evdev(device: devices.EvdevLeader, root: Path) -> Iterator[Finding]:
    yield _package("evdev", "teleop")
    yield from _file(device.device, root, "input")


def _spacemouse(device: devices.SpaceMouseLeader, root: Path) -> Iterator[Finding]:
    yield _package("pyspacemouse", "teleop")
    if device.device:
        yield from _file(device.device, root, "plugdev")


def _poses(device: devices.PoseLeader, _root: Path) -> Iterator[Finding]:
    from runtime.drivers.leaders.poses import check_access  # noqa: PLC0415

    try:
        check_access(device)
    except LeadtimeError as error:
        yield False, str(error)
    else:
        yield True, f"{device.endpoint} lets in {'known keys' if device.keys else 'this host'} only"


_CHECKS: Final[dict[type[Device], Callable[[Any, Path], Iterator[Finding]]]] = {
    devices.PiperArm: _piper,
    devices.PiperLeader: _piper,
    devices.InterbotixArm: _interbotix,
    devices.DynamixelLeader: _interbotix,
    devices.InterbotixRosArm: _interbotix_ros,
    devices.ArxX5Arm: _arx,
    devices.RealsenseCamera: _realsense,
    devices.UvcCamera: _uvc,
    devices.OrbbecCamera: _orbbec,
    devices.RecordedCamera: _recorded,
    devices.EvdevLeader: _evdev,
    devices.SpaceMouseLeader: _spacemouse,
    devices.PoseLeader: _poses,
}
