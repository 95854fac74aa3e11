"""The client process against a real server: observations from the board in, chunks on the board."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.board import Board, Heart
from runtime.clock import MonotonicClock
from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.client.process import run_client
from runtime.layout import CAMERAS, SIDES
from runtime.records import ARM_STATE, LIFECYCLE, TIMELINE_VIEW, VIEW_PAST_TICKS, VIEW_TICKS
from runtime.shm import blank
from runtime.spec import RunSpec
from runtime.states import Link, Verdict
from tests.process.serving import named_policy, server

CLOCK = MonotonicClock()
PATIENCE_S = 20.0
STEP_S = 0.005
FRAME_STEPS = 6


class Bench:
    """A board with a client on it; the test plays cameras, arms and the control process."""

    def __init__(self, tmp_path: Path, task: str = "transfer") -> None:
        self.endpoint = f"ipc://{tmp_path}/s"
        self.spec = RunSpec(
            rig=load_rig("sim-x5"),
            run_dir=str(tmp_path),
            policy="tiny",
            endpoint=self.endpoint,
            serve=False,
            task=task,
            prompt="",
            latency="none",
            merge="prefix",
            seed=3,
            duration_s=1.0,
            episode_s=1.0,
            scene_length=1,
        )
        self.board = Board.create(self.spec)
        self._lifecycle: Any = blank(LIFECYCLE)
        self._lifecycle["t0_ns"] = CLOCK.now_ns()
        self.board["lifecycle"].push(self._lifecycle)
        self.base = self.spec.tick_base(self.board.t0_ns)
        self.view: Any = blank(TIMELINE_VIEW)
        self.steps = 0
        self.thread = threading.Thread(
            target=run_client, args=(self.board, CLOCK, Heart(self.board["heartbeat/client"], 1)), daemon=True
        )

    def stop(self) -> None:
        self._lifecycle["stop"] = 1
        self.board["lifecycle"].push(self._lifecycle)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()

    def step(self) -> None:
        """Publish one servo tick of a rig that stands still; every sixth with a new frame of each camera."""
        now_ns = CLOCK.now_ns()
        arm: Any = blank(ARM_STATE)
        arm["t_ns"], arm["position"] = now_ns, 0.1
        for side in SIDES:
            self.board[f"arm/{side}"].push(arm)
        if self.steps % FRAME_STEPS == 0:
            for i, name in enumerate(CAMERAS):
                ring = self.board[f"frame/{name}"]
                frame: Any = blank(ring.topic.dtype)
                frame["t_capture_ns"], frame["image"] = now_ns, 10 * i
                ring.push(frame)
        self.steps += 1
        tick = self.base.tick(now_ns)
        self.view["t_ns"], self.view["tick"] = now_ns, tick
        self.view["chunks_seen"] = self.board["chunk"].head
        self.view["end_tick"] = tick + 40 if self.view["started"] else tick
        self.view["actions"] = (tick - VIEW_PAST_TICKS + np.arange(VIEW_TICKS))[:, None]
        self.board["timeline"].push(self.view)
        time.sleep(STEP_S)

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end, self.text
            self.step()

    @property
    def status(self) -> NDArray[Any]:
        record = self.board["client"].latest()
        return blank(self.board["client"].topic.dtype) if record is None else record

    @property
    def link(self) -> Link:
        return Link(int(self.status["link"]))

    @property
    def text(self) -> str:
        return bytes(self.status["text"]).rstrip(b"\0").decode()

    def chunks(self, epoch: int, *, cold: bool) -> list[NDArray[Any]]:
        found, _, _ = self.board["chunk"].since(0)
        return [chunk for chunk in found if int(chunk["epoch"]) == epoch and bool(chunk["cold"]) == cold]


@contextmanager
def benched(tmp_path: Path, task: str = "transfer") -> Iterator[Bench]:
    bench = Bench(tmp_path, task)
    bench.thread.start()
    try:
        yield bench
    finally:
        bench.stop()


def test_a_cold_start_then_chunks_that_begin_with_what_was_committed(tmp_path: Path) -> None:
    with server(f"ipc://{tmp_path}/s", "constant:40"), benched(tmp_path) as bench:
        bench.until(lambda: bench.link is Link.READY)
        assert int(bench.status["requests"]) == 0
        bench.view["engaged"], bench.view["epoch"] = 1, 1
        bench.until(lambda: bool(bench.chunks(1, cold=True)))
        bench.view["started"] = 1
        bench.until(lambda: len(bench.chunks(1, cold=False)) >= 3)
    cold = bench.chunks(1, cold=True)[0]
    assert int(cold["prefix_len"]) == 0
    assert np.allclose(cold["actions"][:50], 0.1, atol=0.01)
    chunk = bench.chunks(1, cold=False)[-1]
    committed = int(chunk["prefix_len"])
    assert committed > 0
    assert np.allclose(chunk["actions"][:committed, 0], int(chunk["start_tick"]) + np.arange(committed))
    requests, _, _ = bench.board["request"].since(0)
    answered = [request for request in requests if request["verdict"] == Verdict.USED]
    assert min(int(request["server_ns"]) for request in answered) >= 40e6
    assert all(int(request["delay_ticks"]) >= 2 for request in answered)


def test_a_request_that_is_too_large_to_travel_is_said_and_the_next_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(f"ipc://{tmp_path}/s"), benched(tmp_path) as bench:
        bench.until(lambda: bench.link is Link.READY)
        with monkeypatch.context() as small:
            small.setattr(wire, "FRAME_BYTES_MAX", 55)
            bench.view["engaged"], bench.view["epoch"] = 1, 1
            bench.until(lambda: "array 'state' has 56 bytes; a frame carries 55" in bench.text)
            assert int(bench.status["requests"]) == 0
        bench.until(lambda: bool(bench.chunks(1, cold=True)))
        assert bench.link is Link.READY


def test_a_killed_server_is_a_lost_link_and_its_successor_serves_the_next_epoch(tmp_path: Path) -> None:
    with benched(tmp_path) as bench:
        with server(bench.endpoint, "constant:300") as first:
            bench.until(lambda: bench.link is Link.READY)
            bench.view["engaged"], bench.view["epoch"] = 1, 1
            bench.until(lambda: int(bench.status["requests"]) == 1)
            first.kill()
            bench.until(lambda: bench.link is Link.LOST)
        requests, _, _ = bench.board["request"].since(0)
        assert [int(request["verdict"]) for request in requests] == [Verdict.ERROR]
        with server(bench.endpoint):
            bench.view["epoch"] = 2
            bench.until(lambda: bool(bench.chunks(2, cold=True)))
            bench.until(lambda: bench.link is Link.READY)
        assert not bench.chunks(1, cold=True)


def test_a_refusal_reaches_the_board_with_its_reason(tmp_path: Path) -> None:
    policy = named_policy(tmp_path / "policy")
    with server(f"ipc://{tmp_path}/s", policy=policy), benched(tmp_path, task="juggle") as bench:
        bench.until(lambda: bench.link is Link.REFUSED)
        assert "'juggle'; its tasks: transfer" in bench.text
