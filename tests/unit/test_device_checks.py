"""What `leadtime doctor` says of a rig's devices, on a host made of files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from runtime.config import RIG_FOLDER, RigConfig
from runtime.drivers.checks import Check, check_devices


def rig(**changes: Any) -> RigConfig:
    raw = yaml.safe_load((RIG_FOLDER / "sim-x5.yaml").read_text())
    return msgspec.convert({**raw, **changes}, RigConfig)


def said(checks: list[Check], text: str) -> Check:
    (found,) = (check for check in checks if text in check.says)
    return found


PIPERS = {side: {"driver": "piper", "channel": f"can_{side}"} for side in ("left", "right")}
VIPERS = {side: {"driver": "interbotix", "port": f"/dev/ttyDXL_{side}"} for side in ("left", "right")}


def test_a_simulated_rig_has_nothing_to_reach(tmp_path: Path) -> None:
    assert list(check_devices(rig(), tmp_path)) == []


def test_a_bus_that_is_not_there_comes_with_the_command_that_brings_it_up(tmp_path: Path) -> None:
    checks = list(check_devices(rig(arms=PIPERS), tmp_path))
    missing = said(checks, "no interface can_left")
    assert not missing.fine
    assert missing.what == "arms.left (piper)"
    assert "ip link set can_left up type can bitrate 1000000" in missing.says


@pytest.mark.parametrize(
    ("state", "rate", "fine"), [("up", "1000000", True), ("down", "1000000", False), ("up", "500000", False)]
)
def test_a_bus_must_be_up_and_at_the_arms_rate(tmp_path: Path, state: str, rate: str, fine: bool) -> None:
    for side in ("left", "right"):
        interface = tmp_path / f"sys/class/net/can_{side}"
        (interface / "can_bittiming").mkdir(parents=True)
        (interface / "operstate").write_text(state + "\n")
        (interface / "can_bittiming/bitrate").write_text(rate + "\n")
    checks = list(check_devices(rig(arms=PIPERS), tmp_path))
    assert all(check.fine for check in checks) is fine
    assert said(checks, f"can_left is {state}").fine is (state == "up")
    assert said(checks, f"can_right at {rate}").fine is (rate == "1000000")


def test_only_a_bus_that_is_not_the_kernels_needs_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert not [check for check in check_devices(rig(arms=PIPERS), tmp_path) if "needs can" in check.says]
    emulated = {side: {**arm, "channel": "emulated"} for side, arm in PIPERS.items()}
    assert list(check_devices(rig(arms=emulated), tmp_path)) == []
    adapters = {side: {**arm, "interface": "pcan"} for side, arm in PIPERS.items()}
    needs = list(check_devices(rig(arms=adapters), tmp_path))
    assert [(check.fine, check.says) for check in needs] == 2 * [
        (False, "needs can: pip install 'leadtime[piper]'"),
    ]


@pytest.mark.parametrize(("timer", "fine"), [("1", True), ("16", False)])
def test_a_slow_latency_timer_is_found_behind_a_stable_name(tmp_path: Path, timer: str, fine: bool) -> None:
    (tmp_path / "dev").mkdir()
    for side, port in (("left", "ttyUSB0"), ("right", "ttyUSB1")):
        (tmp_path / "dev" / port).touch()
        (tmp_path / f"dev/ttyDXL_{side}").symlink_to(port)
        device = tmp_path / "sys/bus/usb-serial/devices" / port
        device.mkdir(parents=True)
        (device / "latency_timer").write_text(timer)
    checks = list(check_devices(rig(arms=VIPERS), tmp_path))
    found = [check for check in checks if "latency timer" in check.says]
    assert [check.fine for check in found] == [fine, fine]
    assert ("echo 1 > /sys/bus/usb-serial/devices/ttyUSB0/latency_timer" in found[0].says) is not fine
    assert all(check.fine for check in checks if "/dev/ttyDXL" in check.says)


def test_an_unplugged_camera_and_leader_are_named_with_their_key(tmp_path: Path) -> None:
    camera = {"driver": "uvc", "device": "/dev/v4l/by-id/cam", "width_px": 640, "height_px": 480, "rate_hz": 30}
    pedal = {"driver": "evdev", "kind": "pedal", "device": "/dev/input/by-id/pedal"}
    checks = list(check_devices(rig(cameras={"cam_high": camera}, leaders={"foot": pedal}), tmp_path))
    assert said(checks, "no /dev/v4l/by-id/cam").what == "cameras.cam_high (uvc)"
    assert said(checks, "no /dev/input/by-id/pedal").what == "leaders.foot (evdev)"


def test_an_emulated_bus_needs_no_interface(tmp_path: Path) -> None:
    arms = {side: {"driver": "piper", "channel": "emulated", "interface": "socketcan"} for side in ("left", "right")}
    assert not [check for check in check_devices(rig(arms=arms), tmp_path) if "interface" in check.says]
