"""The first actions of a chunk before the rest: what is taken of an answer in parts, what of it counts, and when."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.control.merge import MERGES
from runtime.control.strategy import MARGIN_TICKS
from runtime.inference.client.ask import Ask, Outcome
from runtime.inference.client.core import ClientCore
from runtime.states import Verdict
from tests.unit.test_client_core import BASE, DEADLINE_NS, SCHEMA, ask, at, chunk_for, next_ask, running, use, view

SCHEMA_IN_PARTS = msgspec.structs.replace(SCHEMA, parts=True)
WHOLE, PART = 20, 8
"""Ticks from the observation until the whole and the first part of an answer can act."""
ROWS = 30
"""Of a part: enough until the whole comes, fewer than all 50."""
FEW = 12


def core(merge: str = "prefix") -> ClientCore:
    made = ClientCore(BASE, merge, DEADLINE_NS)
    made.open(SCHEMA_IN_PARTS)
    return made


def rows(count: int = 50) -> dict[str, NDArray[Any]]:
    return {"actions": np.arange(count, dtype=np.float32)[:, None].repeat(14, axis=1) / 100}


def part(
    client: ClientCore, asked: Ask, tick: float, *, index: int = 0, count: int = ROWS, **change: Any
) -> list[Outcome]:
    return client.answer(chunk_for(asked, part=index, final=False, **change), rows(count), at(tick))


def whole(client: ClientCore, asked: Ask, tick: float) -> Outcome:
    (outcome,) = client.answer(chunk_for(asked, part=1), rows(), at(tick))
    return outcome


def answered(client: ClientCore, tick: int, times: int = 6) -> int:
    """Let some requests be answered in two parts; returns the tick at which the last was whole."""
    for _ in range(times):
        asked = next_ask(client, tick)
        part(client, asked, asked.obs_tick + PART - 0.5)
        whole(client, asked, asked.obs_tick + WHOLE - 0.5)
        tick = asked.obs_tick + WHOLE
    return tick


def test_the_first_actions_are_taken_at_once_and_the_whole_when_it_comes() -> None:
    client = core()
    tick = answered(client, running(client))
    asked = next_ask(client, tick)
    (early,) = part(client, asked, asked.obs_tick + PART - 0.5)
    assert early.request is None
    assert early.chunk is not None
    assert client.in_flight == 1
    late = whole(client, asked, asked.obs_tick + WHOLE - 0.5)
    assert late.chunk is not None
    assert not client.in_flight
    first, last = early.chunk, late.chunk
    assert [int(chunk["start_tick"]) for chunk in (first, last)] == [asked.obs_tick] * 2
    assert [int(chunk["horizon"]) for chunk in (first, last)] == [ROWS, 50]
    assert np.array_equal(first["actions"][:ROWS], last["actions"][:ROWS])
    assert int(last["chunk_id"]) == int(first["chunk_id"]) + 1


def test_the_record_of_a_request_says_that_its_delay_is_the_parts() -> None:
    client = core()
    asked = next_ask(client, running(client))
    part(client, asked, asked.obs_tick + PART - 0.5, count=45)
    request = whole(client, asked, asked.obs_tick + WHOLE - 0.5).request
    assert request is not None
    assert int(request["delay_ticks"]) == PART
    assert int(request["t_part_ns"]) == at(asked.obs_tick + PART - 0.5)
    assert int(request["part_ticks"]) == 45
    assert int(request["t_received_ns"]) == at(asked.obs_tick + WHOLE - 0.5)


def test_the_first_part_is_committed_for_and_the_whole_paces_the_requests() -> None:
    client = core()
    tick = answered(client, running(client))
    assert client.forecast.forecast_ticks == PART
    asked = next_ask(client, tick)
    assert asked.terms.committed == asked.forecast_ticks == PART
    assert asked.whole_ticks == WHOLE
    # Not yet overdue when only its first part should have come.
    late = asked.obs_tick + PART + MARGIN_TICKS + 1
    assert not client.wants(view(late), at(late))


def test_a_part_that_ends_before_the_whole_is_expected_is_not_taken() -> None:
    client = core()
    tick = answered(client, running(client))
    asked = next_ask(client, tick)
    assert part(client, asked, asked.obs_tick + PART, count=FEW) == []
    # One that reaches further still is.
    (early,) = part(client, asked, asked.obs_tick + PART + 1, index=1)
    assert early.chunk is not None


def test_an_answer_of_which_no_part_was_taken_counts_as_a_whole() -> None:
    client = core()
    asked = next_ask(client, answered(client, running(client)))
    part(client, asked, asked.obs_tick + PART, count=FEW)
    request = whole(client, asked, asked.obs_tick + WHOLE - 0.5).request
    assert request is not None
    assert [int(request[name]) for name in ("delay_ticks", "t_part_ns", "part_ticks")] == [WHOLE, 0, 0]


def test_a_part_that_comes_twice_out_of_order_or_after_the_whole_is_passed_over() -> None:
    client = core()
    tick = answered(client, running(client))
    asked = next_ask(client, tick)
    assert part(client, asked, asked.obs_tick + PART, index=1, count=FEW) == []
    assert part(client, asked, asked.obs_tick + PART, index=0) == []
    assert part(client, asked, asked.obs_tick + PART, index=1) == []
    assert len(part(client, asked, asked.obs_tick + PART, index=2)) == 1
    assert part(client, asked, asked.obs_tick + PART, index=3, count=ROWS + 5) == []
    whole(client, asked, asked.obs_tick + WHOLE)
    assert part(client, asked, asked.obs_tick + WHOLE, index=4) == []
    assert not client.in_flight


def test_a_whole_that_never_comes_is_given_up_and_asked_for_anew() -> None:
    client = core()
    tick = answered(client, running(client))
    asked = next_ask(client, tick)
    part(client, asked, asked.obs_tick + PART - 0.5)
    forecast = client.forecast.forecast_ticks
    overdue = asked.obs_tick + asked.whole_ticks + MARGIN_TICKS
    client.watch(at(overdue))
    # The first actions did come in time: what is committed for them stays as it is.
    assert client.forecast.forecast_ticks == forecast
    again = next_ask(client, overdue, ahead=ROWS - WHOLE)
    assert again.request_seq == asked.request_seq + 1
    given_up = next(o for o in client.expire(asked.t_request_ns + DEADLINE_NS) if o.request is not None)
    assert given_up.request["verdict"] == Verdict.TIMEOUT
    assert client.forecast.forecast_ticks == forecast


def test_a_part_of_an_epoch_that_is_over_is_not_taken() -> None:
    client = core()
    asked = next_ask(client, answered(client, running(client)))
    client.follow(view(asked.obs_tick + 2, epoch=2, started=False))
    assert part(client, asked, asked.obs_tick + PART) == []


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        rows(50),
        {"actions": np.zeros((0, 14), np.float32)},
        {"actions": np.zeros((20, 7), np.float32)},
        {"actions": np.zeros(14, np.float32)},
        {"actions": np.full((20, 14), np.nan, np.float32)},
    ],
)
def test_what_is_no_part_of_a_chunk_ends_its_request(arrays: dict[str, NDArray[Any]]) -> None:
    client = core()
    asked = next_ask(client, running(client))
    (outcome,) = client.answer(chunk_for(asked, final=False), arrays, at(asked.obs_tick + PART))
    assert outcome.chunk is None
    assert outcome.request is not None
    assert outcome.request["verdict"] == Verdict.INVALID
    assert not client.in_flight


def test_a_part_that_nobody_asked_for_ends_its_request() -> None:
    client = ClientCore(BASE, "prefix", DEADLINE_NS)
    client.open(SCHEMA)
    asked = next_ask(client, running(client))
    (outcome,) = part(client, asked, asked.obs_tick + PART)
    assert outcome.request is not None
    assert outcome.request["verdict"] == Verdict.INVALID


def test_parts_are_asked_for_where_the_plan_runs_and_the_merge_takes_no_average() -> None:
    client = core()
    cold = ask(client, view(100, started=False))
    assert cold is not None
    assert not cold.parts
    use(client, cold, 110)
    assert next_ask(client, 111).parts
    for merge in ("ensemble", "average", "sync", "naive"):
        client = core(merge)
        assert not MERGES[merge].in_parts
        tick = running(client)
        if merge != "sync":
            assert not next_ask(client, tick).parts


def test_older_requests_are_given_up_when_a_newer_ones_part_is_taken() -> None:
    client = core()
    tick = answered(client, running(client))
    old = next_ask(client, tick)
    new = next_ask(client, old.obs_tick + WHOLE + MARGIN_TICKS, ahead=25)
    given_up, early = part(client, new, new.obs_tick + PART)
    assert given_up.request is not None
    assert int(given_up.request["request_seq"]) == old.request_seq
    assert early.chunk is not None
    assert client.in_flight == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 49)), max_size=8), st.booleans())
def test_however_parts_come_what_is_taken_lasts_until_the_whole_and_the_whole_is_always_taken(
    parts: list[tuple[int, int]], completed: bool
) -> None:
    client = core()
    asked = next_ask(client, answered(client, running(client)))
    tick, taken = asked.obs_tick + PART, []
    for index, count in parts:
        taken += [o.chunk for o in part(client, asked, tick, index=index, count=count) if o.chunk is not None]
    assert len(taken) <= 1
    assert all(int(chunk["horizon"]) >= asked.whole_ticks + MARGIN_TICKS for chunk in taken)
    assert client.in_flight == 1
    if completed:
        assert whole(client, asked, asked.obs_tick + WHOLE).chunk is not None
    assert client.in_flight == (0 if completed else 1)
