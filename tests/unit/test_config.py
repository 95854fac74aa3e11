"""Promises of the configuration: every built-in rig loads; a mistake names file, key and what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.config import RIG_FOLDER, load_rig, rig_names
from runtime.devices import InterbotixRosArm, device_id
from runtime.errors import UsageError
from runtime.layout import RIG_DOF, SIDES
from runtime.yaml_file import read_yaml

GOOD = (RIG_FOLDER / "sim-x5.yaml").read_text()


def test_the_built_in_rigs_load_under_their_own_names() -> None:
    assert {"sim-x5", "sim-piper", "sim-vx300s"} <= set(rig_names())
    for name in rig_names():
        rig = load_rig(name)
        assert rig.name == name
        assert rig.stack("position_min").shape == (RIG_DOF,)


def refusal(tmp_path: Path, text: str) -> str:
    """Return why a rig of this text is refused."""
    file = tmp_path / "rig.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_rig(str(file))
    return str(caught.value)


def test_a_rig_file_loads_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("sim-x5", "mine"))
    assert load_rig(str(file)).name == "mine"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"servo_hz": 210}, "'servo_hz': 210 is not a multiple of policy_hz 50"),
        ({"servo_hz": "fast"}, "key 'servo_hz': Expected `int`, got `str`"),
        ({"servo_hz": 0}, "key 'servo_hz': Expected `int` >= 1"),
        ({"command_ttl_s": 0.02}, "unknown key 'command_ttl_s'; did you mean 'command_ttl_ms'?"),
        ({"command_ttl_ms": -1}, "key 'command_ttl_ms'"),
        ({"arms": {"left": {"driver": "sim", "model": "x5"}}}, "key 'arms': has ['left']; give exactly"),
        ({"arms": None}, "key 'arms'"),
        ({"name": None}, "key 'name'"),
    ],
)
def test_a_wrong_value_names_file_and_key(tmp_path: Path, change: dict[str, object], says: str) -> None:
    said = refusal(tmp_path, yaml.safe_dump(yaml.safe_load(GOOD) | change))
    assert str(tmp_path / "rig.yaml") in said
    assert says in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model: x5", "model: x7", "'arms.left.model': unknown arm model 'x7'; valid: x5, piper, vx300s"),
        (
            "driver: sim, model",
            "driver: can, model",
            "'arms.left.driver': Invalid value 'can'; valid drivers: sim, piper, interbotix, interbotix_ros, arx_x5",
        ),
        ("width_px", "width", "unknown key 'cameras.cam_high.width'; did you mean 'width_px'?"),
        ("servo_hz: 200", "servo_hz: [", "not valid YAML"),
        ("name: sim-x5", "", "missing required field `name`"),
        ("right: {driver: sim", "right: {driver: sim, channel: can0", "'arms.right.channel'; known keys: model"),
        ("right: {driver: sim, model: x5}", "right: {model: x5}", "key 'arms.right': Object missing required field"),
        ("servo_hz: 200", "limits: {width_px: 5}", "known keys: acceleration_fraction, jerk_fraction, velocity_frac"),
        (
            "servo_hz: 200",
            "leaders: {a: {driver: spacemouse, side: both}}",
            "leaders.a.side': Invalid enum value 'both'",
        ),
        ("servo_hz: 200", "leaders: {a: {driver: spacemouse, side: both}}", "valid: left, right"),
        ("cam_high:", "7:", "key 'cameras.*': Expected `str`, got `int`"),
        (
            "table_z_m: 0.74",
            "bases: {mid: {xyz_m: [0, 0, 0]}}",
            "key 'workspace.bases.*': Invalid enum value 'mid'; valid",
        ),
        ("table_z_m: 0.74", "keep_out: {a: {min_m: [0, 0, x], max_m: [1, 1, 1]}}", "'workspace.keep_out.a.min_m[2]'"),
    ],
)
def test_a_broken_file_says_what_would_be_right(tmp_path: Path, old: str, new: str, says: str) -> None:
    said = refusal(tmp_path, GOOD.replace(old, new))
    assert says in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("driver", "key"),
    [("piper", "channel"), ("arx_x5", "channel"), ("interbotix", "port"), ("interbotix_ros", "robot")],
)
def test_two_arms_at_one_place_are_refused(tmp_path: Path, driver: str, key: str) -> None:
    file = tmp_path / "rig.yaml"
    arms = {side: {"driver": driver, key: side} for side in ("left", "right")}
    raw = {**yaml.safe_load(GOOD), "workspace": {}, "arms": arms}
    file.write_text(yaml.safe_dump(raw))
    load_rig(str(file))
    arms["right"][key] = "left"
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(UsageError, match=r"key 'arms': both are '.* left'; each arm has a device of its own"):
        load_rig(str(file))


def test_a_leader_on_its_arms_bus_is_told_from_it_by_its_identifiers(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    arms = {side: {"driver": "piper", "channel": f"can_{side}"} for side in ("left", "right")}
    leader = {"driver": "piper", "side": "left", "channel": "can_left", "control_offset": 0x10}
    raw = {**yaml.safe_load(GOOD), "workspace": {}, "arms": arms, "leaders": {"hand": leader}}
    file.write_text(yaml.safe_dump(raw))
    load_rig(str(file))
    leader["control_offset"] = 0
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(UsageError, match=r"key 'leaders\.hand\.control_offset': is 0 on an arm's own bus 'can_left'"):
        load_rig(str(file))


@pytest.mark.parametrize(
    ("kind", "apart"),
    [
        ({"driver": "piper", "channel": "can_lead", "control_offset": 0x10}, {"control_offset": 0x20}),
        ({"driver": "piper", "channel": "can_lead"}, {"channel": "can_lead_right"}),
        ({"driver": "spacemouse"}, {"device": "/dev/hidraw1"}),
    ],
)
def test_one_device_does_not_lead_both_arms(tmp_path: Path, kind: dict[str, Any], apart: dict[str, Any]) -> None:
    file = tmp_path / "rig.yaml"
    leaders = {side: {**kind, "side": side} for side in ("left", "right")}
    raw = {**yaml.safe_load(GOOD), "leaders": leaders}
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(UsageError, match=r"key 'leaders\.right': reads the device of leaders\.left; each has"):
        load_rig(str(file))
    leaders["right"].update(apart)
    file.write_text(yaml.safe_dump(raw))
    load_rig(str(file))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("table_z_m: 0.74", "table_z_m: .nan", "key 'workspace.table_z_m': nan is not finite; give a number that is"),
        ("table_z_m: 0.74", "table_z_m: -.inf", "key 'workspace.table_z_m': -inf"),
        (
            "table_z_m: 0.74",
            "keep_out: {shelf: {min_m: [0, 0, 0], max_m: [1, 1, .inf]}}",
            "key 'workspace.keep_out.shelf.max_m[2]': inf",
        ),
    ],
)
def test_what_is_not_finite_is_no_measure_of_a_rig(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert says in refusal(tmp_path, GOOD.replace(old, new))


REAL = (
    GOOD.replace("left: {driver: sim, model: x5}", "left: {driver: piper, channel: can0}")
    .replace("right: {driver: sim, model: x5}", "right: {driver: piper, channel: can1}")
    .replace("workspace: {table_z_m: 0.74}", "")
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("can1", "can0", "key 'arms': both are 'piper piper can0'; each arm has a device of its own"),
        ("{driver: piper, channel: can1}", "{driver: sim, model: piper}", "either both arms are simulated or neither"),
        ("can1", '""', "key 'arms.right.channel': Expected `str` of length >= 1"),
        ("name: sim-x5", "name: |\n  mine", "key 'name': Expected `str` matching"),
    ],
)
def test_a_real_arm_is_named_by_a_device_of_its_own(tmp_path: Path, old: str, new: str, says: str) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text(REAL)
    assert not load_rig(str(file)).simulated
    assert says in refusal(tmp_path, REAL.replace(old, new))


def test_the_arms_of_two_nodes_are_two_devices() -> None:
    left, right = (InterbotixRosArm(robot=f"follower_{side}") for side in SIDES)
    assert device_id(left) != device_id(right)


def test_a_rest_that_is_not_finite_does_not_pass_for_the_arms_own(tmp_path: Path) -> None:
    text = REAL.replace("channel: can0", "channel: can0, rest_rad: [.nan, 0, 0, 0, 0, 0]")
    assert "key 'arms.left.rest_rad[0]': nan" in refusal(tmp_path, text)


def test_a_key_that_comes_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    boxes = "keep_out: {shelf: {min_m: [0, 0, 0], max_m: [1, 1, 1]}, shelf: {min_m: [2, 0, 0], max_m: [3, 1, 1]}}"
    file.write_text(GOOD.replace("table_z_m: 0.74", boxes))
    with pytest.raises(UsageError, match=r"rig\.yaml, line \d+: key 'shelf' comes twice; leave one"):
        load_rig(str(file))


def test_a_file_that_is_nested_without_end_is_one_line(tmp_path: Path) -> None:
    assert "nested too deeply" in refusal(tmp_path, "[" * 3000)


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path}: cannot be read (Is a directory)")):
        read_yaml(tmp_path)


def test_mixed_simulated_arms_are_refused(tmp_path: Path) -> None:
    text = GOOD.replace("right: {driver: sim, model: x5}", "right: {driver: sim, model: piper}")
    assert "one arm model for both sides" in refusal(tmp_path, text)


def test_an_unknown_rig_lists_the_built_in_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown rig .sim-x6.; valid: .*sim-x5"):
        load_rig("sim-x6")


def test_a_folder_is_not_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder; give a rig's file, or of the built-in .*sim-x5"):
        load_rig(str(tmp_path))


def test_a_missing_rig_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_rig(str(tmp_path / "none.yaml"))


def test_a_workspace_that_cannot_be_checked_is_refused_with_the_key(tmp_path: Path) -> None:
    sim = (RIG_FOLDER / "sim-x5.yaml").read_text().replace("workspace: {table_z_m: 0.74}", "")
    real = REAL.replace("piper", "arx_x5")
    base = "bases: {left: {xyz_m: [0, 0, 0]}, right: {xyz_m: [1, 0, 0]}}"
    for text, workspace, what in (
        (sim, base, "workspace.bases"),
        (real, "bases: {left: {xyz_m: [0, 0, 0]}}", "exactly"),
        (real, "table_z_m: 0.7", "need bases"),
        (sim, "keep_out: {shelf: {min_m: [0, 0, 1], max_m: [1, 1, 1]}}", "workspace.keep_out.shelf"),
        (sim, "margin_cm: 2", "margin_m"),
        (sim, "zones: {a: {min_m: [0, 0, 0], max_m: [1, 1, 1], speed_fraction: 0}}", "speed_fraction"),
    ):
        path = tmp_path / "rig.yaml"
        path.write_text(f"{text}\nworkspace: {{{workspace}}}\n")
        with pytest.raises(UsageError, match=what):
            load_rig(str(path))
    path.write_text(f"{real}\nworkspace: {{{base}, table_z_m: 0.7}}\n")
    assert load_rig(str(path)).bases["right"].xyz_m == (1.0, 0.0, 0.0)
    assert load_rig("sim-x5").bases["left"].xyz_m == (-0.30, -0.417, 0.7775)
