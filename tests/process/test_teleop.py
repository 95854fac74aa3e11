"""Promises of real processes when a person takes over: a scripted leader interrupts a policy and gives back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.blackbox import load_run
from runtime.states import LED, Mode
from tests.process.harness import Session, leadtime

RIG = """
name: led
command_ttl_ms: 60.0
state_stale_ms: 80.0
arms:
  left: {driver: sim, model: x5}
  right: {driver: sim, model: x5}
cameras: {}
leaders:
  # Gentle: it takes the arms from wherever the policy left them, which may be close to the table.
  script: {driver: sim, clutch_s: [[10.0, 12.0]], resume_s: 1.0, sway_rad: 0.06}
"""


@pytest.fixture
def rig(tmp_path: Path) -> str:
    path = tmp_path / "led.yaml"
    path.write_text(RIG)
    return str(path)


def test_a_person_takes_over_a_policy_and_gives_back_and_all_of_it_replays(
    start: Callable[..., Session], rig: str
) -> None:
    session = start("--rig", rig, "--policy", "demo-state", "--duration-s", "22")
    status, _, stderr = session.finish()
    assert status == 0, stderr
    run = load_run(session.run_dir)
    modes = run.ticks["mode"]
    led = np.flatnonzero(np.isin(modes, list(LED)))
    assert len(led) > 100
    assert (run.ticks["led"][led] == 3).all()
    assert Mode.TELEOP in modes[led]
    after = modes[led[-1] + 1 :]
    assert after[0] == Mode.HOLD
    assert Mode.POLICY in after, "the person's button starts the policy anew"
    epochs = run.ticks["epoch"]
    assert epochs[-1] > epochs[led[0]]
    summary = session.summary()
    assert summary["limit_violations"] == 0
    assert [event["sides"] for event in summary["interventions"]] == [["left", "right"]]
    replayed = leadtime("replay", str(session.run_dir))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def test_teleoperation_on_a_rig_without_leaders_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "real.yaml"
    path.write_text(
        RIG.partition("leaders:")[0]
        .replace("driver: sim, model: x5", "driver: piper, channel: can0", 1)
        .replace("driver: sim, model: x5", "driver: piper, channel: can1", 1)
    )
    done = leadtime("teleop", "--rig", str(path), "--headless")
    assert done.returncode == 2
    assert "has no leaders" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
