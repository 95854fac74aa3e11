"""Configuration of a rig, read from YAML; an unknown key, a wrong type or a missing field is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS, ArmModel
from runtime.devices import (
    Arm,
    Camera,
    Leader,
    PiperLeader,
    Rate,
    SimArm,
    SimCamera,
    SpaceMouseLeader,
    device_id,
    is_emulated,
)
from runtime.errors import UsageError, unknown_name
from runtime.layout import CAMERAS, SIDES, Side
from runtime.workspace import Base, Workspace, simulated_base
from runtime.yaml_file import convert, read_yaml

RIG_FOLDER: Final = Path(__file__).parent / "rigs"
SIM_CAMERAS: Final = (*CAMERAS, "cam_front")

Fraction = Annotated[float, Meta(gt=0.0, le=1.0)]
MILLISECONDS_MAX: Final = 60_000.0
Milliseconds = Annotated[float, Meta(gt=0.0, le=MILLISECONDS_MAX)]


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The share of each arm model's limits that the control process uses; guardians keep the full ones."""

    velocity_fraction: Fraction = 0.9
    acceleration_fraction: Fraction = 0.9
    jerk_fraction: Fraction = 0.9


class Ros2Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run shows to ROS 2: joints, and `images` if wanted, `rate_hz` times a second at a Zenoh `endpoint`."""

    endpoint: str = "tcp/127.0.0.1:7447"
    images: bool = True
    rate_hz: Rate = 50


class HandoverConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a person who leads takes the arms over, and when a leader is refused.

    `velocity_fraction`: the share of the limits that an arm approaches its leader with. Joints within `match_rad` are
    matched; where one is `refuse_rad` apart or more, the leader is refused.
    """

    velocity_fraction: Fraction = 0.2
    match_rad: Annotated[float, Meta(gt=0.0, le=0.2)] = 0.03
    refuse_rad: Annotated[float, Meta(gt=0.0, le=6.3)] = 1.2


class RigConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bimanual rig. `servo_hz` must be a multiple of `policy_hz`."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,64}\\Z")]
    servo_hz: Rate = 200
    policy_hz: Rate = 50
    command_ttl_ms: Milliseconds = 20.0
    state_stale_ms: Milliseconds = 25.0
    frame_stale_ms: Milliseconds = 200.0
    request_deadline_ms: Milliseconds = 5000.0
    leader_stale_ms: Milliseconds = 40.0
    arms: dict[str, Arm]
    cameras: dict[str, Camera]
    leaders: dict[str, Leader] = {}
    limits: LimitsConfig = LimitsConfig()
    workspace: Workspace = Workspace()
    ros2: Ros2Config | None = None
    handover: HandoverConfig = HandoverConfig()

    @property
    def simulated(self) -> bool:
        """Whether the arms are simulated, as such or behind an emulated bus: both take the physics process."""
        return self.emulated or any(isinstance(arm, SimArm) for arm in self.arms.values())

    @property
    def emulated(self) -> bool:
        """Whether drivers of real arms speak to emulators of their devices."""
        return any(is_emulated(arm) for arm in self.arms.values())

    @property
    def command_ticks(self) -> int:
        """Whole servo ticks that a command lives."""
        return max(int(self.command_ttl_ms * self.servo_hz / 1000), 1)

    def arm_model(self, side: Side) -> ArmModel:
        """Return the model of one arm."""
        return ARM_MODELS[self.arms[side].model]

    @property
    def bases(self) -> dict[Side, Base]:
        """Where the arms stand, by side; empty where that is not known."""
        if self.simulated:
            return {side: simulated_base(self.arms[side].model, side) for side in SIDES}
        return self.workspace.bases

    def stack(self, field: str) -> NDArray[np.float64]:
        """Return a field of both arms' models as one rig vector, shape (14,)."""
        return np.concatenate([np.asarray(getattr(self.arm_model(side), field)) for side in SIDES])


def rig_names() -> list[str]:
    """Return the names of the built-in rigs."""
    return sorted(path.stem for path in RIG_FOLDER.glob("*.yaml"))


def load_rig(name_or_file: str) -> RigConfig:
    """Read a built-in rig by name, or a rig file by path.

    Raises:
        UsageError: the name is unknown, or the file has a wrong key, type, unit or value; the message names
            the file, the key and what would be right.
    """
    builtin = RIG_FOLDER / f"{name_or_file}.yaml"
    path = builtin if builtin.is_file() else Path(name_or_file)
    if path.is_dir():
        raise UsageError(
            f"rig {name_or_file} is a folder; give a rig's file, or of the built-in {', '.join(rig_names())}"
        )
    if not path.is_file():
        if path.suffix in {".yaml", ".yml"} or path.parent != Path():
            raise UsageError(f"rig file {name_or_file} does not exist; built-in rigs: {', '.join(rig_names())}")
        raise unknown_name("rig", name_or_file, rig_names())
    rig: RigConfig = convert(read_yaml(path), RigConfig, path)
    _check(rig, path)
    return rig


def _check(rig: RigConfig, path: Path) -> None:
    def refuse(key: str, reason: str) -> UsageError:
        return UsageError(f"{path}: key '{key}': {reason}")

    def require(key: str, kind: str, name: str, valid: Iterable[str]) -> None:
        if name not in valid:
            raise refuse(key, f"unknown {kind} {name!r}; valid: {', '.join(valid)}")

    if rig.servo_hz % rig.policy_hz:
        raise refuse("servo_hz", f"{rig.servo_hz} is not a multiple of policy_hz {rig.policy_hz}")
    if sorted(rig.arms) != sorted(SIDES):
        raise refuse("arms", f"has {sorted(rig.arms)}; give exactly {list(SIDES)}")
    for side, arm in rig.arms.items():
        require(f"arms.{side}.model", "arm model", arm.model, ARM_MODELS)
    if len({arm.model for arm in rig.arms.values()}) > 1 and rig.simulated:
        raise refuse("arms", "the simulated rig has one arm model for both sides")
    if rig.emulated and not all(map(is_emulated, rig.arms.values())):
        raise refuse("arms", "either both arms are emulated or neither")
    if rig.simulated and not rig.emulated and not all(isinstance(arm, SimArm) for arm in rig.arms.values()):
        raise refuse("arms", "either both arms are simulated or neither")
    buses = {(device_id(arm), getattr(arm, "interface", "")) for arm in rig.arms.values()}
    if not rig.simulated and len(buses) == 1:
        raise refuse("arms", f"both are {device_id(rig.arms['left'])!r}; each arm has a device of its own")
    rendered = [camera for camera in rig.cameras.values() if isinstance(camera, SimCamera)]
    if len({(c.width_px, c.height_px, c.rate_hz) for c in rendered}) > 1:
        raise refuse("cameras", "the simulated cameras share one size and one rate")
    for name, camera in rig.cameras.items():
        if isinstance(camera, SimCamera):
            require(f"cameras.{name}", "simulated camera", name, SIM_CAMERAS)
    _check_leaders(rig, refuse)
    _check_workspace(rig, refuse)


def _check_leaders(rig: RigConfig, refuse: Callable[[str, str], UsageError]) -> None:
    read: dict[Leader, str] = {}
    for name, leader in rig.leaders.items():
        if isinstance(leader, PiperLeader | SpaceMouseLeader):
            first = read.setdefault(msgspec.structs.replace(leader, side=SIDES[0]), name)
            if first != name:
                raise refuse(f"leaders.{name}", f"reads the device of leaders.{first}; each has a device of its own")
        if not isinstance(leader, PiperLeader) or leader.control_offset:
            continue
        if leader.channel in {getattr(arm, "channel", None) for arm in rig.arms.values()}:
            raise refuse(
                f"leaders.{name}.control_offset",
                f"is 0 on an arm's own bus {leader.channel!r}, where the arm's targets would be the leader's: move the"
                " leader's identifiers with 0x470 and give 0x10 or 0x20",
            )


def _check_workspace(rig: RigConfig, refuse: Callable[[str, str], UsageError]) -> None:
    space = rig.workspace
    if rig.simulated and space.bases:
        raise refuse("workspace.bases", "the simulated arms stand where the simulation has them; leave it out")
    if space.bases and sorted(space.bases) != sorted(SIDES):
        raise refuse("workspace.bases", f"has {sorted(space.bases)}; give exactly {list(SIDES)}")
    if space.needs_bases and not rig.bases:
        raise refuse("workspace", "a table, keep_out and zones need bases: where each arm stands in the world")
    for key, box in space.boxes():
        if not box.is_solid:
            raise refuse(f"workspace.{key}", f"min_m {box.min_m} is not below max_m {box.max_m} on every axis")
