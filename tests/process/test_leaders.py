"""Promises of whole runs with leaders on their own wires: from the device's bytes to the arms, and back to a hold.

Each leader takes hold for a while and lets go again, all through the run, whatever the run is doing meanwhile; what
came of it is read from what the run recorded.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from math import pi, sin
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from runtime.arms import VX300S
from runtime.blackbox import load_run
from runtime.clock import MonotonicClock
from runtime.control.limits import RigLimits
from runtime.drivers.emulators.dynamixel import DynamixelEmulator, GripperJoint, leader_gripper
from runtime.drivers.interbotix.table import GELLO_SERVOS, WX250S_SERVOS
from runtime.layout import ARM_SLICE, SIDES, Side
from runtime.spec import RunSpec
from runtime.states import LED, Mode
from tests.fake_arm import KinematicArm
from tests.process.harness import Session

RIG = """
name: led
command_ttl_ms: 60.0
state_stale_ms: 80.0
leader_stale_ms: 150.0
arms:
  left: {{driver: sim, model: {model}}}
  right: {{driver: sim, model: {model}}}
cameras: {{}}
leaders:
{leaders}
"""
DURATION_S = "20"
OPEN_S, HELD_S = 1.0, 4.0
"""For how long each leader lets go and takes hold, in turn."""
COUPLED_TICKS, STOPPED_TICKS = 200, 120


@contextmanager
def stepped(step: Callable[[float], None], period_s: float) -> Iterator[None]:
    """Call a step with the seconds since now, over and over, until the context ends."""
    ended, began_s = threading.Event(), time.monotonic()

    def go() -> None:
        while not ended.wait(period_s):
            step(time.monotonic() - began_s)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def held_for(t_s: float) -> float:
    """For how long the clutch is held by now, s; negative while it is open."""
    return t_s % (OPEN_S + HELD_S) - OPEN_S


def clutch_stream(path: Path, clutch: int, *motion: tuple[int, int, int]) -> Path:
    """Write an event stream that presses and releases a key in turn; `motion` is given half a second into each hold."""
    events = [(0.0, 0, 0, 0)]
    for i in range(30):
        began_s = OPEN_S + i * (OPEN_S + HELD_S)
        events.append((began_s, 1, clutch, 1))
        events += [(began_s + 0.5, *event) for event in motion]
        events += [(began_s + 1.5, kind, code, 0) for kind, code, _ in motion]
        events.append((began_s + HELD_S, 1, clutch, 0))
    path.write_bytes(
        b"".join(struct.pack("<qqHHi", int(t), int(t % 1 * 1e6), kind, code, v) for t, kind, code, v in events)
    )
    return path


def write_rig(path: Path, model: str, *leaders: str) -> str:
    path.write_text(RIG.format(model=model, leaders="\n".join(f"  {line}" for line in leaders)))
    return str(path)


def check_lead(session: Session, side: Side, moved_rad: float) -> None:
    """The arm was coupled, followed its leader within the limits, and braked to a hold whenever it was let go."""
    status, _, stderr = session.finish()
    assert status == 0, stderr
    run = load_run(session.run_dir)
    ticks, i, part = run.ticks, SIDES.index(side), ARM_SLICE[side]
    mode = ticks["mode"]
    led = np.isin(mode, list(LED))
    edges = np.flatnonzero(np.diff(led.astype(int)))
    spans = [(a + 1, b + 1) for a, b in pairwise(edges) if led[a + 1]]
    assert spans, f"nobody led: {stderr}"
    coupled = [int((mode[a:b] == Mode.TELEOP).sum()) for a, b in spans]
    begin, end = spans[int(np.argmax(coupled))]
    assert max(coupled) > COUPLED_TICKS, stderr
    teleop = begin + np.flatnonzero(mode[begin:end] == Mode.TELEOP)
    command, measured = ticks["command"]["position"][:, part], ticks["arm"]["position"][:, i]
    assert (ticks["led"][begin:end] == 1 << i).all(), "the other arm is let be"
    assert np.ptp(measured[begin:end, :6], axis=0).max() > moved_rad
    behind = np.abs(measured[teleop, :6] - command[teleop, :6])
    assert np.median(behind.max(axis=1)) < 0.1
    leader = ticks["leader"]["side"][:, i]["position"]
    assert np.abs(leader[teleop, :6] - command[teleop, :6]).max() < 0.36, "coupled is at most that far behind"
    assert np.median(np.abs(leader[teleop, :6] - command[teleop, :6]).max(axis=1)) < 0.1
    check_limits(ticks, session)
    after = ticks[end : end + STOPPED_TICKS]
    assert (after["mode"] == Mode.HOLD).all()
    still = np.abs(after["command"]["velocity"]).max(axis=1) < 1e-6
    assert still[-1]
    rest = int(np.argmax(still))
    assert still[rest:].all(), "once it stands it stands"
    assert session.summary()["limit_violations"] == 0


def check_limits(ticks: Any, session: Session) -> None:
    """Every command is within the rig's limits as differences of what was commanded, tick by tick."""
    limits = RigLimits.from_rig(RunSpec.load(session.run_dir / "spec.json").rig)
    position = ticks["command"]["position"]
    assert (position >= limits.position_min - 1e-9).all()
    assert (position <= limits.position_max + 1e-9).all()
    apart = np.diff(ticks["servo_tick"])
    speed = np.abs(np.diff(position, axis=0)) / (apart[:, None] * 0.005)
    assert (speed <= limits.velocity_max * (1.0 + 1e-6)).all()


def test_a_headset_s_hand_leads_an_arm_of_a_live_run_and_lets_it_go(
    start: Callable[..., Session], tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/hands"
    rig = write_rig(tmp_path / "led.yaml", "x5", f"hands: {{driver: poses, endpoint: '{endpoint}'}}")
    with zmq.Context() as context, context.socket(zmq.PUSH) as link:
        link.setsockopt(zmq.LINGER, 0)
        link.setsockopt(zmq.SNDHWM, 10)
        link.connect(endpoint)

        def say(t_s: float) -> None:
            held_s = held_for(t_s)
            z_m = 0.06 * (1.0 - np.cos(pi * min(max(held_s - 0.3, 0.0), 2.0)))
            hand = {"position_m": [0.0, 0.0, z_m], "wxyz": [1.0, 0.0, 0.0, 0.0], "grip": 0.0, "clutch": held_s > 0.0}
            with suppress(zmq.Again):  # the run has ended
                link.send(msgpack.packb({"v": 1, "t": t_s, "right": hand}), zmq.NOBLOCK)

        session = start("--rig", rig, "--duration-s", DURATION_S, command="teleop")
        session.await_roles("leader")
        session.await_mode(Mode.HOLD)
        with stepped(say, 0.01):
            session.process.wait(90)
    check_lead(session, "right", 0.1)


def gello_gripper() -> GripperJoint:
    return GripperJoint(lambda rad: (0.9 - rad) / 0.7, lambda fraction: 0.9 - 0.7 * fraction)


@pytest.mark.parametrize("model", ["wx250s", "gello"])
def test_a_leader_of_dynamixel_servos_leads_an_arm_of_a_live_run_and_lets_it_go(
    start: Callable[..., Session], tmp_path: Path, model: str
) -> None:
    port = tmp_path / "ttyLEAD"
    specs, gripper = (WX250S_SERVOS, leader_gripper()) if model == "wx250s" else (GELLO_SERVOS, gello_gripper())
    keys = (
        ""
        if model == "wx250s"
        else ", signs: [1, 1, 1, 1, 1, 1, 1], zeros_rad: [0, 0, 0, 0, 0, 0, 0], gripper_rad: [0.9, 0.2]"
    )
    pedal = clutch_stream(tmp_path / "pedal", 30)
    rig = write_rig(
        tmp_path / "led.yaml",
        "vx300s",
        f"arm: {{driver: dynamixel, side: left, port: {port}, model: {model}{keys}}}",
        f"pedal: {{driver: evdev, kind: pedal, device: {pedal}, record: true}}",
    )
    behind, clock = KinematicArm(VX300S), MonotonicClock()
    emulator = DynamixelEmulator(specs, behind, port, f"leadtime-lead-{os.getpid()}", gripper)
    emulator.open()

    def step(t_s: float) -> None:
        behind.target[0] = VX300S.home[0] + 0.25 * sin(2.0 * pi * t_s / 4.0)
        behind.step(clock.now_ns())
        emulator.step(clock.now_ns())

    try:
        with stepped(step, 0.0005):
            session = start("--rig", rig, "--duration-s", DURATION_S, command="teleop")
            session.process.wait(90)
    finally:
        emulator.close()
    check_lead(session, "left", 0.2)


def test_a_gamepad_leads_an_arm_of_a_live_run_and_lets_it_go(start: Callable[..., Session], tmp_path: Path) -> None:
    stream = clutch_stream(tmp_path / "pad", 311, (3, 0, -32768))
    rig = write_rig(
        tmp_path / "led.yaml",
        "x5",
        f"pad: {{driver: evdev, kind: gamepad, device: {stream}, side: left, record: true}}",
    )
    check_lead(start("--rig", rig, "--duration-s", DURATION_S, command="teleop"), "left", 0.1)
