"""Promises of the wire's bounds: what lies within them is read, what lies one beyond is refused."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from runtime.inference import wire
from runtime.inference.wire import WireError, decode, encode
from runtime.net.frames import FRAME_BYTES_MAX, FRAMES_MAX

RIG = {"name": "r", "arms": ["x5"], "joint_names": ["j"], "rate_hz": 50, "cameras": {}, "object_state": False}
SCHEMA = {
    "policy": "p",
    "policy_class": "c",
    "joint_names": ["j"],
    "rate_hz": 50,
    "horizon": 50,
    "execute_steps": 8,
    "prefix_max": 0,
    "cameras": [],
    "width_px": 0,
    "height_px": 0,
    "velocity": False,
    "object_state": 0,
    "latency_ms": 1.0,
}
HELLO = {"v": 1, "kind": "hello", "client": "c", "rig": RIG, "task": "t"}
WELCOME = {"v": 1, "kind": "welcome", "session": "s", "schema": SCHEMA}
INFER = {"v": 1, "kind": "infer", "session": "s", "request_seq": 1, "obs_seq": 1, "deadline_ms": 1.0}
PING = {"v": 1, "kind": "ping", "session": "s"}
ERROR = {"v": 1, "kind": "error", "code": "busy", "reason": ""}


def reads(header: dict[str, Any], *frames: bytes) -> bool:
    try:
        decode([msgspec.msgpack.encode(header), *frames])
    except WireError:
        return False
    return True


def names(count: int, length: int = 1) -> list[str]:
    return [chr(97 + i % 26) * length for i in range(count)]


def test_the_protocol_is_the_one_that_was_agreed() -> None:
    assert wire.VERSION == 1
    assert (wire.HEADER_BYTES_MAX, FRAME_BYTES_MAX) == (16_384, 16_777_216)
    assert (FRAMES_MAX, wire.DIMENSIONS_MAX, wire.REASON_CHARS_MAX) == (17, 4, 1024)


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (PING | {"session": "s" * 64}, PING | {"session": "s" * 65}),
        (PING | {"session": "s"}, PING | {"session": ""}),
        (ERROR | {"reason": "r" * 1024}, ERROR | {"reason": "r" * 1025}),
        (INFER | {"request_seq": 2**63 - 1}, INFER | {"request_seq": 2**63}),
        (INFER | {"obs_seq": 0}, INFER | {"obs_seq": -1}),
        (INFER | {"deadline_ms": 3_600_000.0}, INFER | {"deadline_ms": 3_600_000.1}),
        (INFER | {"deadline_ms": 1e-9}, INFER | {"deadline_ms": 0.0}),
        (HELLO | {"rig": RIG | {"arms": names(8)}}, HELLO | {"rig": RIG | {"arms": names(9)}}),
        (HELLO | {"rig": RIG | {"joint_names": names(64)}}, HELLO | {"rig": RIG | {"joint_names": names(65)}}),
        (HELLO | {"rig": RIG | {"rate_hz": 8192}}, HELLO | {"rig": RIG | {"rate_hz": 8193}}),
        (HELLO | {"rig": RIG | {"rate_hz": 1}}, HELLO | {"rig": RIG | {"rate_hz": 0}}),
        (
            HELLO | {"rig": RIG | {"cameras": {str(i): (1, 1) for i in range(16)}}},
            HELLO | {"rig": RIG | {"cameras": {str(i): (1, 1) for i in range(17)}}},
        ),
        (WELCOME | {"schema": SCHEMA | {"arms": names(8)}}, WELCOME | {"schema": SCHEMA | {"arms": names(9)}}),
        (
            WELCOME | {"schema": SCHEMA | {"joint_names": names(64)}},
            WELCOME | {"schema": SCHEMA | {"joint_names": names(65)}},
        ),
        (WELCOME | {"schema": SCHEMA | {"cameras": names(16)}}, WELCOME | {"schema": SCHEMA | {"cameras": names(17)}}),
        (
            WELCOME | {"schema": SCHEMA | {"conditions": names(16)}},
            WELCOME | {"schema": SCHEMA | {"conditions": names(17)}},
        ),
        (WELCOME | {"schema": SCHEMA | {"concurrency": 64}}, WELCOME | {"schema": SCHEMA | {"concurrency": 65}}),
        (WELCOME | {"schema": SCHEMA | {"concurrency": 1}}, WELCOME | {"schema": SCHEMA | {"concurrency": 0}}),
    ],
)
def test_a_field_is_read_at_its_bound_and_not_beyond(within: dict[str, Any], beyond: dict[str, Any]) -> None:
    assert reads(within)
    assert not reads(beyond)


@pytest.mark.parametrize(
    ("latency_ms", "fits"),
    [(0.0, True), (-1e-9, False), (3_600_000.0, True), (3_600_000.1, False), (math.nan, False), (math.inf, False)],
)
def test_a_server_expects_of_itself_an_hour_at_most(latency_ms: float, fits: bool) -> None:
    assert reads(WELCOME | {"schema": SCHEMA | {"latency_ms": latency_ms}}) is fits


def test_what_is_left_out_is_as_if_it_were_plain() -> None:
    hello, _ = decode([msgspec.msgpack.encode({**HELLO, "rig": {k: RIG[k] for k in RIG if k != "object_state"}})])
    assert isinstance(hello, wire.Hello)
    assert (hello.rig.object_state, hello.prompt) == (False, "")
    welcome, _ = decode([msgspec.msgpack.encode(WELCOME)])
    assert isinstance(welcome, wire.Welcome)
    agreed = welcome.schema
    assert (agreed.concurrency, agreed.stateful, agreed.key_every, agreed.arms) == (1, False, 0, ())
    assert agreed.parts is False
    infer, _ = decode([msgspec.msgpack.encode(INFER)])
    assert isinstance(infer, wire.Infer)
    assert (infer.epoch, infer.seed, infer.committed, infer.execute, infer.executed_tick) == (0, 0, 0, 0, 0)
    assert infer.parts is False
    chunk = {"v": 1, "kind": "chunk", "session": "s", "request_seq": 1, "obs_seq": 1, "server_ns": 1, "infer_ns": 1}
    answer, _ = decode([msgspec.msgpack.encode(chunk)])
    assert isinstance(answer, wire.Chunk)
    assert (answer.value, answer.queue_ns, answer.prepare_ns, answer.part, answer.final) == (None, 0, 0, 0, True)
    error, _ = decode([msgspec.msgpack.encode(ERROR)])
    assert isinstance(error, wire.Error)
    assert error.request_seq == 0


@pytest.mark.parametrize(("shape", "fits"), [((1, 1, 1, 3), True), ((1, 1, 1, 1, 3), False), ((8193, 0), False)])
def test_an_array_has_four_dimensions_at_most(shape: tuple[int, ...], fits: bool) -> None:
    assert reads({**PING, "arrays": [("a", "u1", shape)]}, bytes(int(np.prod(shape)))) is fits


@pytest.mark.parametrize(("count", "fits"), [(16, True), (17, False)])
def test_a_message_has_sixteen_arrays_at_most(count: int, fits: bool) -> None:
    arrays = {f"a{i}": np.zeros(1, np.uint8) for i in range(count)}
    assert reads({**PING, "arrays": [(name, "u1", (1,)) for name in arrays]}, *([b"\0"] * count)) is fits
    if fits:
        assert len(encode(wire.Ping(session="s"), arrays)) == 17
    else:
        with pytest.raises(WireError, match="exceeds the protocol"):
            encode(wire.Ping(session="s"), arrays)


def test_a_message_has_a_header_at_least_and_seventeen_frames_at_most() -> None:
    with pytest.raises(WireError, match="0 frames"):
        decode([])
    with pytest.raises(WireError, match="18 frames"):
        decode([b""] * 18)
    with pytest.raises(WireError, match="header not understood"):
        decode([b""] * 17)


def padded(size: int) -> bytes:
    """A header of just that many bytes, an unknown key being ignored."""
    for fill in range(size):
        header = msgspec.msgpack.encode({**PING, "padding": "x" * (size - 60 + fill)})
        if len(header) == size:
            return header
    raise AssertionError(size)


def test_a_header_is_read_up_to_its_bound() -> None:
    assert isinstance(decode([padded(16_384)])[0], wire.Ping)
    with pytest.raises(WireError, match="at most 16384 are read"):
        decode([padded(16_385)])


def test_a_header_is_written_up_to_its_bound() -> None:
    def hello(length: int) -> wire.Hello:
        rig = wire.RigSchema(name="r", joint_names=tuple("j" * 64 for _ in range(256)), rate_hz=50, cameras={})
        return wire.Hello(client="c", rig=rig, task="t" * length)

    rig = hello(0).rig
    while len(msgspec.msgpack.encode(wire.Hello(client="c", rig=rig, task=""))) > wire.HEADER_BYTES_MAX - 1000:
        rig = msgspec.structs.replace(rig, joint_names=rig.joint_names[:-1])
    base = len(msgspec.msgpack.encode(wire.Hello(client="c", rig=rig, task="t" * 300)))
    room = wire.HEADER_BYTES_MAX - base + 300
    exact = wire.Hello(client="c", rig=rig, task="t" * room)
    assert len(encode(exact)[0]) == wire.HEADER_BYTES_MAX
    with pytest.raises(WireError, match="exceeds the protocol"):
        encode(wire.Hello(client="c", rig=rig, task="t" * (room + 1)))


@pytest.mark.parametrize("code", ["u1", "i8", "f4", "f8"])
def test_an_array_arrives_as_it_was_little_endian_and_not_to_be_written(code: str) -> None:
    array = np.arange(6, dtype=">" + code).reshape(2, 3)
    message, arrays = decode(encode(wire.Ping(session="s"), {"a": array}))
    assert message == msgspec.structs.replace(wire.Ping(session="s"), arrays=message.arrays)
    assert arrays["a"].dtype == np.dtype("<" + code)
    np.testing.assert_array_equal(arrays["a"], array)
    assert not arrays["a"].flags.writeable


def test_an_array_is_written_up_to_what_a_frame_carries() -> None:
    whole = np.zeros(FRAME_BYTES_MAX + 4, np.uint8)
    assert len(encode(wire.Ping(session="s"), {"a": whole[:-4]})[1]) == FRAME_BYTES_MAX
    with pytest.raises(WireError, match=r"array 'a' has 16777220 bytes; a frame carries 16777216"):
        encode(wire.Ping(session="s"), {"a": whole.view(np.float32)})


@pytest.mark.parametrize(("sent", "fits"), [(6, True), (5, False), (7, False)])
def test_an_array_has_just_its_bytes(sent: int, fits: bool) -> None:
    assert reads({**PING, "arrays": [("a", "u1", (2, 3))]}, bytes(sent)) is fits


def test_a_name_comes_once() -> None:
    assert not reads({**PING, "arrays": [("a", "u1", (1,)), ("a", "u1", (1,))]}, b"\0", b"\0")


@pytest.mark.parametrize(("version", "fits"), [(0, False), (1, True), (2, False)])
def test_only_this_version_is_spoken(version: int, fits: bool) -> None:
    assert reads({**PING, "v": version}) is fits


def test_of_an_unknown_kind_no_more_than_its_beginning_is_repeated() -> None:
    with pytest.raises(WireError, match=r"^unknown message kind 'k{32}'$"):
        decode([msgspec.msgpack.encode(PING | {"kind": "k" * 40})])
