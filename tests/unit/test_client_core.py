"""The client's decisions: what is asked, with which prefix, and that only the right answer is ever used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.clock import TickBase
from runtime.control.strategy import MARGIN_TICKS
from runtime.errors import UsageError
from runtime.inference import wire
from runtime.inference.client.ask import Ask, Outcome
from runtime.inference.client.core import RETRY_NS, START_NS, VIEW_STALE_NS, ClientCore
from runtime.inference.client.terms import choose, planned, terms_for
from runtime.inference.handshake import policy_schema
from runtime.inference.policy import load_policy
from runtime.records import TIMELINE_VIEW, VIEW_PAST_TICKS, VIEW_TICKS
from runtime.shm import blank
from runtime.states import Condition, Link, Verdict

TICK_NS = 20_000_000
BASE = TickBase(t0_ns=1_000_000_000, servo_hz=200, policy_hz=50)
DEADLINE_NS = 2_000_000_000
TINY = Path(__file__).parent.parent / "data" / "tiny_policy.onnx"
SCHEMA = policy_schema(load_policy(str(TINY)), "transfer", 0.0)


def at(tick: float) -> int:
    return BASE.t0_ns + round(tick * TICK_NS)


def view(
    tick: int, *, epoch: int = 1, started: bool = True, ahead: int = 20, engaged: bool = True, chunks_seen: int = 99
) -> NDArray[Any]:
    """Return a timeline whose action at tick k is k for every joint, planned up to `tick + ahead`."""
    record: Any = blank(TIMELINE_VIEW)
    record["t_ns"] = at(tick)
    record["tick"] = tick
    record["epoch"] = epoch
    record["engaged"] = engaged
    record["started"] = started
    record["end_tick"] = tick + ahead if started else tick
    record["chunks_seen"] = chunks_seen
    ticks = tick - VIEW_PAST_TICKS + np.arange(VIEW_TICKS)
    record["actions"] = np.where(ticks < record["end_tick"], ticks, np.nan)[:, None]
    return np.array(record)


def core(merge: str = "prefix", **change: Any) -> ClientCore:
    made = ClientCore(BASE, merge, DEADLINE_NS)
    made.open(msgspec.structs.replace(SCHEMA, **change))
    return made


def ask(client: ClientCore, seen: NDArray[Any], age_ticks: float = 0.0) -> Ask | None:
    """Let the client decide at the time of a view about a frame of some age; what it plans is sent."""
    now_ns = int(seen["t_ns"])
    client.follow(seen)
    if not client.wants(seen, now_ns):
        return None
    planned = client.plan(seen, now_ns - round(age_ticks * TICK_NS), now_ns)
    if planned is not None:
        client.sent(planned)
    return planned


def chunk_for(asked: Ask, **change: Any) -> wire.Chunk:
    fields = {"request_seq": asked.request_seq, "obs_seq": asked.obs_seq} | change
    return wire.Chunk(session="s1", server_ns=9, infer_ns=5, **fields)


def actions(value: float = 0.5) -> dict[str, NDArray[Any]]:
    return {"actions": np.full((50, 14), value, dtype=np.float32)}


def use(client: ClientCore, asked: Ask, tick: float) -> Outcome:
    (outcome,) = client.answer(chunk_for(asked), actions(), at(tick))
    return outcome


def running(client: ClientCore, delay_ticks: int = 10) -> int:
    """Bring a client through its cold start; returns the tick at which the epoch is under way."""
    cold = ask(client, view(100, started=False))
    assert cold is not None
    use(client, cold, 100 + delay_ticks)
    return 100 + delay_ticks + 1


def next_ask(client: ClientCore, tick: int, ahead: int = 50) -> Ask:
    """Go on tick by tick until the client asks again."""
    end = tick + ahead
    while tick < end:
        asked = ask(client, view(tick, ahead=end - tick))
        if asked is not None:
            return asked
        tick += 1
    raise AssertionError("nothing was asked for while the plan lasted")


def test_the_times_on_the_way_to_the_answer_are_kept_in_the_record() -> None:
    client, seen = core(), view(100, started=False)
    client.follow(view(90, started=False))
    asked = client.plan(seen, at(98), at(100))
    assert asked is not None
    client.sent(asked, t_frame_ns=at(99), t_sent_ns=at(101))
    (outcome,) = client.answer(chunk_for(asked, queue_ns=2, prepare_ns=1, value=0.5), actions(), at(110))
    names = ("t_capture_ns", "t_frame_ns", "t_request_ns", "t_sent_ns", "t_received_ns")
    assert [int(outcome.request[name]) for name in names] == [at(98), at(99), at(100), at(101), at(110)]
    parts = ("server_ns", "queue_ns", "prepare_ns", "infer_ns")
    assert [int(outcome.request[name]) for name in parts] == [9, 2, 1, 5]
    assert float(outcome.request["value"]) == 0.5


def test_nothing_is_asked_before_the_control_process_wants_chunks() -> None:
    client = core()
    assert ask(client, view(100, engaged=False)) is None
    assert ask(ClientCore(BASE, "prefix", DEADLINE_NS), view(100)) is None


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.99])
def test_what_is_seen_during_a_tick_is_about_the_next(phase: float) -> None:
    client, seen = core(), view(100)
    client.follow(view(90))
    client.follow(seen)
    made = client.plan(seen, at(98 + phase), at(100))
    assert made is not None
    assert made.obs_tick == 99


def test_nothing_is_asked_on_a_plan_that_has_not_taken_in_the_last_answer() -> None:
    """Asking then would commit to a prefix of the old plan, cut off where that plan ends."""
    client = ClientCore(BASE, "prefix", DEADLINE_NS, chunks=3)
    client.open(SCHEMA)
    before, after = view(100, chunks_seen=2), view(100, chunks_seen=3)
    client.follow(before)
    assert not client.wants(before, at(100))
    assert client.wants(after, at(100))


def test_a_timeline_that_is_no_longer_renewed_is_not_served() -> None:
    client, seen = core(), view(100, started=False)
    client.follow(seen)
    assert client.wants(seen, at(100))
    assert not client.wants(seen, at(100) + VIEW_STALE_NS)


def test_the_first_of_an_epoch_is_cold_and_only_one_is_under_way() -> None:
    client = core()
    before = client.forecast.forecast_ticks
    first = ask(client, view(100, started=False))
    assert first is not None
    assert (first.cold, len(first.terms.planned), first.epoch) == (True, 0, 1)
    assert ask(client, view(101, started=False)) is None
    outcome = use(client, first, 130)
    assert outcome.chunk is not None
    assert outcome.chunk["cold"]
    assert client.forecast.forecast_ticks == before
    assert ask(client, view(131, started=False)) is None
    again = ask(client, view(131 + START_NS // TICK_NS, started=False))
    assert again is not None


def test_what_was_seen_before_an_epoch_began_is_not_asked_about() -> None:
    client = core()
    assert ask(client, view(100, started=False), age_ticks=2) is None
    assert ask(client, view(103, started=False), age_ticks=2) is not None


def test_the_prefix_is_what_is_committed_from_the_observed_tick_on() -> None:
    client = core()
    asked = next_ask(client, running(client))
    assert not asked.cold
    prefix = asked.terms.planned
    assert len(prefix) == asked.terms.committed > 0
    assert np.array_equal(prefix[:, 0], asked.obs_tick + np.arange(len(prefix)))


def test_a_merge_that_keeps_no_prefix_commits_to_nothing() -> None:
    client = core("aligned")
    assert next_ask(client, running(client)).terms.committed == 0


@given(st.integers(-200, 200), st.integers(-5, 80), st.integers(0, 60))
def test_a_prefix_never_holds_what_is_not_planned(offset: int, ahead: int, length: int) -> None:
    seen = view(1000, ahead=ahead)
    rows = planned(seen, 1000 + offset, length)
    assert len(rows) <= length
    assert np.array_equal(rows[:, 0], 1000 + offset + np.arange(len(rows)))


def test_an_answer_becomes_a_chunk_due_at_the_observed_tick_and_teaches_the_delay() -> None:
    client = core()
    asked = next_ask(client, running(client))
    (outcome,) = client.answer(chunk_for(asked), actions(0.25), at(asked.obs_tick + 18.5))
    assert outcome.chunk is not None
    assert int(outcome.chunk["start_tick"]) == asked.obs_tick
    assert int(outcome.chunk["prefix_len"]) == asked.terms.committed
    assert np.all(outcome.chunk["actions"][:50] == 0.25)
    assert Verdict(int(outcome.request["verdict"])) is Verdict.USED
    assert int(outcome.request["delay_ticks"]) == 19
    assert client.forecast.forecast_ticks == 19
    assert not client.in_flight


@pytest.mark.parametrize("change", [{"request_seq": 1}, {"obs_seq": 1}, {"request_seq": 99}])
def test_an_answer_to_another_request_is_dropped_and_counted(change: dict[str, int]) -> None:
    client = core()
    asked = next_ask(client, running(client))
    assert client.answer(chunk_for(asked, **change), actions(), at(200)) == []
    assert client.in_flight
    assert int(client.status(at(200), Link.READY, "", 0)["rejected"]) == 1


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"actions": np.zeros((49, 14), dtype=np.float32)},
        {"actions": np.zeros((50, 7), dtype=np.float32)},
        actions(float("nan")),
        actions(float("inf")),
    ],
)
def test_a_chunk_that_is_not_finite_or_of_another_shape_is_refused(arrays: dict[str, NDArray[Any]]) -> None:
    client = core()
    asked = next_ask(client, running(client))
    (outcome,) = client.answer(chunk_for(asked), arrays, at(asked.obs_tick + 10))
    assert outcome.chunk is None
    assert Verdict(int(outcome.request["verdict"])) is Verdict.INVALID


def test_a_chunk_of_an_epoch_that_is_over_is_stale() -> None:
    client = core()
    asked = next_ask(client, running(client))
    client.follow(view(asked.obs_tick + 5, epoch=2, started=False))
    outcome = use(client, asked, asked.obs_tick + 10)
    assert outcome.chunk is None
    assert Verdict(int(outcome.request["verdict"])) is Verdict.STALE


def test_a_request_without_answer_ends_at_its_deadline_and_a_late_answer_is_not_the_next_ones() -> None:
    client = core()
    cold = ask(client, view(100, started=False))
    assert cold is not None
    assert client.expire(at(100) + DEADLINE_NS - 1) == []
    (outcome,) = client.expire(at(100) + DEADLINE_NS)
    assert Verdict(int(outcome.request["verdict"])) is Verdict.TIMEOUT
    second = ask(client, view(210, started=False))
    assert second is not None
    assert client.answer(chunk_for(cold), actions(), at(211)) == []
    assert client.in_flight


def test_a_lost_connection_ends_the_request_and_an_error_pauses_the_next() -> None:
    client = core()
    assert client.lose(at(99)) == []
    assert ask(client, view(100, started=False)) is not None
    (lost,) = client.lose(at(101))
    assert Verdict(int(lost.request["verdict"])) is Verdict.ERROR
    again = ask(client, view(101, started=False))
    assert again is not None
    error = wire.Error(code="failed", reason="the model failed", request_seq=again.request_seq)
    assert len(client.answer(error, {}, at(102))) == 1
    assert ask(client, view(103, started=False)) is None
    assert ask(client, view(102 + RETRY_NS // TICK_NS + 1, started=False)) is not None


def test_an_answer_that_is_overdue_is_asked_for_again_and_given_up_once_the_second_is_there() -> None:
    client = core()
    tick = running(client)
    use(client, next_ask(client, tick), tick + 12)
    lost = next_ask(client, tick + 13)
    patience = client.forecast.forecast_ticks + MARGIN_TICKS
    assert ask(client, view(lost.obs_tick + patience - 1, ahead=30)) is None
    second = next_ask(client, lost.obs_tick + patience, ahead=30)
    assert second.request_seq == lost.request_seq + 1
    assert client.in_flight == 2
    given_up, used = client.answer(chunk_for(second), actions(), at(second.obs_tick + 10))
    assert Verdict(int(given_up.request["verdict"])) is Verdict.TIMEOUT
    assert Verdict(int(used.request["verdict"])) is Verdict.USED
    assert client.answer(chunk_for(lost), actions(), at(second.obs_tick + 11)) == []


def test_the_predicted_state_is_where_the_last_committed_action_leads() -> None:
    client = core("future_state")
    asked = next_ask(client, running(client))
    lead, terms = asked.terms.lead_ticks, asked.terms
    assert lead > 0
    assert terms.state is not None
    assert terms.velocity is not None
    assert (terms.state == asked.obs_tick + lead - 1).all()
    np.testing.assert_allclose(terms.velocity, 50.0)
    outcome = use(client, asked, asked.obs_tick + lead)
    assert outcome.chunk is not None
    assert int(outcome.chunk["start_tick"]) == asked.obs_tick + lead


def test_a_guided_request_shows_the_whole_rest_of_the_plan_and_what_of_it_is_final() -> None:
    seen = view(100, ahead=30)
    terms = terms_for(Condition.GUIDED, seen, 98, 7, horizon=50, tick_s=0.02)
    assert terms.committed == 7
    assert np.array_equal(terms.planned[:, 0], np.arange(98, 130))


def test_a_merge_that_the_policy_cannot_serve_is_refused_with_those_that_it_can() -> None:
    with pytest.raises(UsageError, match=r"merge 'rtc' needs a policy that can do guided; .*aligned"):
        choose("rtc", ("plain", "prefix"), remembers=False)
    assert choose("leadtime", ("plain", "prefix"), remembers=False) is Condition.PREFIX
    assert choose("leadtime", ("plain",), remembers=False) is Condition.PLAIN
    assert choose("future_state", ("plain",), remembers=False) is Condition.FUTURE


def test_a_policy_that_remembers_goes_on_from_what_it_was_told_and_not_from_a_predicted_state() -> None:
    with pytest.raises(UsageError, match="merge 'future_state' needs a policy that can do future"):
        choose("future_state", ("plain",), remembers=True)
    client = core("leadtime", stateful=True, conditions=("plain",), prefix_max=0)
    asked = next_ask(client, running(client))
    assert asked.terms.condition is Condition.PLAIN
    assert asked.terms.state is None
    outcome = use(client, asked, asked.obs_tick + 8)
    assert outcome.chunk is not None
    assert int(outcome.chunk["start_tick"]) == asked.obs_tick


def test_a_policy_none_of_whose_answers_would_be_in_time_is_refused_before_any_motion() -> None:
    late_ms = DEADLINE_NS / 1e6
    core(latency_ms=late_ms - 1)
    right = f"answers in {late_ms:.0f} ms, .* request_deadline_ms .* to {2 * late_ms:.0f}"
    with pytest.raises(UsageError, match=right):
        core(latency_ms=late_ms)


@pytest.mark.parametrize(
    ("latency_ms", "remedy"),
    [(40_000.0, "set request_deadline_ms .* to 60000$"), (60_000.0, "no rig waits for longer than 60000$")],
)
def test_what_is_to_be_set_for_a_slow_policy_can_be_set(latency_ms: float, remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy):
        core(latency_ms=latency_ms)


def test_a_plain_request_says_what_is_commanded_now() -> None:
    terms = terms_for(Condition.PLAIN, view(100, ahead=30), 98, 7, horizon=50, tick_s=0.02)
    assert terms.committed == 0
    assert terms.planned[:, 0].tolist() == [98]


def test_the_status_counts_what_became_of_the_requests() -> None:
    client = core()
    tick = running(client)
    use(client, next_ask(client, tick), tick + 12)
    asked = next_ask(client, tick + 13)
    client.answer(chunk_for(asked), {}, at(asked.obs_tick + 9))
    status = client.status(at(300), Link.READY, "x" * 500, 3)
    assert [int(status[key]) for key in ("requests", "used", "rejected", "timeouts", "reconnects")] == [
        3,
        2,
        1,
        0,
        3,
    ]
    assert int(status["forecasts"]) == client.forecast.count


def test_leadtime_commits_to_the_typical_delay_and_prefix_to_the_bound() -> None:
    committed = {}
    for merge in ("prefix", "leadtime"):
        client = core(merge)
        tick = running(client)
        for delay in (12, 20, 12, 12):
            asked = next_ask(client, tick)
            tick = asked.obs_tick + delay
            use(client, asked, tick - 0.5)
        asked = next_ask(client, tick)
        committed[merge] = asked.committed_steps
        assert asked.forecast_ticks >= 20
    assert committed == {"prefix": asked.forecast_ticks, "leadtime": 12}


def test_where_the_far_end_is_not_trusted_the_near_part_is_executed_but_never_less_than_an_answer_takes() -> None:
    horizons = []
    for near in (False, True):
        client = core()
        tick = running(client)
        client.near = near
        outcome = use(client, next_ask(client, tick), tick + 4)
        assert outcome.chunk is not None
        horizons.append(int(outcome.chunk["horizon"]))
    whole, kept = horizons
    assert kept == max(whole // 2, 2 * client.forecast.forecast_ticks + 1) < whole
    np.testing.assert_array_equal(outcome.chunk["actions"][kept:], 0.0)
