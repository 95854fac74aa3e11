"""Promises of the arm behind an emulated bus: it tells a device's ticks apart though no bus carries them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import records
from runtime.board import Board, RunSpec
from runtime.config import load_rig
from runtime.drivers.emulators.base import BUS_STEP_RAD, BoardArm
from runtime.drivers.sim.audit import LimitAudit
from runtime.layout import ARM_DOF
from runtime.shm import blank

STEP_RAD = BUS_STEP_RAD["interbotix"]
DT = 0.005


@pytest.fixture
def board(tmp_path: Path) -> Board:
    texts = dict.fromkeys(("policy", "endpoint", "task", "prompt", "latency", "merge"), "x")
    numbers = {"seed": 0, "duration_s": 1.0, "episode_s": 1.0, "scene_length": 1}
    rig = load_rig("emulated-vx300s")
    return Board.create(RunSpec(rig=rig, run_dir=str(tmp_path), serve=False, **texts, **numbers))  # type: ignore[arg-type]


class Bus:
    """A guardian that speeds up, and what of its targets comes out of the bus."""

    def __init__(self, board: Board) -> None:
        self.board, self.arm = board, BoardArm(board, "left")
        model = board.spec.rig.arm_model("left")
        self.audit = LimitAudit(model, DT, board.spec.rig.command_ticks, STEP_RAD)
        self.a_step = model.acceleration_max[0] * DT**2
        self.tick, self.speed, self.target = 1000, 0.0, model.home_array
        self.now_ns = 10**9

    def send(self, accelerate: float = 0.5) -> np.ndarray:
        """Let the guardian send a target; returns how it looks on the bus."""
        self.tick += 1
        self.speed += accelerate * self.a_step
        self.target = self.target.copy()
        self.target[0] += self.speed
        status: Any = blank(records.GUARDIAN_STATUS)
        status["device_tick"], status["target"] = self.tick, self.target
        self.board["guardian/left"].push(status)
        return np.round(self.target / STEP_RAD) * STEP_RAD

    def deliver(self, position: np.ndarray) -> int:
        """Let it arrive; returns the tick that it is taken for."""
        self.now_ns += 5_000_000
        self.arm.command(position, self.now_ns)
        record = self.board["device/left/command"].latest()
        assert record is not None
        self.audit.check(int(record["servo_tick"]), record["position"])
        return int(record["servo_tick"])


def test_each_target_is_taken_for_the_tick_that_it_was_sent_as(board: Board) -> None:
    bus = Bus(board)
    assert [bus.deliver(bus.send()) for _ in range(40)] == list(range(1001, 1041))
    assert bus.audit.violations == 0


def test_targets_that_waited_in_the_bus_are_told_apart(board: Board) -> None:
    bus = Bus(board)
    for _ in range(10):
        waiting = [bus.send() for _ in range(3)]
        ticks = [bus.deliver(position) for position in waiting]
        assert ticks == [bus.tick - 2, bus.tick - 1, bus.tick]
    assert bus.audit.violations == 0


def test_a_target_left_out_is_a_tick_that_has_passed(board: Board) -> None:
    bus = Bus(board)
    for i in range(40):
        position = bus.send()
        if i % 3 != 1:
            assert bus.deliver(position) == bus.tick
    assert bus.audit.violations == 0


def test_a_target_repeated_is_no_tick_at_rest(board: Board) -> None:
    bus = Bus(board)
    for _ in range(20):
        position = bus.send()
        assert bus.deliver(position) == bus.deliver(position) == bus.tick
    assert bus.audit.violations == 0


def test_a_leap_that_the_bus_makes_is_a_violation(board: Board) -> None:
    bus = Bus(board)
    for _ in range(20):
        bus.deliver(bus.send())
    leap = bus.send()
    leap[0] += 8 * bus.a_step + 4 * STEP_RAD
    assert bus.deliver(leap) == bus.tick
    assert bus.audit.violations == 1


def test_a_leap_that_the_guardian_makes_is_a_violation(board: Board) -> None:
    bus = Bus(board)
    for _ in range(20):
        bus.deliver(bus.send())
    bus.deliver(bus.send(accelerate=8.0 + 4 * STEP_RAD / bus.a_step))
    assert bus.audit.violations == 1


def test_the_first_target_may_be_any(board: Board) -> None:
    bus = Bus(board)
    assert bus.deliver(np.full(ARM_DOF, 0.5)) == 1
