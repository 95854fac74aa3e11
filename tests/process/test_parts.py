"""An answer in parts by the real wire: the first actions before the rest, to whoever asks for them and nobody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.inference import wire
from runtime.states import Link, Verdict
from tests.process.serving import PlainClient
from tests.process.streaming import HORIZON, PARTS, RISE, STEP_S
from tests.process.test_client import benched

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def writer(endpoint: str = "tcp://127.0.0.1:*", latency: str = "none") -> Iterator[str]:
    command = [sys.executable, "-m", "tests.process.streaming", endpoint, latency]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, where = process.stdout.readline().strip().partition(" ")
            assert ready == "ready"
            yield where
        finally:
            process.kill()


def infer(client: PlainClient, request_seq: int, *, parts: bool) -> wire.Infer:
    return wire.Infer(session=client.session, request_seq=request_seq, obs_seq=1, deadline_ms=10_000.0, parts=parts)


ARRAYS = {"state": np.full(14, 0.1, np.float32), "velocity": np.zeros(14, np.float32)}


@pytest.mark.parametrize("latency", ["none", "constant:400"])
def test_the_first_actions_leave_before_the_rest_is_there(latency: str) -> None:
    with writer(latency=latency) as endpoint, zmq.Context() as context, PlainClient(context, endpoint) as client:
        welcome = client.hello()
        assert isinstance(welcome, wire.Welcome)
        assert welcome.schema.parts
        client.send(infer(client, 7, parts=True), ARRAYS)
        answers = [client.answer() for _ in range(len(PARTS) + 1)]
    chunks = [chunk for chunk, _ in answers if isinstance(chunk, wire.Chunk)]
    assert [(chunk.request_seq, chunk.part, chunk.final) for chunk in chunks] == [
        (7, 0, False),
        (7, 1, False),
        (7, 2, True),
    ]
    rows = [arrays["actions"] for _, arrays in answers]
    assert [len(each) for each in rows] == [*PARTS, HORIZON]
    assert np.allclose(rows[-1][:, 0], 0.1 + RISE * np.arange(1, HORIZON + 1))
    assert all(np.array_equal(each, rows[-1][: len(each)]) for each in rows)
    # On the server's own clock: what the model still had to write came after it.
    for before, after, had, has in zip(chunks, chunks[1:], rows, rows[1:], strict=False):
        assert after.server_ns - before.server_ns >= (len(has) - len(had)) * STEP_S * NS_PER_S
    if latency != "none":
        # Each is held to its share of the profile, and that is not the model's own time.
        held_ns = 400 * NS_PER_MS
        assert all(c.server_ns >= held_ns * len(r) // HORIZON for c, r in zip(chunks, rows, strict=True))
        assert chunks[-1].infer_ns + chunks[-1].prepare_ns + chunks[-1].queue_ns < chunks[-1].server_ns


def test_who_does_not_ask_for_parts_gets_the_whole_and_nothing_else() -> None:
    with writer() as endpoint, zmq.Context() as context, PlainClient(context, endpoint) as client:
        client.hello()
        for seq in (1, 2):
            client.send(infer(client, seq, parts=False), ARRAYS)
            chunk, arrays = client.answer()
            assert isinstance(chunk, wire.Chunk)
            assert (chunk.request_seq, chunk.part, chunk.final) == (seq, 0, True)
            assert len(arrays["actions"]) == HORIZON


def test_of_a_request_that_is_cancelled_after_its_first_part_nothing_more_comes() -> None:
    latency = "constant:2000"
    with writer(latency=latency) as endpoint, zmq.Context() as context, PlainClient(context, endpoint) as client:
        client.hello()
        client.send(infer(client, 1, parts=True), ARRAYS)
        first, _ = client.answer()
        assert isinstance(first, wire.Chunk)
        assert not first.final
        client.send(wire.Cancel(session=client.session, request_seq=1))
        client.send(infer(client, 2, parts=False), ARRAYS)
        second, _ = client.answer()
    assert isinstance(second, wire.Chunk)
    assert second.request_seq == 2


def test_a_rig_takes_the_first_actions_at_once_and_counts_their_delay(tmp_path: Path) -> None:
    with benched(tmp_path) as bench, writer(bench.endpoint):
        bench.until(lambda: bench.link is Link.READY)
        bench.view["engaged"], bench.view["epoch"] = 1, 1
        bench.until(lambda: bool(bench.chunks(1, cold=True)))
        bench.view["started"] = 1

        def in_parts() -> list[int]:
            ended = [r for r in bench.board["request"].since(0)[0] if r["verdict"] == Verdict.USED]
            return [int(request["request_seq"]) for request in ended if int(request["t_part_ns"])]

        bench.until(lambda: len(in_parts()) >= 3)
        requests = {int(request["request_seq"]): request for request in bench.board["request"].since(0)[0]}
        chunks = bench.chunks(1, cold=False)
    seq = in_parts()[-1]
    request = requests[seq]
    first, whole = (chunk for chunk in chunks if int(chunk["request_seq"]) == seq)
    assert (int(first["horizon"]), int(whole["horizon"])) == (int(request["part_ticks"]), HORIZON)
    assert int(first["horizon"]) in PARTS
    assert np.array_equal(first["actions"][: int(first["horizon"])], whole["actions"][: int(first["horizon"])])
    assert int(first["t_received_ns"]) == int(request["t_part_ns"]) < int(request["t_received_ns"])
    acts_tick = bench.base.tick(int(request["t_part_ns"])) + 1
    assert int(request["delay_ticks"]) == acts_tick - int(request["obs_tick"])
