"""The devices that a rig file can name, one Struct a driver: its keys, their units and their defaults."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from runtime.layout import Side

Rate = Annotated[int, Meta(ge=1, le=1000)]
Pixels = Annotated[int, Meta(ge=16, le=4096)]
Name = Annotated[str, Meta(min_length=1)]
"""Of a bus, port, file or serial number: an empty one means any of them to sockets and vendors' packages."""
EMULATED: Final = "emulated"
"""As a channel, port or device: the emulator that the run starts in place of the hardware."""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="driver"):
    """A device by the name of its driver."""

    @property
    def driver(self) -> str:
        """The driver's name, as the rig file has it."""
        return str(self.__struct_config__.tag)


Offset = Annotated[float, Meta(ge=-0.1, le=0.1)]


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `leadtime calibrate` found of an arm.

    `zero_offset_rad` (6,) is added to each measured joint; the gripper reads `gripper_closed` and `gripper_open`, as
    fractions, at its ends. An offset beyond 0.1 rad is a wrong zero: find that anew with the arm's own tool.
    """

    zero_offset_rad: tuple[Offset, Offset, Offset, Offset, Offset, Offset] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gripper_closed: Annotated[float, Meta(ge=-0.3, le=0.4)] = 0.0
    gripper_open: Annotated[float, Meta(ge=0.6, le=1.3)] = 1.0


class RealArm(Device, frozen=True, kw_only=True):
    """What every arm that is not simulated may have: its `correction`."""

    correction: Correction = Correction()


class SimArm(Device, frozen=True, kw_only=True, tag="sim"):
    """An arm of the simulated rig."""

    model: str


class PiperArm(RealArm, frozen=True, kw_only=True, tag="piper"):
    """AgileX Piper: `channel` as python-can names it on `interface`, or `emulated`.

    A leader on the same bus has its identifiers moved by 0x470. `rest_rad`: what the joints read while the arm lies on
    its rest; compared at arming where given.
    """

    model: Literal["piper"] = "piper"
    channel: Name
    interface: Name = "socketcan"
    rest_rad: tuple[float, float, float, float, float, float] | None = None


class InterbotixArm(RealArm, frozen=True, kw_only=True, tag="interbotix"):
    """An Interbotix arm on its U2D2: `port` is a serial device, best by its id, or `emulated`."""

    model: Literal["vx300s"] = "vx300s"
    port: Name
    baud: int = 1_000_000


class InterbotixRosArm(RealArm, frozen=True, kw_only=True, tag="interbotix_ros"):
    """An Interbotix arm whose port the lab's ROS 2 node holds: `robot` is that node's namespace, or `emulated`."""

    model: Literal["vx300s"] = "vx300s"
    robot: Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_/]*\\Z")]


class ArxX5Arm(RealArm, frozen=True, kw_only=True, tag="arx_x5"):
    """ARX X5 through arx5-interface: `channel` is a SocketCAN interface, or `emulated`.

    `gripper_open_readout`: the gripper motor's reading when open, where it is not the package's own, 5.03. `at_close`:
    whether the motors keep the last target, or the package lets the arm sink under damping.
    """

    model: Literal["x5"] = "x5"
    channel: Name
    gripper_open_readout: float | None = None
    at_close: Literal["hold", "sink"] = "hold"


class Picture(Device, frozen=True, kw_only=True):
    """What every camera has: the size and rate of its pictures."""

    width_px: Pixels
    height_px: Pixels
    rate_hz: Rate


class SimCamera(Picture, frozen=True, kw_only=True, tag="sim"):
    """A camera of the simulated rig, by its name in the rig file."""


class PhysicalCamera(Picture, frozen=True, kw_only=True):
    """A camera on a cable. `delay_ms`: what the quickest frame takes from mid-exposure to this host, where measured."""

    delay_ms: Annotated[float, Meta(ge=0.0, le=1000.0)] = 0.0


class RealsenseCamera(PhysicalCamera, frozen=True, kw_only=True, tag="realsense"):
    """A RealSense camera by its serial number. `sync`: 0 none, 1 master, 2 slave (inter-camera hardware sync).

    `exposure`: as the colour sensor's own option takes it; automatic where there is none.
    """

    serial: Name
    sync: Annotated[int, Meta(ge=0, le=2)] = 0
    exposure: float | None = None


class OrbbecCamera(PhysicalCamera, frozen=True, kw_only=True, tag="orbbec"):
    """An Orbbec camera by its serial number; `python` is the interpreter of the environment that has pyorbbecsdk."""

    serial: Name
    python: Name


class UvcCamera(PhysicalCamera, frozen=True, kw_only=True, tag="uvc"):
    """A UVC camera by its device file, best from /dev/v4l/by-id. `pixels`: how its pictures travel."""

    device: Name
    pixels: Literal["mjpeg", "yuyv422"] = "mjpeg"


class RecordedCamera(Picture, frozen=True, kw_only=True, tag="recorded"):
    """A recording in place of a camera: a run's folder or an .mcap file, and the `topic` (camera) in it.

    One of its pictures comes each period of `rate_hz`.
    """

    file: Name
    topic: Name


class PiperLeader(Device, frozen=True, kw_only=True, tag="piper"):
    """A Piper that a person leads, on a CAN bus; `control_offset` where 0x470 moved its targets to 0x16x or 0x17x."""

    side: Side
    channel: Name
    interface: Name = "socketcan"
    control_offset: Literal[0, 0x10, 0x20] = 0


class DynamixelLeader(Device, frozen=True, kw_only=True, tag="dynamixel"):
    """A leader of Dynamixel servos: a WidowX 250 S, or a GELLO with the seven `signs` and `zeros_rad` of its build.

    `gripper_rad`: what its gripper's joint reads closed and open; a WidowX has ALOHA's by default.
    """

    side: Side
    port: Name
    model: Literal["wx250s", "gello"] = "wx250s"
    baud: int = 1_000_000
    signs: tuple[int, ...] = ()
    zeros_rad: tuple[float, ...] = ()
    gripper_rad: tuple[float, float] | None = None


class EvdevLeader(Device, frozen=True, kw_only=True, tag="evdev"):
    """A gamepad, keyboard or pedal by its event device, best from /dev/input/by-id; `side` is the arm it moves first.

    `moves`: the arm's hand, through its kinematics, or its joints one by one. `record`: a recorded event stream in
    place of the device.
    """

    kind: Literal["gamepad", "keyboard", "pedal"]
    device: Name
    side: Side = "left"
    moves: Literal["hand", "joints"] = "hand"
    record: bool = False


class SpaceMouseLeader(Device, frozen=True, kw_only=True, tag="spacemouse"):
    """A SpaceMouse by its hidraw path, "" for the first."""

    side: Side
    device: str = ""


class PoseLeader(Device, frozen=True, kw_only=True, tag="poses"):
    """Hand poses over ZeroMQ (VR): the runtime binds `endpoint` and moves the arms through kinematics.

    `keys` is the folder of CURVE keys without which only this host may be let in.
    """

    endpoint: Name
    keys: str = ""


class SimLeader(Device, frozen=True, kw_only=True, tag="sim"):
    """A script in place of a person, for simulated rigs: leads `sides` in a slow wave while it holds the clutch.

    `clutch_s` are the spans in which it does, in seconds since the leader process began. It takes hold `offset_rad`
    away from the arms; `sway_rad` and `period_s` are the wave's. `resume_s` after the last span it asks for the policy
    again, 0 for never.
    """

    sides: tuple[Side, ...] = ("left", "right")
    clutch_s: tuple[tuple[float, float], ...] = ((3.0, 12.0),)
    offset_rad: float = 0.1
    sway_rad: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.15
    period_s: Annotated[float, Meta(gt=0.1)] = 4.0
    resume_s: float = 0.0


Arm = SimArm | PiperArm | InterbotixArm | InterbotixRosArm | ArxX5Arm
Camera = SimCamera | RealsenseCamera | OrbbecCamera | UvcCamera | RecordedCamera
Leader = SimLeader | PiperLeader | DynamixelLeader | EvdevLeader | SpaceMouseLeader | PoseLeader


def driver_names(union: object) -> list[str]:
    """Return the names of the drivers of `Arm`, `Camera` or `Leader`."""
    return [str(kind.__struct_config__.tag) for kind in getattr(union, "__args__", ())]


def is_emulated(arm: Arm) -> bool:
    """Whether an emulator takes the place of an arm's bus, or a stand-in that of a package that has no open bus."""
    return EMULATED in {getattr(arm, key, "") for key in ("channel", "port", "robot")}


def device_id(device: Arm | Camera) -> str:
    """Return what tells a device from another of its kind: driver, model, and its serial number, bus, port or node."""
    keys = ("model", "serial", "channel", "port", "robot", "device")
    return " ".join([device.driver, *(str(getattr(device, key)) for key in keys if getattr(device, key, ""))])


def has_emulated_bus(arm: Arm) -> bool:
    """Whether the run starts a device on an emulated bus in place of an arm's."""
    return is_emulated(arm) and not isinstance(arm, ArxX5Arm | InterbotixRosArm)
