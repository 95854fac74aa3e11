"""An adapter behind our server: its chunks at the rig's ticks, its episodes begun, told and begun anew."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from runtime.config import load_rig
from runtime.errors import UsageError
from runtime.inference import wire
from runtime.inference.adapters.base import AdapterError, Card, Question, Reply
from runtime.inference.adapters.registry import make_adapter
from runtime.inference.fit import RefusalError
from runtime.inference.handshake import rig_schema
from runtime.inference.pacing import ticks_of
from runtime.inference.server.hosted import Hosted
from runtime.inference.server.session import Job

RIG = rig_schema(load_rig("sim-x5"))
CARD = Card(name="peer", kind="WAM", horizon=16, execute_steps=8, rate_hz=25, cameras=("cam_high",), stateful=True)
HELLO = wire.Hello(client="c", rig=RIG, task="t", prompt="lift")


@dataclass
class Peer:
    """An adapter that answers step i with i in every joint, and notes what it was told."""

    card: Card = CARD
    said: list[Any] = field(default_factory=list)
    fails: bool = False
    shape: tuple[int, int] = (16, 14)
    frames: dict[str, Any] = field(default_factory=dict)
    value: float | None = 0.25

    def open(self, timeout_s: float) -> Card:
        return self.card

    def reset(self, prompt: str) -> None:
        self.said.append(prompt)

    def infer(self, question: Question) -> Reply:
        self.said.append(question)
        if self.fails:
            raise AdapterError("peer is silent")
        steps = np.repeat(np.arange(self.shape[0], dtype=np.float32)[:, None], self.shape[1], axis=1)
        frames = {"cam_high": np.zeros((1, 12, 16, 3), np.uint8)} | self.frames
        return Reply(steps, frames=frames, value=self.value)

    def close(self) -> None:
        self.said.append("closed")


def hosted(peer: Peer, arm: str | None = None) -> Hosted:
    return Hosted(peer, peer.card, "", 40.0, arm)


def job(schema: wire.Schema, *, epoch: int = 1, session: str = "s1", **arrays: Any) -> Job:
    given = {
        "image/cam_high": np.zeros((240, 320, 3), np.uint8),
        "state": np.zeros(14, np.float32),
        "velocity": np.zeros(14, np.float32),
    } | arrays
    tick = int(given.pop("tick", 0))
    request = wire.Infer(
        session=session, request_seq=1, obs_seq=1, epoch=epoch, seed=3, deadline_ms=500.0, executed_tick=tick
    )
    return Job(b"me", request, {name: array for name, array in given.items() if array is not None}, HELLO, schema, 0)


def executed(first: int, count: int, keys: tuple[int, ...] = ()) -> dict[str, Any]:
    rows = np.repeat(np.arange(first, first + count, dtype=np.float32)[:, None], 14, axis=1)
    return {
        "tick": first,
        "executed": rows,
        "key/cam_high": np.array([np.full((4, 4, 3), first + key) for key in keys], np.uint8).reshape(-1, 4, 4, 3),
        "key_state": np.zeros((len(keys), 14), np.float32),
        "key_tick": np.array(keys, np.int64),
    }


def test_a_chunk_is_agreed_on_and_answered_in_ticks_of_the_rig() -> None:
    host = hosted(Peer())
    schema = host.agree(HELLO)
    assert (schema.rate_hz, schema.horizon, schema.execute_steps, schema.width_px) == (50, 31, 15, 0)
    answer = host.answer(job(schema))
    np.testing.assert_allclose(answer.actions[:, 0], np.arange(31) / 2.0, atol=1e-6)
    assert set(answer.actions[:, 6].tolist()) == set(range(16)), "grippers jump from step to step"
    assert answer.value == 0.25
    assert answer.frames["cam_high"].shape == (1, 12, 16, 3)


@pytest.mark.parametrize("rate_hz", [20, 25, 30, 50, 100])
def test_the_ticks_of_a_chunk_end_with_its_last_step(rate_hz: int) -> None:
    peer = Peer(replace(CARD, rate_hz=rate_hz, execute_steps=4))
    schema = hosted(peer).agree(HELLO)
    rows = hosted(peer).answer(job(schema)).actions[:, 0]
    last = (schema.horizon - 1) * rate_hz / 50
    assert last <= 15 < last + rate_hz / 50
    np.testing.assert_allclose(rows, np.arange(schema.horizon) * rate_hz / 50, atol=1e-5)


def test_a_chunk_that_is_longer_than_a_run_takes_is_refused_before_any_motion() -> None:
    with pytest.raises(RefusalError, match=r"16 steps at 5 Hz, 151 ticks of rig 'sim-x5'; a run takes 128"):
        hosted(Peer(replace(CARD, rate_hz=5))).agree(HELLO)


def test_hands_of_one_arm_are_refused_on_another() -> None:
    with pytest.raises(RefusalError, match="was trained on piper"):
        hosted(Peer(), "piper").agree(HELLO)
    assert hosted(Peer(), "x5").agree(HELLO).arms == ("x5",)


def test_an_episode_begins_with_its_first_request_and_is_told_what_was_executed_once_in_its_own_steps() -> None:
    peer = Peer()
    host = hosted(peer)
    schema = host.agree(HELLO)
    host.answer(job(schema, tick=100))
    assert peer.said[0] == "lift"
    assert peer.said[1].executed is None
    # Thirteen ticks at 50 Hz are six whole steps at 25 Hz; the seventh is told when it is done.
    host.answer(job(schema, **executed(100, 13, keys=(4, 8))))
    told = peer.said[2].executed
    assert told.actions[:, 0].tolist() == [100, 102, 104, 106, 108, 110]
    assert told.key_ticks == (1, 3, 5)
    assert [int(view.images["cam_high"][0, 0, 0]) for view in told.key_views] == [104, 108, 0]
    # The answer was lost on its way: the client tells the same again, and more.
    host.answer(job(schema, **executed(100, 20, keys=(4, 8, 12, 16))))
    told = peer.said[3].executed
    assert told.actions[:, 0].tolist() == [112, 114, 116, 118]
    assert told.key_ticks == (1, 3)
    assert told.key_views[0].images["cam_high"][0, 0, 0] == 116


@pytest.mark.parametrize("rate_hz", [15, 20, 25, 30, 50])
def test_what_is_less_than_a_step_is_told_with_what_follows(rate_hz: int) -> None:
    peer = Peer(replace(CARD, rate_hz=rate_hz))
    host = hosted(peer)
    schema = host.agree(HELLO)
    host.answer(job(schema, tick=100))
    begin = 100
    for ticks in (13, 1, 7, 30, 2, 11):
        host.answer(job(schema, **executed(begin, ticks, keys=(ticks - 1,))))
        begin += ticks
    told = [question.executed for question in peer.said[2:]]
    rows = np.concatenate([each.actions[:, 0] for each in told])
    # A step is what was commanded when it began.
    assert np.abs(rows - (100 + np.arange(len(rows)) * 50 / rate_hz)).max() < 1.0
    assert len(rows) == (begin - 100) * rate_hz // 50
    assert all(list(each.key_ticks[-1:]) == [len(each.actions) - 1][: len(each.actions)] for each in told)


@pytest.mark.parametrize("rate_hz", [15, 20, 25, 30, 50])
def test_the_newest_view_is_told_as_that_after_the_last_step(rate_hz: int) -> None:
    for ticks in range(1, 31):
        peer = Peer(replace(CARD, rate_hz=rate_hz))
        host = hosted(peer)
        schema = host.agree(HELLO)
        host.answer(job(schema, tick=100))
        # A key view that is as good as the newest does not come before it.
        host.answer(job(schema, **executed(100, ticks, keys=(ticks - 1,))))
        told = peer.said[-1].executed
        rows = len(told.actions)
        assert len(set(told.key_ticks)) == len(told.key_ticks)
        assert list(told.key_ticks[-1:]) == ([rows - 1] if rows else [])
        assert [int(view.images["cam_high"].max()) for view in told.key_views[-1:]] == ([0] if rows else [])


def test_the_plan_is_told_in_the_peers_own_steps() -> None:
    peer = Peer(replace(CARD, stateful=False))
    host = hosted(peer)
    rows = np.repeat(np.arange(11, dtype=np.float32)[:, None], 14, axis=1)
    asked = job(host.agree(HELLO), prefix=rows)
    host.answer(replace(asked, request=msgspec.structs.replace(asked.request, committed=5)))
    assert peer.said[1].planned[:, 0].tolist() == [0, 2, 4, 6, 8, 10]
    assert peer.said[1].committed == 3
    assert peer.said[1].executed is None


@pytest.mark.parametrize("change", [{"epoch": 2}, {"session": "s2"}])
def test_another_epoch_or_session_begins_an_episode_anew(change: dict[str, Any]) -> None:
    peer = Peer()
    host = hosted(peer)
    schema = host.agree(HELLO)
    host.answer(job(schema, tick=100))
    host.answer(job(schema, **executed(100, 12), **change))
    assert peer.said[2] == "lift"
    assert peer.said[3].executed is None


def test_after_a_failure_the_episode_begins_anew() -> None:
    peer = Peer()
    host = hosted(peer)
    schema = host.agree(HELLO)
    host.answer(job(schema, tick=100))
    peer.fails = True
    with pytest.raises(AdapterError, match="peer is silent"):
        host.answer(job(schema, **executed(100, 5)))
    peer.fails = False
    host.answer(job(schema, **executed(100, 9)))
    assert peer.said[-2] == "lift"
    assert peer.said[-1].executed is None
    # What was done before the episode's new beginning is not told in it.
    host.answer(job(schema, **executed(100, 13)))
    assert peer.said[-1].executed.actions[:, 0].tolist() == [109, 111]


@pytest.mark.parametrize("change", [{"session": "s2"}, {"epoch": 2}])
def test_a_peer_that_lost_its_memory_is_brought_to_where_it_was(change: dict[str, Any]) -> None:
    peer = Peer()
    host = hosted(peer)
    schema = host.agree(HELLO)
    host.answer(job(schema, tick=100))
    host.answer(job(schema, **executed(108, 20, keys=(0, 8, 16)), **change))
    reset, begun, asked = peer.said[2:]
    assert reset == "lift"
    assert begun.executed is None
    assert begun.view.images["cam_high"][0, 0, 0] == 108
    assert len(begun.planned) == begun.committed == 0
    assert asked.executed.actions[:, 0].tolist() == list(range(108, 128, 2))
    assert asked.executed.key_ticks == (3, 7, 9)
    assert [int(view.images["cam_high"][0, 0, 0]) for view in asked.executed.key_views] == [116, 124, 0]
    assert asked.timeout_s <= 0.5
    # From then on it is told what is new, as ever.
    host.answer(job(schema, **executed(128, 4), **change))
    assert peer.said[-1].executed.actions[:, 0].tolist() == [128, 130]


def test_a_peer_that_kept_its_memory_is_told_only_what_is_new_to_it() -> None:
    peer = Peer()
    host = hosted(peer)
    schema = host.agree(HELLO)
    host.answer(job(schema, tick=100))
    host.answer(job(schema, **executed(100, 12)))
    host.answer(job(schema, **executed(100, 20, keys=(0, 8, 16))))
    assert peer.said.count("lift") == 1
    assert peer.said[-1].executed.actions[:, 0].tolist() == [112, 114, 116, 118]


def test_a_reply_of_another_shape_is_a_failure_of_the_peer() -> None:
    host = hosted(Peer(shape=(16, 7)))
    with pytest.raises(AdapterError, match=r"answered with \(16, 7\)"):
        host.answer(job(host.agree(HELLO)))


def test_predicted_pictures_are_few_and_small_and_of_the_rigs_cameras_whatever_a_peer_answers_with() -> None:
    many = np.zeros((20, 481, 640, 3), np.uint8)
    many[:] = np.arange(20, dtype=np.uint8)[:, None, None, None]
    host = hosted(Peer(frames={"cam_high": many, "elsewhere": many}, value=float("nan")))
    answer = host.answer(job(host.agree(HELLO)))
    assert list(answer.frames) == ["cam_high"]
    shown = answer.frames["cam_high"]
    assert (shown.shape, shown.flags.c_contiguous) == ((8, 161, 214, 3), True)
    assert shown[:, 0, 0, 0].tolist() == [1, 4, 6, 9, 11, 14, 16, 19], "evenly apart, the last among them"
    assert answer.value is None


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((1, 12, 16, 4), np.uint8),
        np.zeros((1, 12, 16, 3), np.float32),
        np.zeros((12, 16, 3), np.uint8),
        np.zeros((1, 11, 16, 3), np.uint8),
    ],
)
def test_what_are_no_pictures_is_left_out_and_the_actions_are_used(rows: Any) -> None:
    host = hosted(Peer(frames={"cam_high": rows}))
    answer = host.answer(job(host.agree(HELLO)))
    assert (dict(answer.frames), answer.actions.shape) == ({}, (31, 14))


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"image/cam_high": None}, "'image/cam_high' is missing"),
        ({"image/cam_high": np.zeros((240, 320), np.uint8)}, "u1 (height, width, 3) is wanted"),
        ({"state": np.full(14, np.nan, np.float32)}, "'state' holds NaN"),
        ({"executed": np.zeros((3, 7), np.float32)}, "'executed' is f4 (3, 7)"),
        (executed(0, 3, (1,)) | {"key/cam_high": np.zeros((2, 4, 4, 3), np.uint8)}, "u1 (1, height, width, 3)"),
        (executed(0, 3, (1,)) | {"key_tick": np.array([np.nan])}, "'key_tick' is f8 (1,); i8 (views,) is wanted"),
        (executed(0, 3, (1,)) | {"key_tick": np.array([[1]])}, "'key_tick' is i8 (1, 1)"),
        (executed(0, 3, (3,)), "'key_tick' is no rising series of the 3 rows of 'executed', from 0 on"),
        (executed(0, 3, (1,)) | {"key_tick": np.array([-1])}, "'key_tick' is no rising series"),
        (executed(0, 3, (1, 1)), "'key_tick' is no rising series"),
        (executed(0, 3, (2, 1)), "'key_tick' is no rising series"),
        ({"prefix": np.zeros((32, 14), np.float32)}, "32 steps of the plan; a chunk has 31"),
    ],
)
def test_a_request_that_is_not_what_was_agreed_is_refused(arrays: dict[str, Any], part: str) -> None:
    host = hosted(Peer())
    with pytest.raises(wire.WireError) as caught:
        host.answer(job(host.agree(HELLO), **arrays))
    assert part in str(caught.value)


def test_ticks_of_nothing_are_none() -> None:
    assert ticks_of(0, 2) == 0


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nope://h:1", "unknown scheme 'nope'"),
        ("openpi://h:1?colour=red", "unknown setting 'colour'"),
        ("openpi://h:1?rate_hz=fast", "rate_hz"),
        ("openpi://h:1?arms=x5", "unknown setting 'arms'"),
        ("lingbot-va://h:1?arms=x9", "unknown arm model 'x9'; valid:"),
        ("vla-jepa://h:1?hand.arm=middle&arms=x5", "hand.arm': Invalid enum value 'middle'; valid: left, right"),
        ("vla-jepa://h:1?hand.arms=left&arms=x5", "unknown key 'hand.arms'; did you mean 'arm'?"),
        ("vla-jepa://h:1?hand.arm=left&hand.translation_m=nan&arms=x5", "'hand.translation_m': nan is not finite"),
        ("openpi://[::1:8000", "write an IPv6 host in brackets"),
        ("openpi://h:99999", "no websocket"),
        ("openpi://h:0", "no websocket"),
        ("openpi://h:1?execute_steps=5&execute_steps=6", "setting 'execute_steps' comes twice"),
        ("openpi://h:1?api_key=a#b", "write a # within one as %23"),
    ],
)
def test_a_url_that_names_no_adapter_is_refused_with_what_would_be_right(url: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_adapter(url)
    assert part in str(caught.value)


def test_settings_are_read_from_the_url() -> None:
    named = make_adapter("vla-jepa://h:1?hand.arm=right&hand.translation_m=0.05&arms=x5")
    assert named.arms == "x5"
    plain = make_adapter("openpi://h:1?cameras=cam_high,cam_left_wrist&gripper_open=0.08")
    assert plain.arms is None
    plain.adapter.close()


def test_an_embodiment_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "body.yaml"
    path.write_text("{arms: [right], space: joints}")
    assert make_adapter(f"gr00t://127.0.0.1:5555?embodiment={path}").arms is None
    path.write_text("{arms: [right], space: hand}")
    with pytest.raises(UsageError, match="arms=MODEL"):
        make_adapter(f"gr00t://127.0.0.1:5555?embodiment={path}")
    path.write_text("{arms: [right], space: tail}")
    with pytest.raises(UsageError, match=r"body\.yaml: key 'space'"):
        make_adapter(f"gr00t://127.0.0.1:5555?embodiment={path}&arms=x5")


@pytest.mark.parametrize(
    "url",
    ["cosmos-policy://127.0.0.1:8777?execute_steps=25", "gigaworld://127.0.0.1:11411?trust=127.0.0.1"],
)
def test_the_other_systems_are_named_the_same_way(url: str) -> None:
    make_adapter(url).adapter.close()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("gigaworld://127.0.0.1:11411", "trust"),
        ("fast-wam:///nowhere?checkpoint=a&statistics=b", "no checkout"),
        ("vjepa2-ac:///nowhere?goal=g.png", "arms=MODEL"),
    ],
)
def test_what_a_system_lacks_is_said(url: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_adapter(url)
    assert part in str(caught.value)
