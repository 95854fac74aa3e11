"""A run of the real control loop in virtual time against arms, guardians and a client that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime import records
from runtime.blackbox import FILE_NAME
from runtime.board import Board
from runtime.clock import VirtualClock
from runtime.control.loop import ControlLoop
from runtime.layout import ARM_SLICE, SIDES
from runtime.recorder import Recorder
from runtime.shm import blank
from runtime.spool import Spool
from runtime.states import Guard, Link, Mode
from tests.unit.recorded import PERIOD_NS, T0_NS, make_board

ENGAGE_TICK = 60
FIRST_CHUNK_TICK = 120
CHUNK_EVERY = 60
LAST_CHUNK_TICK = 700
TICKS = 1000


class Session:
    """Steps one servo tick at a time: inputs, decision, recording. The chunks stop coming before the end."""

    def __init__(self, run_dir: Path) -> None:
        self.board: Board = make_board(run_dir)
        self._spool = Spool(run_dir / FILE_NAME)
        self.recorder = Recorder(self.board, self._spool)
        self._clock = VirtualClock(T0_NS)
        self._home = self.board.spec.rig.stack("home")
        self._position = self._home.copy()
        self._loop = ControlLoop(self.board, self._clock)
        self._armed = False
        self._chunks = 0

    def restart_control(self) -> None:
        """Put a new control process in the place of the one that ran."""
        self._loop = ControlLoop(self.board, self._clock)

    def step(self, servo_tick: int) -> None:
        """Run one servo tick, a little late, as a real one is."""
        now_ns = T0_NS + servo_tick * PERIOD_NS + 1_000 * (servo_tick % 37)
        self._clock.sleep_until_ns(now_ns)
        self._publish_arms(now_ns - 1_000_000)
        self._publish_operator(servo_tick, now_ns)
        self._publish_client(servo_tick, now_ns)
        self._loop.tick(servo_tick, 0)
        command: Any = self.board["joint_command"].latest()
        self._armed = bool(command["armed"])
        if self._armed:
            self._position = command["position"].copy()
        if servo_tick % 10 == 0:
            self.recorder.step(now_ns)

    def finish(self) -> None:
        """Close the black box."""
        self.recorder.finish(self._clock.now_ns())
        self._spool.close(5.0)

    def _publish_arms(self, t_ns: int) -> None:
        rng = np.random.default_rng(t_ns)
        for side in SIDES:
            state = blank(records.ARM_STATE)
            state["seq"], state["t_ns"] = t_ns, t_ns
            state["position"] = self._position[ARM_SLICE[side]] + rng.normal(scale=1e-5, size=7)
            self.board[f"arm/{side}"].push(state)
            guardian = blank(records.GUARDIAN_STATUS)
            guardian["t_ns"] = t_ns
            guardian["state"] = Guard.FOLLOW if self._armed else Guard.DISARMED
            guardian["target"] = self._position[ARM_SLICE[side]]
            self.board[f"guardian/{side}"].push(guardian)

    def _publish_operator(self, servo_tick: int, now_ns: int) -> None:
        if servo_tick not in {0, ENGAGE_TICK}:
            return
        operator = blank(records.OPERATOR)
        operator["seq"], operator["t_ns"] = servo_tick + 1, now_ns
        operator["want"] = Mode.POLICY if servo_tick else Mode.HOLD
        self.board["operator"].push(operator)

    def _publish_client(self, servo_tick: int, now_ns: int) -> None:
        client = blank(records.CLIENT_STATUS)
        client["t_ns"], client["link"] = now_ns, Link.READY
        self.board["client"].push(client)
        due = (servo_tick - FIRST_CHUNK_TICK) % CHUNK_EVERY == 0
        if not due or not FIRST_CHUNK_TICK <= servo_tick <= LAST_CHUNK_TICK:
            return
        view: Any = self.board["timeline"].latest()
        cold = servo_tick == FIRST_CHUNK_TICK
        start = int(view["tick"]) - (0 if cold else 8)
        since_first = start + np.arange(50) - FIRST_CHUNK_TICK // 4 - cold
        self._chunks += 1
        chunk = blank(records.CHUNK)
        chunk["chunk_id"] = chunk["request_seq"] = chunk["obs_seq"] = self._chunks
        chunk["epoch"], chunk["cold"], chunk["start_tick"] = view["epoch"], cold, start
        chunk["prefix_len"], chunk["horizon"] = (0 if cold else 10), 50
        chunk["t_obs_ns"], chunk["t_received_ns"] = now_ns - 160_000_000, now_ns
        chunk["actions"][:50] = self._home + 0.1 * np.sin(0.05 * since_first)[:, None] * np.linspace(0.2, 1, 14)
        chunk["actions"][:50, (6, 13)] = 0.8
        self.board["chunk"].push(chunk)
