"""Promises of a whole run whose arms are behind an emulated bus: real processes, real sockets, the bytes on the bus."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.blackbox import load_run
from runtime.drivers.bus import bus_name
from runtime.drivers.emulators.inject import inject
from runtime.faults import BIT
from runtime.layout import SIDES
from runtime.states import Mode
from tests.process.harness import Session, wait_for
from tests.process.test_survival import faults_seen

BEHIND_ROS = """
name: behind-ros
command_ttl_ms: 60.0
state_stale_ms: 80.0
arms:
  left: {driver: interbotix_ros, robot: emulated}
  right: {driver: interbotix_ros, robot: emulated}
cameras: {}
"""


@pytest.mark.parametrize("rig", ["emulated-piper", "emulated-vx300s", "behind-ros"])
def test_a_run_moves_the_arms_through_the_bytes_on_their_bus_or_a_stand_in_of_their_package(
    start: Callable[..., Session], rig: str, tmp_path: Path
) -> None:
    file = tmp_path / "behind-ros.yaml"
    file.write_text(BEHIND_ROS)
    session = start(
        "--rig", str(file) if rig == "behind-ros" else rig, "--policy", "sway", "--latency", "pi0", "--duration-s", "8"
    )
    status, _, stderr = session.finish()
    assert status == 0, stderr
    summary = session.summary()
    assert summary["mode_s"]["POLICY"] > 3.0
    assert summary["ticks_starved"] == 0
    ticks = load_run(session.run_dir).ticks
    policy = ticks[ticks["mode"] == Mode.POLICY]
    for i in range(len(SIDES)):
        commanded, measured = policy["command"]["position"][:, 7 * i], policy["arm"]["position"][:, i, 0]
        assert np.ptp(commanded) > 0.2
        assert np.ptp(measured) > 0.8 * np.ptp(commanded)
        assert np.abs(commanded - measured).max() < 0.1


@pytest.mark.parametrize(("rig", "fault"), [("emulated-piper", "silent"), ("emulated-vx300s", "silent-servo")])
def test_a_silent_bus_brakes_both_arms_and_its_guardian_comes_back_once_it_speaks(
    start: Callable[..., Session], rig: str, fault: str
) -> None:
    """Row 18: within the age that feedback may have, and not before the operator has cleared it does anything move."""
    session = start("--rig", rig, "--policy", "sway", "--latency", "pi0", "--duration-s", "40")
    board = session.await_mode(Mode.POLICY)
    time.sleep(1.0)
    before = session.children()["guardian-left"]
    bus = bus_name(str(session.run_dir), "left")
    inject(bus, fault)
    wait_for(lambda: faults_seen(board) & BIT["arm_silent"], "the control process to see it")
    wait_for(lambda: session.children().get("guardian-left", before) != before, "a new guardian")
    time.sleep(0.5)
    command = board["joint_command"].latest()
    assert command is not None
    assert command["mode"] != Mode.POLICY
    assert np.abs(command["velocity"]).max() < 1e-6
    inject(bus, fault, on=False)
    session.await_mode(Mode.POLICY)
    assert session.interrupt() < 60.0


def test_servos_whose_guardian_is_killed_stop_by_themselves_and_are_held_anew(start: Callable[..., Session]) -> None:
    """The bus watchdog of the servos is the layer below the guardian."""
    session = start("--rig", "emulated-vx300s", "--policy", "sway", "--latency", "pi0", "--duration-s", "40")
    board = session.await_mode(Mode.POLICY)
    time.sleep(1.0)
    before = session.children()["guardian-left"]
    ring = board["device/left/command"]
    os.kill(before, signal.SIGKILL)
    time.sleep(0.3)
    stopped = ring.head
    wait_for(lambda: session.children().get("guardian-left", before) != before, "a new guardian")
    wait_for(lambda: ring.head > stopped, "the new guardian to hold the arm")
    command, state = ring.latest(), board["device/left/state"].latest()
    assert command is not None and state is not None
    assert np.abs(command["position"] - state["position"])[:6].max() < 0.05
    session.await_mode(Mode.POLICY)
    assert session.interrupt() < 60.0


@pytest.mark.parametrize("process", ["control", "guardian-left"])
def test_standing_still_for_less_than_a_commands_life_is_no_leap_on_the_bus(
    start: Callable[..., Session], process: str
) -> None:
    """The arm goes on a tick of motion at a time, and is back on its plan within its limits."""
    session = start("--rig", "emulated-vx300s", "--policy", "sway", "--latency", "pi0", "--duration-s", "60")
    board = session.await_mode(Mode.POLICY)
    time.sleep(1.0)
    pid = session.children()[process]
    for _ in range(40):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.012)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.1)
    status = board["task"].latest()
    assert status is not None
    assert status["limit_violations"] == 0
    assert session.interrupt() < 60.0
