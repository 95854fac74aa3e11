"""Promises of gamepad, keyboard and pedal: what a recorded stream of input events makes of the arms."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.clock import MonotonicClock
from runtime.config import RigConfig, load_rig
from runtime.devices import EvdevLeader, SimLeader
from runtime.drivers.base import DriverError, LeaderDriver, LeaderReading, LeaderSample
from runtime.drivers.conformance import check_leader
from runtime.drivers.factory import make_leader
from runtime.drivers.lead import Merger, Seat
from runtime.drivers.leaders.controls import GRIPPER, LAYOUTS, PITCH, ROLL, YAW, X, Y, Z
from runtime.drivers.leaders.evdev import InputLeader
from runtime.drivers.leaders.hand import ANGULAR_RAD_S, LINEAR_M_S
from runtime.drivers.sim.scene import build_model
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import vector_matrix
from runtime.layout import ARM_SLICE, SIDES
from runtime.states import Mode
from tests.fake_rig import FakeRig

RIG = load_rig("sim-x5")
HOME = RIG.stack("home")
MS = 1_000_000
IK = ArmIk(build_model("x5"), "left")
BASE = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""The axes of the simulated arms' bases in the world: they look along its y."""


def hand_at(position: Any) -> Pose:
    return IK.forward(position[ARM_SLICE["left"]][:6])


def stream(path: Path, *events: tuple[float, int, int, int]) -> Path:
    path.write_bytes(b"".join(struct.pack("<qqHHi", 0, int(t_s * 1e6), kind, code, v) for t_s, kind, code, v in events))
    return path


def recorded(file: Path, kind: Any, moves: Any = "hand", rig: RigConfig = RIG) -> LeaderDriver:
    leader = make_leader(EvdevLeader(kind=kind, device=str(file), moves=moves, record=True), rig)
    assert isinstance(leader, InputLeader)
    return leader


def play(file: Path, kind: Any, seconds: float, moves: Any = "hand") -> list[LeaderReading]:
    leader = recorded(file, kind, moves)
    leader.open()
    return [leader.read(1 + i * 5 * MS, HOME.copy()) for i in range(int(seconds * 200))]


def test_a_gamepad_jogs_the_arm_that_is_chosen_while_its_shoulder_is_held(tmp_path: Path) -> None:
    file = stream(
        tmp_path / "pad", (0.0, 0, 0, 0), (0.1, 3, 1, -32768), (0.2, 1, 311, 1), (0.4, 1, 310, 1), (0.5, 1, 311, 0),
        (0.6, 1, 314, 1), (0.7, 1, 315, 1),
    )  # fmt: skip
    readings = play(file, "gamepad", 0.9, "joints")
    at = {t_s: readings[int(t_s * 200)] for t_s in (0.15, 0.39, 0.45, 0.55)}
    assert [s.clutch for s in at[0.15].samples] == [False, False]
    np.testing.assert_array_equal(at[0.15].samples[0].position, HOME[:7])
    assert [s.clutch for s in at[0.39].samples] == [True, False]
    assert at[0.39].samples[0].position[1] - HOME[1] == pytest.approx(0.6 * 0.19, abs=0.01)
    assert [s.clutch for s in at[0.45].samples] == [False, True]
    assert [s.clutch for s in at[0.55].samples] == [False, False]
    assert [reading.want for reading in readings if reading.want is not None] == [Mode.HOLD, Mode.POLICY]


def test_a_pedal_is_the_dead_man_of_every_arm(tmp_path: Path) -> None:
    file = stream(
        tmp_path / "pedal", (0.0, 0, 0, 0), (0.1, 1, 30, 1), (0.2, 1, 30, 2), (0.3, 1, 30, 0), (0.4, 1, 48, 1)
    )
    readings = play(file, "pedal", 0.5)
    assert [readings[int(t_s * 200)].clutch for t_s in (0.05, 0.15, 0.25, 0.35, 0.45)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert [reading.want for reading in readings if reading.want is not None] == [Mode.POLICY]
    assert not any(reading.samples for reading in readings)


@pytest.mark.parametrize("content", [b"", b"12345", None])
def test_what_is_no_event_stream_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "odd"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DriverError, match="odd"):
        recorded(file, "pedal").open()


def test_the_codes_are_those_of_the_kernel_and_a_missing_device_is_named() -> None:
    evdev = pytest.importorskip("evdev")
    from runtime.drivers.leaders.evdev import AXIS, DROPPED, KEY, SYNC

    codes = evdev.ecodes
    assert (codes.EV_KEY, codes.EV_ABS) == (KEY, AXIS)
    assert (codes.EV_SYN, codes.SYN_DROPPED) == (SYNC, DROPPED)
    pad, keyboard, pedal = (LAYOUTS[kind] for kind in ("gamepad", "keyboard", "pedal"))
    assert (pad.clutch, pad.policy, pad.stop) == (codes.BTN_TR, codes.BTN_START, codes.BTN_SELECT)
    assert (keyboard.clutch, keyboard.policy, keyboard.stop) == (codes.KEY_SPACE, codes.KEY_ENTER, codes.KEY_ESC)
    assert (pedal.policy, pedal.stop) == (codes.KEY_B, codes.KEY_C)
    assert (pad.switch, pad.clear, keyboard.switch, keyboard.clear) == (
        codes.BTN_TL, codes.BTN_MODE, codes.KEY_TAB, codes.KEY_BACKSPACE,
    )  # fmt: skip
    sticks = {
        codes.ABS_X: Y, codes.ABS_Y: X, codes.ABS_RX: YAW, codes.ABS_RY: Z,
        codes.ABS_HAT0X: ROLL, codes.ABS_HAT0Y: PITCH,
    }  # fmt: skip
    assert {code: component for code, (component, _) in pad.controls["hand"].axes.items()} == sticks
    for controls in pad.controls.values():
        assert controls.keys == {codes.BTN_SOUTH: (GRIPPER, -1.0), codes.BTN_EAST: (GRIPPER, 1.0)}
    for controls, pairs in (
        (keyboard.controls["hand"], "ws ad eq ou ki jl rf"),
        (keyboard.controls["joints"], "qa ws ed rf tg yh uj"),
    ):
        for component, (more, less) in enumerate(pairs.split()):
            assert controls.keys[getattr(codes, f"KEY_{more.upper()}")] == (component, 1.0)
            assert controls.keys[getattr(codes, f"KEY_{less.upper()}")] == (component, -1.0)
    with pytest.raises(DriverError, match="/dev/input/none: No such file"):
        make_leader(EvdevLeader(kind="pedal", device="/dev/input/none"), RIG).open()


class StandInDevice:
    """What the driver calls of `evdev.InputDevice`; `queue` are the events."""

    def __init__(self) -> None:
        self.queue: list[tuple[int, int, int]] = []

    def capabilities(self, *, absinfo: bool) -> dict[int, list[Any]]:
        assert absinfo
        return {}

    def read_one(self) -> Any:
        if not self.queue:
            return None
        kind, code, value = self.queue.pop(0)
        return SimpleNamespace(type=kind, code=code, value=value)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> StandInDevice:
    device = StandInDevice()
    monkeypatch.setitem(sys.modules, "evdev", SimpleNamespace(InputDevice=lambda _path: device))
    return device


def clutches(device: StandInDevice, seat: Seat, merger: Merger, *turns: list[tuple[int, int, int]]) -> list[bool]:
    """Return the left arm's clutch after each turn's events."""
    taken = []
    for i, events in enumerate(turns):
        device.queue += events
        now_ns = 1 + i * 5 * MS
        record: Any = merger.merge([seat], [seat.read(now_ns, HOME)], now_ns)
        taken.append(bool(record["side"][0]["clutch"]))
    return taken


def test_a_clutch_that_is_down_when_its_device_comes_takes_nothing_over_before_it_was_released(
    keyboard: StandInDevice,
) -> None:
    seat = Seat("keys", EvdevLeader(kind="keyboard", device="/dev/input/event0", moves="joints"), RIG)
    seat.open(0)
    repeated, released, pressed = [(1, 57, 2)], [(1, 57, 0)], [(1, 57, 1)]
    taken = clutches(keyboard, seat, Merger(None), [], repeated, released, pressed)
    assert taken == [False, False, False, True]


def test_a_pedal_that_comes_back_under_a_foot_takes_no_arm_over_before_it_was_released(
    keyboard: StandInDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arm's leader has no dead-man and was there all the time: only the pedal is new."""

    class Arm:
        """A leader that is always held."""

        def read(self, now_ns: int, _follower: Any) -> LeaderReading:
            return LeaderReading((LeaderSample("left", now_ns, HOME[ARM_SLICE["left"]], clutch=True),))

    arm, pedal = Seat("arm", SimLeader(), RIG), Seat("foot", EvdevLeader(kind="pedal", device="/dev/input/event0"), RIG)
    monkeypatch.setattr(arm, "_driver", Arm())
    merger = Merger(None)
    taken = []
    for i, events in enumerate(([], [], [(1, 30, 2)], [(1, 30, 0)], [(1, 30, 1)])):
        now_ns = 1 + i * 5 * MS
        keyboard.queue += events
        record: Any = merger.merge([arm, pedal], [seat.read(now_ns, HOME) for seat in (arm, pedal)], now_ns)
        taken.append(bool(record["side"][0]["clutch"]))
    assert taken == [False, False, False, False, True]


def test_a_device_whose_events_were_lost_is_lost_with_its_clutch(
    keyboard: StandInDevice, capfd: pytest.CaptureFixture[str]
) -> None:
    seat, merger = (
        Seat("keys", EvdevLeader(kind="keyboard", device="/dev/input/event0", moves="joints"), RIG),
        Merger(None),
    )
    seat.open(0)
    assert clutches(keyboard, seat, merger, [], [(1, 57, 1)]) == [False, True]
    keyboard.queue = [(0, 3, 0), (1, 57, 2)]
    merger.merge([seat], [seat.read(10 * MS, HOME)], 10 * MS)
    assert not seat.samples
    assert "/dev/input/event0: input events were lost" in capfd.readouterr().err


KEYS = {"w": 17, "s": 31, "a": 30, "d": 32, "e": 18, "q": 16, "o": 24, "u": 22, "k": 37, "i": 23, "j": 36, "l": 38}
AXES = {
    "ahead": (1, -32768),
    "left": (0, -32768),
    "up": (4, -32768),
    "turn": (3, -32768),
    "bow": (17, 1),
    "roll": (16, 1),
}
HELD_S = 0.5
"""How long each of these is held."""


def moves_once(path: Path, kind: str, what: str, until_s: float = 1.2) -> Path:
    """A stream that presses the clutch, holds one control for a while, and lets go of the clutch."""
    clutch = {"gamepad": 311, "keyboard": 57}[kind]
    code, on = AXES[what] if kind == "gamepad" else (KEYS[what], 1)
    event = 3 if kind == "gamepad" else 1
    return stream(
        path / f"{kind}-{what}", (0.0, 0, 0, 0), (0.1, 1, clutch, 1), (0.4, event, code, on),
        (0.4 + HELD_S, event, code, 0), (until_s, 1, clutch, 0),
    )  # fmt: skip


class Desk:
    """A recorded stream that leads a rig on a virtual clock, through the leader process's own merger."""

    def __init__(self, file: Path, kind: str, moves: str = "hand", name: str = "sim-x5") -> None:
        self.rig = FakeRig(name)
        self.rig.leader["seq"] = 1
        self.rig.run(20)
        self.seat = Seat("pad", EvdevLeader(kind=kind, device=str(file), moves=moves, record=True), load_rig(name))  # type: ignore[arg-type]
        self.seat.open(0)
        self.merger = Merger(None)
        self.modes: list[Mode] = []

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 200)):
            reading = self.seat.read(self.rig.now_ns, self.rig.position)
            record: Any = self.merger.merge([self.seat], [reading], self.rig.now_ns)
            for i, side in enumerate(SIDES):
                self.rig.clutch[i] = bool(record["side"][i]["clutch"])
                self.rig.leader_position[ARM_SLICE[side]] = record["side"][i]["position"]
            self.rig.run(1)
            self.modes.append(self.rig.mode)


MOTIONS = [
    ("gamepad", "ahead", X, 1.0), ("gamepad", "left", Y, 1.0), ("gamepad", "up", Z, 1.0),
    ("gamepad", "roll", ROLL, 1.0), ("gamepad", "bow", PITCH, 1.0), ("gamepad", "turn", YAW, 1.0),
    *(("keyboard", letter, component, way) for letter, component, way in (
        ("w", X, 1.0), ("s", X, -1.0), ("a", Y, 1.0), ("d", Y, -1.0), ("e", Z, 1.0), ("q", Z, -1.0),
        ("o", ROLL, 1.0), ("u", ROLL, -1.0), ("k", PITCH, 1.0), ("i", PITCH, -1.0), ("j", YAW, 1.0), ("l", YAW, -1.0),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "what", "component", "way"), MOTIONS)
def test_a_control_moves_the_arm_s_hand_straight_along_or_about_one_axis_of_its_base(
    tmp_path: Path, kind: str, what: str, component: int, way: float
) -> None:
    desk = Desk(moves_once(tmp_path, kind, what), kind)
    rig, before, right = desk.rig, hand_at(desk.rig.position), desk.rig.position[ARM_SLICE["right"]].copy()
    desk.run(2.0)
    assert Mode.TELEOP in desk.modes
    assert desk.modes[-1] is Mode.HOLD
    after, told = hand_at(rig.position), np.zeros(6)
    told[component] = way * HELD_S * (LINEAR_M_S if component < ROLL else ANGULAR_RAD_S)
    np.testing.assert_allclose(BASE.T @ (after.position - before.position), told[:3], atol=3e-3)
    turned = BASE.T @ after.rotation @ before.rotation.T @ BASE
    np.testing.assert_allclose(turned, vector_matrix(told[3:]), atol=0.01)
    np.testing.assert_allclose(rig.position[ARM_SLICE["right"]], right, atol=1e-9)
    assert np.abs(rig.last.command["velocity"]).max() < 1e-6
    assert rig.violations == 0


@pytest.mark.parametrize("name", ["sim-piper", "sim-vx300s"])
@pytest.mark.parametrize(("what", "component"), [("ahead", X), ("left", Y), ("up", Z)])
def test_the_hands_of_other_arms_go_the_same_ways(tmp_path: Path, name: str, what: str, component: int) -> None:
    # A Piper, with its 5 rad/s2, falls behind, so that its hand is not pushed as far, and takes a second to settle.
    desk = Desk(moves_once(tmp_path, "gamepad", what, 2.2), "gamepad", name=name)
    ik = ArmIk(build_model(name.removeprefix("sim-")), "left")
    before = ik.forward(desk.rig.position[:6]).position
    desk.run(2.5)
    moved = BASE.T @ (ik.forward(desk.rig.position[:6]).position - before)
    along = moved[component]
    assert 0.6 * LINEAR_M_S * HELD_S < along < LINEAR_M_S * HELD_S + 5e-3
    np.testing.assert_allclose(moved, along * np.eye(3)[component], atol=5e-3)
    assert desk.rig.violations == 0


@pytest.mark.parametrize("moves", ["hand", "joints"])
def test_a_gamepad_opens_and_closes_the_gripper_at_its_rate_and_moves_nothing_else(tmp_path: Path, moves: str) -> None:
    file = stream(
        tmp_path / "grip", (0.0, 0, 0, 0), (0.1, 1, 311, 1), (0.3, 1, 304, 1), (1.3, 1, 304, 0), (1.5, 1, 305, 1),
        (1.7, 1, 305, 0), (2.0, 1, 311, 0),
    )  # fmt: skip
    desk = Desk(file, "gamepad", moves)
    before = desk.rig.position.copy()
    desk.run(1.45)
    assert desk.rig.position[6] == pytest.approx(0.0, abs=1e-6)
    desk.run(1.0)
    assert desk.rig.position[6] == pytest.approx(1.5 * 0.2, abs=0.02)
    np.testing.assert_allclose(desk.rig.position[:6], before[:6], atol=1e-6)


def test_a_stick_that_is_held_against_the_arm_s_reach_stays_within_limits_and_comes_back(
    tmp_path: Path,
) -> None:
    file = stream(
        tmp_path / "far", (0.0, 0, 0, 0), (0.1, 1, 311, 1), (0.3, 3, 1, -32768), (5.3, 3, 1, 32767), (6.3, 3, 1, 0),
        (6.7, 1, 311, 0),
    )  # fmt: skip
    desk = Desk(file, "gamepad")
    desk.run(5.3)
    far = hand_at(desk.rig.position)
    assert desk.modes[-1] is Mode.TELEOP
    desk.run(1.0)
    back = BASE.T @ (hand_at(desk.rig.position).position - far.position)
    assert back[0] < -0.5 * LINEAR_M_S, "half of the second's way is left for the slack and the stretched elbow"
    assert desk.rig.violations == 0


def test_input_leaders_keep_the_promises_of_every_leader(tmp_path: Path) -> None:
    for kind, what in (("gamepad", "ahead"), ("keyboard", "w")):
        file = moves_once(tmp_path, kind, what)
        for moves in ("hand", "joints"):
            check_leader(lambda file=file, kind=kind, moves=moves: recorded(file, kind, moves), MonotonicClock(0), HOME)
