"""What is known of a rig, in one YAML file: each estimate with its date and its residual, bound to the hardware."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta

from runtime.config import RigConfig
from runtime.devices import device_id
from runtime.errors import UsageError
from runtime.files import make_folder, replace_text
from runtime.layout import ARM_JOINTS, Side
from runtime.yaml_file import convert, read_yaml

Matrix4 = Annotated[list[Annotated[list[float], Meta(min_length=4, max_length=4)]], Meta(min_length=4, max_length=4)]
Joints = Annotated[list[float], Meta(min_length=ARM_JOINTS, max_length=ARM_JOINTS)]


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An estimate of one thing: `device` is what it was of, `date` when, `samples` from how many observations."""

    device: str
    date: str
    samples: int


class Zero(Estimate, frozen=True, kw_only=True):
    """`offset_rad` (6,): what to add to each measured joint; `spread_rad` is how far the samples are apart."""

    offset_rad: Joints
    spread_rad: float


class Gripper(Estimate, frozen=True, kw_only=True):
    """The readings, as fractions of the stroke, at which a gripper is really closed and open."""

    closed: float
    open: float


class Intrinsics(Estimate, frozen=True, kw_only=True):
    """A pinhole camera with OpenCV's distortion (k1, k2, p1, p2, k3); lengths in pixels of a picture of this size."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: Annotated[list[float], Meta(min_length=5, max_length=5)]
    residual_px: float


class Mount(Estimate, frozen=True, kw_only=True):
    """Where a camera is: `pose` takes its coordinates (x right, y down, z ahead; m) to those of `parent`, an arm's
    hand or base; the residuals say by how much the board moves where it should stand still.
    """

    parent: str
    pose: Matrix4
    residual_m: float
    residual_rad: float


class Delay(Estimate, frozen=True, kw_only=True):
    """From a command to the motion that follows it; `correlation` of the two at that delay, 1 at best."""

    command_to_motion_ms: float
    correlation: float


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that is known of a rig, by side or camera."""

    rig: str
    zero: dict[Side, Zero] = {}
    gripper: dict[Side, Gripper] = {}
    intrinsics: dict[str, Intrinsics] = {}
    mount: dict[str, Mount] = {}
    delay: dict[Side, Delay] = {}


def today() -> str:
    """Return the date that an estimate of today carries."""
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def load(path: Path, rig: RigConfig) -> Calibration:
    """Read a rig's calibration; one with nothing in it where there is no file.

    Raises:
        UsageError: the file is not a calibration, or is one of another rig or of other devices.
    """
    if not path.exists():
        return Calibration(rig=rig.name)
    if not path.is_file():
        raise UsageError(f"{path}: is no file that a calibration can be kept in; move it away, or give another --out")
    known: Calibration = convert(read_yaml(path), Calibration, path)
    if known.rig != rig.name:
        raise UsageError(f"{path}: key 'rig': of rig {known.rig!r}, not {rig.name!r}; give another --out")
    for room, devices in (
        ("zero", rig.arms),
        ("gripper", rig.arms),
        ("delay", rig.arms),
        ("intrinsics", rig.cameras),
        ("mount", rig.cameras),
    ):
        for name, estimate in getattr(known, room).items():
            device = devices.get(name)
            if device is None:
                raise UsageError(f"{path}: key '{room}.{name}': take it out; the rig has {', '.join(devices)}")
            if estimate.device != device_id(device):
                raise UsageError(
                    f"{path}: key '{room}.{name}': of {estimate.device!r}, but the rig has {device_id(device)!r}; "
                    f"take the key out of the file and calibrate it anew"
                )
    return known


def save(path: Path, calibration: Calibration) -> None:
    """Write a rig's calibration, where a link leads to; what was kept before stays where the disk does not take all."""
    make_folder(path.parent)
    replace_text(path, yaml.safe_dump(msgspec.to_builtins(calibration), sort_keys=False))


def put(calibration: Calibration, room: str, name: str, estimate: Estimate) -> Calibration:
    """Return a calibration with one estimate in place of what was there."""
    return msgspec.structs.replace(calibration, **{room: {**getattr(calibration, room), name: estimate}})
