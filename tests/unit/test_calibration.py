"""Estimates find what was put in, say how sure they are, and refuse what does not determine them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import gripper, latency, store, zero
from calibration.command import calibrate
from calibration.recorded import ArmHistory, arm_history
from calibration.report import build_page
from runtime.cli import Calibrate
from runtime.config import load_rig
from runtime.devices import Arm, ArxX5Arm, InterbotixArm, InterbotixRosArm, PiperArm, device_id
from runtime.errors import LeadtimeError, UsageError
from runtime.layout import SIDES
from runtime.states import Mode
from tests.unit.test_summary import make_run, make_ticks

Array = NDArray[np.float64]
JIG = np.array([0.1, 1.0, -0.5, 0.2, 0.0, 0.3])


def held(joints: Array, noise: float = 0.001, count: int = 200) -> ArmHistory:
    """An arm that stands still."""
    rng = np.random.default_rng(0)
    measured = np.tile(np.append(joints, 0.5), (count, 1)) + rng.uniform(-noise, noise, (count, 7))
    return ArmHistory(np.arange(count) / 200, measured, np.arange(count) / 200, measured)


def moving(delay_s: float, *, noise: float = 0.0, size: float = 0.3, seconds: float = 4.0) -> ArmHistory:
    """An arm that does a chirp some time after it is told, with stamps off the command's grid."""
    rng = np.random.default_rng(1)
    t = np.arange(0.0, seconds, 0.005)
    seen = t + 0.0017

    def chirp(at: Array) -> Array:
        wave = size * np.sin(2.0 * np.pi * (0.3 * at + 0.25 * at**2))
        return wave[:, None] * np.array([1.0, 0.5, 0.0, -1.0, 0.8, 0.0, 0.0])

    return ArmHistory(seen, chirp(seen - delay_s) + rng.normal(scale=noise, size=(len(t), 7)), t, chirp(t))


def test_zeros_are_what_the_jig_says_is_missing() -> None:
    off = np.array([0.02, -0.03, 0.0, 0.01, 0.0, -0.015])
    found = zero.estimate(held(JIG - off), JIG)
    assert found.offset_rad == pytest.approx(off, abs=2e-4)
    assert 0.0 < found.spread_rad < 0.002
    assert found.samples == 200


@pytest.mark.parametrize(
    ("history", "what"),
    [
        (held(JIG, noise=0.05), "hold the arm still"),
        (held(JIG + np.array([0.0, 0.0, 0.3, 0.0, 0.0, 0.0])), "joint3 is -0.30"),
        (held(JIG, count=19), "it takes 20"),
    ],
)
def test_an_arm_that_is_not_in_its_jig_has_no_zeros(history: ArmHistory, what: str) -> None:
    with pytest.raises(LeadtimeError, match=what):
        zero.estimate(history, JIG)


def test_a_gripper_s_ends_are_where_it_stays_and_not_where_one_reading_was() -> None:
    readings = np.concatenate([np.full(100, 0.06), np.linspace(0.06, 0.93, 300), np.full(100, 0.93), [-0.5, 1.4]])
    measured = np.zeros((len(readings), 7))
    measured[:, 6] = readings
    found = gripper.estimate(ArmHistory(np.arange(len(readings)) / 200, measured, np.zeros(0), np.zeros((0, 7))))
    assert (found.closed, found.open) == pytest.approx((0.06, 0.93), abs=1e-6)
    assert [found.fraction(value) for value in (0.0, 0.06, 0.495, 0.93, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    with pytest.raises(LeadtimeError, match="from closed to fully open"):
        gripper.estimate(held(JIG))


@pytest.mark.parametrize("flip", [False, True])
def test_a_gripper_that_hardly_stayed_at_an_end_has_none(flip: bool) -> None:
    readings = np.concatenate([np.zeros(3600), np.linspace(0, 1, 200), np.ones(20), np.linspace(1, 0, 180)])
    measured = np.zeros((len(readings), 7))
    measured[:, 6] = 1.0 - readings if flip else readings
    with pytest.raises(LeadtimeError, match="less than 1% of the run"):
        gripper.estimate(ArmHistory(np.arange(len(readings)) / 200, measured, np.zeros(0), np.zeros((0, 7))))


@pytest.mark.parametrize("delay_s", [0.004, 0.0285, 0.12])
def test_a_delay_is_found_to_a_fraction_of_a_tick(delay_s: float) -> None:
    found = latency.estimate(moving(delay_s, noise=2e-5))
    assert found.delay_s == pytest.approx(delay_s, abs=0.001)
    assert found.correlation > 0.95
    assert np.isnan(found.joints_s[[2, 5]]).all()


@pytest.mark.parametrize("delay_s", [0.01, 0.0285])
def test_the_counts_of_an_encoder_hide_no_delay_of_a_slow_arm(delay_s: float) -> None:
    """A Dynamixel's: 4096 a turn, of which the arm passes one in two feedbacks."""
    t, count_rad = np.arange(0.0, 8.0, 0.005), 2.0 * np.pi / 4096

    def sway(at: Array) -> Array:
        return np.tile(0.1 * np.sin(2.0 * np.pi * 0.25 * at)[:, None], 7)

    counted = np.round(sway(t + 0.0017 - delay_s) / count_rad) * count_rad
    found = latency.estimate(ArmHistory(t + 0.0017, counted, t, sway(t)))
    assert found.delay_s == pytest.approx(delay_s, abs=0.002)
    assert found.correlation > 0.95


def test_an_arm_that_does_not_move_or_does_something_else_has_no_delay() -> None:
    with pytest.raises(LeadtimeError, match="moved enough"):
        latency.estimate(moving(0.02, size=0.002))
    with pytest.raises(LeadtimeError, match="less than a second"):
        latency.estimate(moving(0.02, seconds=0.9))
    asked, done = moving(0.02), moving(0.02)
    other = ArmHistory(done.measured_s, done.measured[::-1], asked.commanded_s, asked.commanded)
    with pytest.raises(LeadtimeError, match="does not follow"):
        latency.estimate(other)


@pytest.mark.parametrize("delay_s", [-0.1, 0.31, 0.4])
def test_a_delay_beyond_those_that_are_tried_is_not_the_nearest_of_them(delay_s: float) -> None:
    t = np.arange(0.0, 8.0, 0.005)

    def sway(at: Array) -> Array:
        return np.tile(0.3 * np.sin(2.0 * np.pi * 0.25 * at)[:, None], 7)

    with pytest.raises(LeadtimeError, match=r"not follow its commands within 0\.3 s"):
        latency.estimate(ArmHistory(t, sway(t - delay_s), t, sway(t)))


def test_a_history_has_each_feedback_once_and_commands_while_armed() -> None:
    ticks = make_ticks(8, mode=[Mode.DISARMED] * 2 + [Mode.HOLD] * 6)
    for i, tick in enumerate(ticks):
        tick["command"]["t_ns"] = tick["now_ns"]
        for side in range(len(SIDES)):
            tick["arm"][side]["t_ns"] = 0 if i == 0 else 10**10 + (i // 2) * 10**7
            tick["arm"][side]["position"] = 10 * side + i // 2
    history = arm_history(make_run(tick=ticks), "right")
    assert history.measured[:, 0].tolist() == [10.0, 11.0, 12.0, 13.0]
    assert np.diff(history.measured_s) == pytest.approx([0.01] * 3)
    assert len(history.commanded) == 6


def test_what_is_kept_comes_back_and_is_shown(tmp_path: Path) -> None:
    rig = load_rig("sim-x5")
    device = device_id(rig.arms["left"])
    made = store.Zero(device=device, date=store.today(), samples=5, offset_rad=[0.01] * 6, spread_rad=0.002)
    known = store.put(store.load(tmp_path / "none.yaml", rig), "zero", "left", made)
    path = tmp_path / "deep" / "sim-x5.yaml"
    store.save(path, known)
    assert store.load(path, rig) == known
    html = build_page(known)
    assert "Joint zeros" in html
    assert "0.01, 0.01" in html
    assert "http" not in html.replace("http-equiv", "")


def test_what_was_kept_outlasts_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "sim-x5.yaml", Path.write_text
    made = store.Gripper(device="sim x5", date="2026-01-01", samples=5, closed=0.0, open=1.0)
    known = store.put(store.Calibration(rig="sim-x5"), "gripper", "left", made)
    store.save(path, known)

    def full(self: Path, text: str, encoding: str) -> int:
        write(self, text[:20], encoding=encoding)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        store.save(path, store.put(known, "gripper", "right", made))
    assert store.load(path, load_rig("sim-x5")) == known


def test_a_link_to_what_is_kept_stays_a_link(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept.yaml", tmp_path / "sim-x5.yaml"
    store.save(kept, store.Calibration(rig="sim-x5"))
    link.symlink_to(kept)
    made = store.Gripper(device="sim x5", date="2026-01-01", samples=5, closed=0.0, open=1.0)
    known = store.put(store.Calibration(rig="sim-x5"), "gripper", "left", made)
    store.save(link, known)
    assert link.is_symlink()
    assert store.load(kept, load_rig("sim-x5")) == known


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(os.devnull)])
def test_what_is_no_file_is_not_taken_for_a_calibration_that_is_not_there(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "sim-x5.yaml")
    with pytest.raises(UsageError, match=r"sim-x5\.yaml: is no file that a calibration can be kept in"):
        store.load(tmp_path / "sim-x5.yaml", load_rig("sim-x5"))


def test_a_calibration_of_another_rig_or_device_is_refused_with_the_key(tmp_path: Path) -> None:
    rig, path = load_rig("sim-x5"), tmp_path / "c.yaml"
    made = store.Gripper(device="sim x5", date="2026-01-01", samples=5, closed=0.0, open=1.0)
    store.save(path, store.put(store.Calibration(rig="sim-x5"), "gripper", "left", made))
    assert store.load(path, rig).gripper["left"].open == 1.0
    with pytest.raises(UsageError, match="key 'rig': of rig 'sim-x5', not 'sim-piper'; give another --out"):
        store.load(path, load_rig("sim-piper"))
    with pytest.raises(UsageError, match=r"key 'gripper.left': of 'sim x5', but the rig has 'sim piper'; take"):
        store.load(path, msgspec.structs.replace(load_rig("sim-piper"), name="sim-x5"))
    path.write_text("rig: sim-x5\nzero: {left: {device: d, date: d, samples: 1, offset_rad: [0], spread_rad: 0}}\n")
    with pytest.raises(UsageError, match=r"zero\[?.*offset_rad"):
        store.load(path, rig)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PiperArm(channel="can0"), PiperArm(channel="can1")),
        (InterbotixArm(port="/dev/a"), InterbotixArm(port="/dev/b")),
        (InterbotixRosArm(robot="puppet_left"), InterbotixRosArm(robot="puppet_right")),
        (ArxX5Arm(channel="can0"), ArxX5Arm(channel="can1")),
    ],
    ids=lambda arm: arm.driver,
)
def test_two_arms_of_a_kind_are_two_devices(one: Arm, other: Arm) -> None:
    assert device_id(one) != device_id(other)
    assert device_id(one) == device_id(msgspec.structs.replace(one))


@pytest.mark.parametrize(("off_rad", "kept"), [(0.09, True), (0.15, False)])
def test_a_zero_that_the_rig_s_file_would_refuse_is_not_kept(
    off_rad: float, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, ticks = load_rig("emulated-piper"), make_ticks(40)
    for i, tick in enumerate(ticks):
        tick["arm"]["t_ns"] = 10**10 + i * 5 * 10**6
        tick["arm"]["position"][:, :6] = rig.arm_model("left").home[:6] - off_rad * (np.arange(6) == 2)
    run = make_run(tick=ticks)
    run = replace(run, spec=msgspec.structs.replace(run.spec, rig=rig))
    monkeypatch.setattr("calibration.command.load_run", lambda _: run)
    command = Calibrate("zero", rig="emulated-piper", run=tmp_path, out=tmp_path / "kept")
    if kept:
        assert calibrate(command) == 0
        assert "arms.left.correction.zero_offset_rad: [0.0, 0.0, 0.09, 0.0, 0.0, 0.0]" in capsys.readouterr().out
    else:
        with pytest.raises(LeadtimeError, match=r"zero_offset_rad\[2\].*with the arm's own tool"):
            calibrate(command)
    assert (tmp_path / "kept").exists() == kept


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (Calibrate("zero"), "give --run"),
        (Calibrate("latency", jig_rad=(1.0,)), "give --run"),
        (Calibrate("zero", jig_rad=(1.0,)), "--jig-rad 1.0: give the jig's 6 angles"),
        (Calibrate("zero", jig_rad=(float("nan"),) * 6), "--jig-rad nan nan"),
        (Calibrate("camera"), "give --images|calibration"),
        (Calibrate("hand-eye", images=Path("nowhere")), "give --images|calibration"),
    ],
)
def test_what_a_command_lacks_is_named(command: Calibrate, what: str, tmp_path: Path) -> None:
    with pytest.raises(LeadtimeError, match=what):
        calibrate(Calibrate(**{**vars(command), "out": tmp_path}))
