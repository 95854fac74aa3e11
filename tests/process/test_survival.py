"""Promises of the processes to each other: whoever dies, the arms brake and hold, and nothing is replayed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from runtime.board import Board
from runtime.layout import SIDES
from runtime.records import Guard, Link, Mode, Trip
from tests.process.harness import Session, leadtime, wait_for


def guardian_states(board: Board) -> list[int]:
    return [int(board[f"guardian/{side}"].latest()["state"]) for side in SIDES]


def positions(board: Board) -> np.ndarray:
    return np.concatenate([board[f"arm/{side}"].latest()["position"] for side in SIDES])


def expiry_report(board: Board) -> list[float]:
    """How long after the last command's expiry each guardian left FOLLOW, in command lifetimes."""
    command = board["joint_command"].latest()
    lifetime_ns = int(command["valid_until_ns"] - command["t_ns"])
    trips = [int(board[f"guardian/{side}"].latest()["t_trip_ns"]) for side in SIDES]
    return [(t_ns - int(command["valid_until_ns"])) / lifetime_ns for t_ns in trips]


def test_a_stopped_control_process_lets_the_arms_brake_and_its_resume_replays_nothing(
    start: Callable[..., Session],
) -> None:
    session = start("--policy", "demo-state", "--duration-s", "60", "--latency", "pi0")
    board = session.await_mode(Mode.POLICY)
    time.sleep(1.0)
    control = session.children()["control"]
    os.kill(control, signal.SIGSTOP)
    wait_for(lambda: all(state == Guard.HOLD for state in guardian_states(board)), "both guardians to hold")
    late = expiry_report(board)
    print(f"guardians tripped {late} command lifetimes after the expiry")
    time.sleep(0.5)
    held = positions(board)
    reasons = [int(board[f"guardian/{side}"].latest()["reason"]) for side in SIDES]
    assert reasons == [Trip.EXPIRED, Trip.EXPIRED]
    time.sleep(0.3)
    assert np.abs(positions(board) - held).max() < 0.01
    ring = board["joint_command"]
    head = ring.head
    os.kill(control, signal.SIGCONT)
    wait_for(lambda: ring.head > head + 10, "commands after the resume")
    resumed, _, lost = ring.since(head)
    assert lost == 0
    assert all(int(command["mode"]) != Mode.POLICY for command in resumed)
    moved = np.abs(np.diff([command["position"] for command in resumed], axis=0))
    assert moved.max() < 0.02
    session.interrupt()
    assert session.children() == {}


def test_a_killed_control_process_is_restarted_into_hold(start: Callable[..., Session]) -> None:
    session = start("--policy", "demo-state", "--duration-s", "60", "--latency", "pi0")
    board = session.await_mode(Mode.POLICY)
    before = session.children()["control"]
    seq = int(board["joint_command"].latest()["seq"])
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: session.children().get("control", before) != before, "a new control process")
    seen = set()

    def commands_again() -> bool:
        command = board["joint_command"].latest()
        seen.add(int(command["mode"]))
        return int(command["seq"]) != seq and command["mode"] == Mode.HOLD

    wait_for(commands_again, "the new control process to hold")
    assert all(int(board[f"guardian/{side}"].latest()["trips"]) >= 1 for side in SIDES)
    session.interrupt()


def test_a_process_that_hangs_is_replaced(start: Callable[..., Session]) -> None:
    session = start("--policy", "demo-state", "--duration-s", "60")
    session.await_mode(Mode.POLICY)
    hung = session.children()["recorder"]
    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: session.children().get("recorder", hung) != hung, "a new recorder")
    session.interrupt()
    assert session.children() == {}
    replayed = leadtime("view", str(session.run_dir))
    assert replayed.returncode == 0, replayed.stderr


def test_a_killed_guardian_stops_the_other_arm(start: Callable[..., Session]) -> None:
    session = start("--policy", "demo-state", "--duration-s", "60", "--latency", "pi0")
    board = session.await_mode(Mode.POLICY)
    os.kill(session.children()["guardian-left"], signal.SIGKILL)

    def left_policy() -> bool:
        return board["joint_command"].latest()["mode"] in (Mode.FAULT, Mode.HOLD)

    wait_for(left_policy, "the control process to leave POLICY")
    session.interrupt()
    assert session.children() == {}


def test_a_killed_server_comes_back_and_the_arms_wait_in_hold(start: Callable[..., Session]) -> None:
    session = start("--policy", "demo-state", "--duration-s", "60", "--latency", "pi0")
    board = session.await_mode(Mode.POLICY)
    os.kill(session.children()["server"], signal.SIGKILL)
    wait_for(lambda: board["client"].latest()["link"] == Link.LOST, "the client to notice")
    wait_for(lambda: board["joint_command"].latest()["mode"] == Mode.HOLD, "the arms to hold")
    wait_for(lambda: board["client"].latest()["link"] == Link.READY, "the client to reconnect")
    session.interrupt()


@pytest.mark.parametrize("mode", [None, Mode.POLICY])
def test_the_supervisor_killed_leaves_no_process_behind(start: Callable[..., Session], mode: Mode | None) -> None:
    """While the children still import, and while the arms move."""
    session = start("--policy", "demo-state", "--duration-s", "60")
    if mode is None:
        session.await_roles("control", "server", "sim")
    else:
        session.await_mode(mode)
    session.process.kill()
    session.process.communicate()
    wait_for(lambda: session.children() == {}, "the orphans to end")
