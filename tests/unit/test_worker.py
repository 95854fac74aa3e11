"""The worker reads a request as agreed, says in a line what is wrong with one, and keeps its latency profile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.clock import NS_PER_S, MonotonicClock
from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.handshake import policy_schema, rig_schema
from runtime.inference.policy import load_policy
from runtime.inference.sampler import Query, load_sampler
from runtime.inference.server.latency import LatencyModel, parse_latency
from runtime.inference.server.local import LocalPolicy, model_inputs, query
from runtime.inference.server.session import Job
from runtime.inference.server.worker import Reply, Worker
from runtime.states import Condition
from tests.unit.test_sampler import folder

POLICY = load_policy(str(Path(__file__).parent.parent / "data" / "tiny_objects.onnx"))

HELLO = wire.Hello(client="c", rig=rig_schema(load_rig("sim-x5")), task="transfer")


def plan(rows: int, fill: float = 0.5) -> np.ndarray:
    return np.full((rows, 14), fill, dtype=np.float32)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> wire.Schema:
    """What is agreed with a policy that can do everything."""
    return policy_schema(load_policy(str(folder(tmp_path_factory.mktemp("worker") / "tiny"))), "transfer", 0.0)


def job(schema: wire.Schema, prefix: Any = None, request_seq: int = 1, **fields: Any) -> Job:
    arrays = {
        "object_state": np.zeros(7, np.float32),
        "state": np.zeros(14, np.float32),
        "velocity": np.zeros(14, np.float32),
    }
    if prefix is not None:
        arrays["prefix"] = prefix
    request = wire.Infer(session="s", request_seq=request_seq, obs_seq=1, seed=3, deadline_ms=1000.0, **fields)
    return Job(b"me", request, arrays, HELLO, schema, MonotonicClock().now_ns())


def test_a_request_is_read_as_the_sampler_takes_it(schema: wire.Schema) -> None:
    asked = job(schema, plan(40), condition=Condition.GUIDED, committed=12, execute=20)
    assert query(asked) == Query(Condition.GUIDED, 12, 20, (3, 1))
    inputs = model_inputs(asked)
    assert inputs.prefix_len == 40
    assert np.all(inputs.prefix[:40] == 0.5)
    assert np.all(inputs.prefix[40:] == 0.0)


def test_a_plan_to_keep_to_may_be_longer_than_a_prefix(schema: wire.Schema) -> None:
    assert schema.prefix_max == 25
    for condition in (Condition.PLAIN, Condition.GUIDED, Condition.GUIDED_IDENTITY, Condition.BEST_OF):
        assert query(job(schema, plan(50), condition=condition, committed=30)).committed == 30


def test_a_request_that_says_nothing_of_the_plan_is_plain(schema: wire.Schema) -> None:
    assert query(job(schema)) == Query(Condition.PLAIN, 0, 0, (3, 1))


@pytest.mark.parametrize(
    ("prefix", "fields", "part"),
    [
        (plan(3, np.nan), {"condition": Condition.GUIDED}, "array 'prefix' holds NaN or infinity"),
        (plan(3, np.inf), {}, "array 'prefix' holds NaN or infinity"),
        (plan(3)[:, :7], {"condition": Condition.GUIDED}, "array 'prefix' is f4 (3, 7); f4 (3, 14) was agreed"),
        (plan(3)[0], {}, "array 'prefix' is f4 (14,); f4 (0, 14) was agreed"),
        (plan(3).astype(np.float64), {}, "array 'prefix' is f8 (3, 14); f4 (3, 14) was agreed"),
        (plan(26), {"condition": Condition.PREFIX, "committed": 26}, "a prefix of 26 steps; at most 25 were agreed"),
        (plan(51), {"condition": Condition.GUIDED}, "51 steps of the plan; a chunk has 50"),
        (plan(9), {"condition": Condition.GUIDED, "committed": 10}, "10 steps committed, 9 of the plan were sent"),
        (None, {"condition": Condition.BEST_OF, "committed": 1}, "1 steps committed, 0 of the plan were sent"),
        (plan(9), {"condition": Condition.PREFIX, "committed": 4}, "a prefix of 9 steps of which 4 are committed"),
        (None, {"condition": Condition.FUTURE}, "condition 'future'; this policy can do plain, prefix, guided"),
    ],
)
def test_a_bad_plan_is_refused_in_one_line(schema: wire.Schema, prefix: Any, fields: Any, part: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        asked = job(schema, prefix, **fields)
        query(asked)
        model_inputs(asked)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_condition_that_the_policy_cannot_do_is_refused_with_those_it_can() -> None:
    schema = policy_schema(POLICY, "any", 0.0)
    with pytest.raises(wire.WireError, match="condition 'guided'; this policy can do plain, prefix"):
        query(job(schema, plan(10), condition=Condition.GUIDED))


@contextmanager
def working(jobs: list[Job], latency: LatencyModel) -> Iterator[queue.Queue[Reply]]:
    """Let a worker take the jobs in turn; yields its replies."""
    with at_work(jobs, latency) as (_, replies):
        yield replies


@contextmanager
def at_work(jobs: list[Job], latency: LatencyModel) -> Iterator[tuple[Worker, queue.Queue[Reply]]]:
    """Let a worker take the jobs in turn; yields it and its replies."""
    replies: queue.Queue[Reply] = queue.Queue()
    worker = Worker(
        LocalPolicy(POLICY, {"transfer": load_sampler(POLICY, "transfer")}, "", 0.0),
        latency,
        seed=0,
        clock=MonotonicClock(),
        early=replies.put,
    )

    def work() -> None:
        for each in jobs:
            reply = worker.work(replace(each, t_receipt_ns=MonotonicClock().now_ns()))
            if reply is not None:
                replies.put(reply)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield worker, replies
    finally:
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()


class HeldBack:
    """Holds the first answer back for a minute and no other; `asked` is set once the first is under way."""

    median_ms = 0.0

    def __init__(self) -> None:
        self.asked = threading.Event()

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int | None:
        first = not self.asked.is_set()
        self.asked.set()
        return 60 * NS_PER_S if first else 0


def test_a_request_under_way_that_is_cancelled_is_not_answered_and_holds_nobody_up() -> None:
    schema, latency = policy_schema(POLICY, "any", 0.0), HeldBack()
    with at_work([job(schema, request_seq=i) for i in (1, 2)], latency) as (worker, replies):
        assert latency.asked.wait(10.0)
        worker.cancel(b"another", 1)
        worker.cancel(b"me", 2)
        with pytest.raises(queue.Empty):
            replies.get(timeout=0.1)
        worker.cancel(b"me", 1)
        message, _ = wire.decode(replies.get(timeout=10.0)[1])
    assert getattr(message, "request_seq", 0) == 2
    assert replies.empty()


class EveryOther:
    """Loses the first answer and every second one after it; notes when it was asked."""

    median_ms = 0.0

    def __init__(self) -> None:
        self.elapsed_ns: list[int] = []

    def sample(self, rng: np.random.Generator, elapsed_ns: int) -> int | None:
        self.elapsed_ns.append(elapsed_ns)
        return None if len(self.elapsed_ns) % 2 else 0


def test_a_lost_answer_is_never_sent_and_the_next_request_is_served() -> None:
    schema, latency = policy_schema(POLICY, "any", 0.0), EveryOther()
    with working([job(schema, request_seq=i) for i in (1, 2, 3, 4)], latency) as replies:
        answered = [wire.decode(replies.get(timeout=10.0)[1])[0] for _ in range(2)]
        assert [getattr(message, "request_seq", 0) for message in answered] == [2, 4]
    assert replies.empty()
    assert latency.elapsed_ns == sorted(latency.elapsed_ns)
    # Since the worker began, not since the clock did.
    assert 0 <= latency.elapsed_ns[0] < 10 * NS_PER_S


def test_an_answer_says_where_the_servers_time_went() -> None:
    asked = job(policy_schema(POLICY, "any", 0.0))
    with working([asked], parse_latency("constant:30")) as replies:
        message, _ = wire.decode(replies.get(timeout=10.0)[1])
    assert isinstance(message, wire.Chunk)
    parts = (message.queue_ns, message.prepare_ns, message.infer_ns)
    assert min(parts) > 0
    assert sum(parts) < message.server_ns
    assert message.server_ns >= 30e6


def test_a_bad_request_is_answered_although_its_answer_would_have_been_lost() -> None:
    bad = job(policy_schema(POLICY, "any", 0.0), plan(3, np.nan), request_seq=8)
    with working([bad], parse_latency("drop:100,100")) as replies:
        message, _ = wire.decode(replies.get(timeout=10.0)[1])
    assert isinstance(message, wire.Error)
    assert (message.code, message.request_seq) == ("bad_request", 8)
