"""Promises of the leaders of a hand: it moves as it is told, never by a jump, and what is no pose moves nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.clock import MonotonicClock
from runtime.config import load_rig
from runtime.devices import PoseLeader, SpaceMouseLeader
from runtime.drivers.base import DriverError, LeaderReading
from runtime.drivers.conformance import check_leader
from runtime.drivers.factory import make_leader
from runtime.drivers.leaders.hand import JOINT_RAD_S, Hand
from runtime.drivers.leaders.jog import AHEAD_RAD
from runtime.drivers.leaders.poses import MESSAGE_BYTES_MAX, SILENT_NS, PoseError, PoseReceiver, check_access, decode
from runtime.drivers.leaders.spacemouse import REST_NS, SpaceMouse
from runtime.drivers.sim.scene import build_model
from runtime.kinematics.ik import ArmIk
from runtime.layout import ARM_SLICE
from runtime.net.keys import ClientKeys, write_pair

RIG = load_rig("sim-x5")
HOME = RIG.stack("home")
ARM = HOME[ARM_SLICE["left"]]
MS = 1_000_000
TICK = 5 * MS
IK = ArmIk(build_model("x5"), "left")
IK_AXES = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""The simulated arms look along the world's y."""


def at(position: Any) -> Any:
    return IK.forward(position[:6]).position


def test_a_hand_goes_with_its_arm_until_it_is_led_and_then_moves_as_told_within_its_rates() -> None:
    hand = Hand("x5", "left")
    hand.release(ARM, 0)
    np.testing.assert_array_equal(hand.position, ARM)
    shift = np.array([0.0, 0.0, 0.04])
    last = hand.position
    for i in range(1, 101):
        hand.place(i * TICK, last, shift, np.eye(3), 1.0)
        assert np.abs(hand.position - last)[:6].max() <= JOINT_RAD_S * 0.005 + 1e-12
        last = hand.position
    np.testing.assert_allclose(at(hand.position) - at(ARM), shift, atol=1e-3)
    assert not hand.refused


def test_a_jump_is_refused_until_the_hand_is_let_go() -> None:
    hand = Hand("x5", "left")
    hand.release(ARM, 0)
    hand.place(TICK, ARM, np.array([0.11, 0.0, 0.0]), np.eye(3), 1.0)
    assert hand.refused
    hand.place(2 * TICK, ARM, np.zeros(3), np.eye(3), 1.0)
    assert hand.refused
    np.testing.assert_array_equal(hand.position, ARM)
    hand.release(ARM, 3 * TICK)
    hand.place(4 * TICK, ARM, np.array([0.09, 0.0, 0.0]), np.eye(3), 1.0)
    assert not hand.refused


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6))
def test_a_hand_that_is_pushed_anywhere_stays_within_the_limits_and_near_its_arm(way: list[float]) -> None:
    hand = Hand("x5", "left")
    hand.release(ARM, 0)
    for i in range(1, 40):
        hand.push(i * 50 * MS, ARM, np.array(way[:3]), 3.0 * np.array(way[3:]), 2.0)
        joints = hand.position[:6]
        assert (joints >= np.minimum(IK.lower_rad, ARM[:6])).all()
        assert (joints <= np.maximum(IK.upper_rad, ARM[:6])).all()
        assert np.abs(joints - ARM[:6]).max() <= AHEAD_RAD + 1e-9
        assert 0.0 <= hand.position[6] <= 1.0


class StandInMouse:
    """A stand-in for pyspacemouse and the device it opens; no hardware is behind it."""

    AxisConvention = SimpleNamespace(ROS="ros")

    def __init__(self) -> None:
        self.gone = False
        self.state = SimpleNamespace(t=0.0, x=0.0, y=0.0, z=0.0, roll=0.0, pitch=0.0, yaw=0.0, buttons=[0, 0])

    def say(self, **fields: Any) -> None:
        vars(self.state).update(fields, t=self.state.t + 1.0)

    def open(self, axis_convention: str) -> StandInMouse:
        if self.gone:
            raise RuntimeError("No connected or supported devices found.")
        return self

    def read(self) -> Any:
        if self.gone:
            raise RuntimeError("unplugged")
        return self.state

    def close(self) -> None:
        pass


@pytest.fixture
def mouse(monkeypatch: pytest.MonkeyPatch) -> StandInMouse:
    stand_in = StandInMouse()
    monkeypatch.setitem(sys.modules, "pyspacemouse", stand_in)  # type: ignore[arg-type]
    return stand_in


def test_a_mouse_moves_the_hand_only_while_its_clutch_is_held_and_its_deflection_is_fresh(mouse: StandInMouse) -> None:
    leader = make_leader(SpaceMouseLeader(side="left"), RIG)
    assert isinstance(leader, SpaceMouse)
    leader.open()
    mouse.say(z=1.0)
    (sample,) = leader.read(TICK, HOME).samples
    assert (sample.side, sample.clutch) == ("left", False)
    np.testing.assert_array_equal(sample.position, ARM)
    for i in range(2, 42):
        mouse.say(z=1.0, buttons=[0, 1])
        (sample,) = leader.read(i * TICK, HOME).samples
    assert sample.clutch
    np.testing.assert_allclose(at(sample.position) - at(ARM), [0.0, 0.0, 0.2 * 0.2], atol=2e-3)
    late = 41 * TICK + REST_NS
    for i in range(60):
        (still,) = leader.read(late + 1 + i * TICK, HOME).samples
    assert np.linalg.norm(at(still.position) - at(sample.position)) < 2e-3


def test_a_mouse_button_closes_the_gripper_once_a_press(mouse: StandInMouse) -> None:
    leader = make_leader(SpaceMouseLeader(side="left"), RIG)
    leader.open()
    leader.read(TICK, HOME)
    for i in range(2, 200):
        mouse.say(buttons=[1, 1] if i < 100 else [0, 1])
        (sample,) = leader.read(i * TICK, HOME).samples
    assert sample.position[6] == 0.0
    for i in range(200, 400):
        mouse.say(buttons=[1, 1])
        (sample,) = leader.read(i * TICK, HOME).samples
    assert sample.position[6] == 1.0


def test_a_mouse_that_is_missing_lost_or_odd_is_said_in_a_line(mouse: StandInMouse) -> None:
    leader = make_leader(SpaceMouseLeader(side="left"), RIG)
    mouse.gone = True
    with pytest.raises(DriverError, match="No connected or supported devices found; check"):
        leader.open()
    mouse.gone = False
    leader.open()
    mouse.say(x=float("nan"))
    with pytest.raises(DriverError, match="six axes"):
        leader.read(TICK, HOME)
    mouse.gone = True
    with pytest.raises(DriverError, match="unplugged"):
        leader.read(TICK, HOME)


def test_without_the_package_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspacemouse", None)
    with pytest.raises(DriverError, match=re.escape("pip install 'leadtime[teleop]'")):
        make_leader(SpaceMouseLeader(side="left"), RIG).open()


def test_a_mouse_keeps_the_promises_of_every_leader(mouse: StandInMouse) -> None:
    check_leader(lambda: make_leader(SpaceMouseLeader(side="left"), RIG), MonotonicClock(0), HOME)


def test_the_genuine_package_has_what_is_used_and_says_when_nothing_is_there() -> None:
    package = pytest.importorskip("pyspacemouse")
    assert package.AxisConvention.ROS == "ros"
    fields = vars(package)["SpaceMouseState"].__dataclass_fields__
    assert {"t", "x", "y", "z", "roll", "pitch", "yaw", "buttons"} <= set(fields)
    with pytest.raises(DriverError, match="check the cable"):
        make_leader(SpaceMouseLeader(side="left", device="/dev/hidraw-none"), RIG).open()


def hand(x_m: float = 0.0, *, clutch: bool = True, **more: Any) -> dict[str, Any]:
    return {"position_m": [x_m, 0.0, 0.0], "wxyz": [1.0, 0.0, 0.0, 0.0], "grip": 0.0, "clutch": clutch} | more


def packed(**sides: Any) -> bytes:
    data: bytes = msgpack.packb({"v": 1, "t": 0.5} | sides)
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packed(left=hand(float("nan"))), "finite|>=|<="),
        (packed(left=hand(float("inf"))), "finite|<="),
        (packed(left=hand(11.0)), "<= 10"),
        (packed(left=hand(wxyz=[0.9, 0.0, 0.0, 0.0])), "unit"),
        (packed(left=hand(wxyz=[0.0, 0.0, 0.0, 0.0])), "unit"),
        (packed(left=hand(grip=1.01)), "<= 1"),
        (packed(left=hand(more=1)), "unknown field"),
        (packed(left=hand(clutch=1)), "bool"),
        (packed(t=float("nan")), "t is not finite"),
        (packed(v=2), "2"),
        (b"\x91" * MESSAGE_BYTES_MAX, "object"),
        (b"\x00" * (MESSAGE_BYTES_MAX + 1), "more than 1024"),
        (b"", "truncated"),
    ],
)
def test_what_is_no_hand_pose_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(PoseError, match=reason):
        decode(data)


@given(st.binary(max_size=200) | st.builds(lambda cut: packed(left=hand())[:cut], st.integers(0, 60)))
def test_any_bytes_are_poses_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except PoseError:
        return
    assert message.v == 1


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.floats(0, 1), st.booleans(), st.floats(-3, 3))
def test_a_pose_comes_as_it_was_sent(place: list[float], grip: float, clutch: bool, angle: float) -> None:
    wxyz = [float(np.cos(angle)), 0.0, float(np.sin(angle)), 0.0]
    sent = {"position_m": place, "wxyz": wxyz, "grip": grip, "clutch": clutch}
    got = decode(packed(right=sent)).right
    assert got is not None
    assert (list(got.position_m), list(got.wxyz), got.grip, got.clutch) == (place, wxyz, grip, clutch)


class Headset:
    """A receiver at a real socket and its sender, in the test's own time."""

    def __init__(self, tmp_path: Path) -> None:
        endpoint = f"ipc://{tmp_path}/poses"
        self.leader = make_leader(PoseLeader(endpoint=endpoint), RIG)
        self.leader.open()
        self.context = zmq.Context[Any]()
        self.link = self.context.socket(zmq.PUSH)
        self.link.connect(endpoint)
        self.now_ns = 0

    def say(self, *messages: bytes, after_ns: int = TICK) -> LeaderReading:
        """Send, and read until the last message, a pose, has come."""
        self.now_ns += after_ns
        for message in messages:
            self.link.send(message)
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            reading = self.leader.read(self.now_ns, HOME)
            if reading.samples:
                return reading
            time.sleep(0.001)
        raise TimeoutError

    def close(self) -> None:
        self.leader.close()
        self.context.destroy(linger=0)


@pytest.fixture
def headset(tmp_path: Path) -> Any:
    made = Headset(tmp_path)
    yield made
    made.close()


def test_poses_move_the_arm_by_as_much_as_since_the_clutch_and_stamped_on_receipt(headset: Headset) -> None:
    (sample,) = headset.say(packed(left=hand(5.0, clutch=False))).samples
    assert (sample.side, sample.clutch, sample.t_ns) == ("left", False, headset.now_ns)
    (sample,) = headset.say(packed(left=hand(5.0))).samples
    assert sample.clutch
    assert np.abs(sample.position - ARM).max() < 1e-3, "pressing the clutch moves nothing"
    for i in range(100):
        (sample,) = headset.say(packed(left=hand(5.0 - 0.04 * min(i, 40) / 40))).samples
    np.testing.assert_allclose(IK_AXES.T @ (at(sample.position) - at(ARM)), [-0.04, 0.0, 0.0], atol=2e-3)
    assert not headset.leader.read(headset.now_ns + TICK, HOME).samples, "silence moves nothing"


def test_a_held_clutch_from_the_start_after_a_pause_or_a_jump_leads_nothing_until_released(headset: Headset) -> None:
    def clutch(message: bytes, after_ns: int = TICK) -> bool:
        (sample,) = headset.say(message, after_ns=after_ns).samples
        assert np.abs(sample.position - ARM).max() < 1e-3
        return sample.clutch

    assert not clutch(packed(left=hand()), SILENT_NS + 1)
    assert not clutch(packed(left=hand(clutch=False)))
    assert clutch(packed(left=hand()), SILENT_NS)
    assert not clutch(packed(left=hand()), SILENT_NS + 1)
    assert not clutch(packed(left=hand()))
    clutch(packed(left=hand(clutch=False)))
    assert not clutch(packed(left=hand(0.11)))
    clutch(packed(left=hand(0.11, clutch=False)))
    assert clutch(packed(left=hand(0.11)))


def test_the_gripper_waits_for_the_trigger_to_come_to_it(headset: Headset) -> None:
    headset.say(packed(left=hand(grip=1.0, clutch=False)))
    for _ in range(20):
        (sample,) = headset.say(packed(left=hand(grip=1.0))).samples
    assert sample.position[6] == ARM[6]
    headset.say(packed(left=hand(grip=0.0)))
    for _ in range(200):
        (sample,) = headset.say(packed(left=hand(grip=0.75))).samples
    assert sample.position[6] == pytest.approx(0.25)


def test_garbage_moves_nothing_and_is_said_once(headset: Headset, capsys: pytest.CaptureFixture[str]) -> None:
    (sample,) = headset.say(b"junk", b"\x80", packed(v=3), packed(right=hand(clutch=False))).samples
    assert sample.side == "right"
    assert capsys.readouterr().err.count("not hand poses") == 1


def test_a_message_of_several_parts_is_none(headset: Headset, capsys: pytest.CaptureFixture[str]) -> None:
    headset.link.send_multipart([packed(left=hand())] * 2)
    (sample,) = headset.say(packed(right=hand(clutch=False))).samples
    assert sample.side == "right"
    assert "not hand poses" in capsys.readouterr().err


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:8795", "tcp://192.168.1.2:8795", "tcp://*:8795"])
def test_other_hosts_are_not_let_in_without_keys(endpoint: str) -> None:
    with pytest.raises(DriverError, match="without keys"):
        make_leader(PoseLeader(endpoint=endpoint), RIG).open()


def test_a_folder_of_keys_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"own\.key_secret does not exist"):
        check_access(PoseLeader(endpoint="tcp://127.0.0.1:8795", keys=str(tmp_path)))


def test_with_keys_a_stranger_is_not_heard_and_a_known_sender_is(tmp_path: Path) -> None:
    rig, sender = tmp_path / "rig", tmp_path / "sender"
    write_pair(rig), write_pair(sender)
    (rig / "clients").mkdir()
    (rig / "clients" / "headset.key").write_bytes((sender / "own.key").read_bytes())
    (sender / "server.key").write_bytes((rig / "own.key").read_bytes())
    leader = PoseReceiver(PoseLeader(endpoint=f"ipc://{tmp_path}/keyed", keys=str(rig)), {"left": "x5", "right": "x5"})
    leader.open()
    context = zmq.Context[Any]()
    try:
        stranger, known = context.socket(zmq.PUSH), context.socket(zmq.PUSH)
        ClientKeys.load(sender).present(known)
        for link, side in ((stranger, "left"), (known, "right")):
            link.connect(f"ipc://{tmp_path}/keyed")
            link.send(packed(**{side: hand(clutch=False)}))
        until, heard = time.monotonic() + 5.0, []
        while "right" not in heard and time.monotonic() < until:
            heard += [sample.side for sample in leader.read(1, HOME).samples]
            time.sleep(0.005)
        assert heard == ["right"]
    finally:
        leader.close()
        context.destroy(linger=0)


def test_the_sender_of_the_documentation_leads_the_arm_as_every_leader_does(tmp_path: Path) -> None:
    text = Path("docs/teleoperation.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    endpoint = f"ipc://{tmp_path}/example"
    script = example.replace("tcp://127.0.0.1:8795", endpoint)
    assert script != example
    seen: list[bool] = []
    leader = make_leader(PoseLeader(endpoint=endpoint), RIG)

    class Watched:
        open, close = leader.open, leader.close

        def read(self, now_ns: int, follower: Any) -> LeaderReading:
            reading = leader.read(now_ns, follower)
            seen.extend(sample.clutch for sample in reading.samples)
            return reading

    sender = subprocess.Popen([sys.executable, "-c", script])
    try:
        check_leader(Watched, MonotonicClock(0), HOME)
    finally:
        sender.kill()
        sender.wait()
    assert seen[0] is False
    assert True in seen
