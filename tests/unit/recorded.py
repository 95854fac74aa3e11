"""A made-up run on a board in virtual time, for the tests of what records, reads and shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime import records
from runtime.board import Board
from runtime.clock import NS_PER_S
from runtime.config import load_rig
from runtime.layout import ARM_SLICE, RIG_DOF, SIDES
from runtime.recorder import Recorder
from runtime.shm import blank
from runtime.spec import RunSpec
from runtime.spool import Spool
from runtime.states import Guard, Link, Mode, Verdict

T0_NS = 7 * NS_PER_S
PERIOD_NS = NS_PER_S // 200
HOLD_TICKS = 200
CHUNK_EVERY = 80
LATENCY_NS = 360_000_000


def make_spec(run_dir: Path) -> RunSpec:
    """Return the spec of a run on the default rig."""
    return RunSpec(
        rig=load_rig("sim-x5"),
        run_dir=str(run_dir),
        policy="demo",
        endpoint="ipc://@none",
        serve=True,
        task="transfer",
        prompt="hand the cube over",
        latency="gigaworld",
        merge="prefix",
        seed=3,
        duration_s=5.0,
        episode_s=20.0,
        scene_length=3,
    )


def make_board(run_dir: Path) -> Board:
    """Return a board whose run began at `T0_NS`."""
    board = Board.create(make_spec(run_dir))
    lifecycle = blank(records.LIFECYCLE)
    lifecycle["t0_ns"] = T0_NS
    board["lifecycle"].push(lifecycle)
    return board


def make_tick(i: int, phase: float = 1.0) -> Any:
    """Return servo tick `i`: a second of HOLD, then POLICY along sines, 15 us late, a seam every 80 ticks."""
    tick = blank(records.TICK)
    policy = i >= HOLD_TICKS
    tick["servo_tick"], tick["tick"] = i, i // 4
    tick["scheduled_ns"] = T0_NS + i * PERIOD_NS
    tick["now_ns"] = tick["scheduled_ns"] + 15_000
    angle = phase * (i - HOLD_TICKS) / 200 * policy
    position = 0.5 * np.sin(angle * np.linspace(0.5, 2.0, RIG_DOF))
    tick["target"] = position
    tick["command"]["seq"] = i + 1
    tick["command"]["position"] = position
    tick["mode"] = tick["command"]["mode"] = Mode.POLICY if policy else Mode.HOLD
    for s, side in enumerate(SIDES):
        tick["arm"][s]["t_ns"] = tick["now_ns"] - 1_000_000
        tick["arm"][s]["position"] = position[ARM_SLICE[side]] - 0.01
        tick["guardian"][s]["state"] = Guard.FOLLOW
    tick["ahead_ticks"] = (50 - (i % CHUNK_EVERY) // 4) * policy
    tick["chunk_id"] = i // CHUNK_EVERY
    tick["chunks_seen"] = i // CHUNK_EVERY + 1
    tick["switched"] = policy and i % CHUNK_EVERY == 0
    tick["seam_jump_rad"] = 0.01 * tick["switched"]
    tick["compute_ns"] = 300_000
    return tick


def make_chunk(i: int) -> Any:
    """Return a chunk that arrives at servo tick `i`."""
    chunk = blank(records.CHUNK)
    chunk["chunk_id"] = chunk["request_seq"] = i // CHUNK_EVERY
    chunk["horizon"] = 50
    chunk["t_received_ns"] = T0_NS + i * PERIOD_NS
    chunk["actions"][:50] = np.arange(50)[:, None] * 0.001 + np.arange(RIG_DOF)
    return chunk


def make_request(i: int, verdict: Verdict = Verdict.USED) -> Any:
    """Return a request that was answered at servo tick `i` after `LATENCY_NS`."""
    request = blank(records.REQUEST)
    request["request_seq"] = i // CHUNK_EVERY
    request["t_received_ns"] = T0_NS + i * PERIOD_NS
    request["t_request_ns"] = request["t_received_ns"] - LATENCY_NS
    request["delay_ticks"], request["forecast_ticks"] = 19, 20
    request["verdict"] = verdict
    return request


def make_frame(i: int) -> Any:
    """Return a 320x240 frame captured at servo tick `i`."""
    frame = blank(records.frame_dtype(320, 240))
    frame["seq"] = i
    frame["t_capture_ns"] = T0_NS + i * PERIOD_NS
    frame["image"][...] = np.linspace(0, 255, 320, dtype=np.uint8)[None, :, None]
    frame["image"][:, :, 2] = (i * 3) % 256
    return frame


def make_client(i: int) -> Any:
    """Return the client's status at servo tick `i`."""
    client = blank(records.CLIENT_STATUS)
    client["t_ns"] = T0_NS + i * PERIOD_NS
    client["link"] = Link.READY
    client["requests"] = client["used"] = i // CHUNK_EVERY
    client["forecasts"], client["covered"], client["overprovision_ticks"] = 20, 19, 38.0
    client["coverage_target"] = 0.95
    client["forecast_ticks"], client["latency_ms"] = 20, 362.0
    return client


def make_task(i: int, episode: int = 1, outcome: int = -1) -> Any:
    """Return the task's status at servo tick `i`."""
    task = blank(records.TASK_STATUS)
    task["t_ns"] = T0_NS + i * PERIOD_NS
    task["episode"], task["outcome"] = episode, outcome
    task["episode_s"], task["real_time_factor"] = i / 200, 1.0
    return task


def make_end(i: int, episode: int, *, success: bool) -> Any:
    """Return the verdict on an episode, given at servo tick `i`."""
    end = blank(records.EPISODE_END)
    end["t_ns"], end["episode"], end["success"] = T0_NS + i * PERIOD_NS, episode, success
    end["policy_s"] = 0.5
    end["successes" if success else "failures"] = 1
    return end


def make_task_request(i: int, episode: int = 1) -> Any:
    """Return the request to lay an episode out at servo tick `i`."""
    request = blank(records.TASK_REQUEST)
    request["episode"], request["seed"], request["t_ns"] = episode, 300 + episode, T0_NS + i * PERIOD_NS
    return request


def put(board: Board, i: int, count: int) -> None:
    """Put on the board what a run of `count` ticks publishes in servo tick `i`; it succeeds near its end."""
    if i == 0:
        board["task_request"].push(make_task_request(0))
    if i % CHUNK_EVERY == 0:
        board["chunk"].push(make_chunk(i))
        board["request"].push(make_request(i))
    if i % 7 == 0:
        for name in board.spec.rig.cameras:
            board[f"frame/{name}"].push(make_frame(i))
    board["tick"].push(make_tick(i))
    board["client"].push(make_client(i))
    done = i >= count - 40
    board["task"].push(make_task(i, outcome=1 if done else -1))
    if done and board["episode_end"].head == 0:
        board["episode_end"].push(make_end(i, 1, success=True))


def record(run_dir: Path, count: int = 1000) -> list[bytes]:
    """Record a run of `count` servo ticks into a folder; returns the bytes of its ticks."""
    board = make_board(run_dir)
    spool = Spool(run_dir / "run.mcap")
    recorder = Recorder(board, spool)
    for i in range(count):
        put(board, i, count)
        if i % 10 == 9:
            recorder.step(T0_NS + i * PERIOD_NS)
    recorder.finish(T0_NS + count * PERIOD_NS)
    spool.close(5.0)
    return [make_tick(i).tobytes() for i in range(count)]
