"""The wire carries messages and arrays unchanged, and says of anything else what is wrong with it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from runtime.inference import wire
from runtime.net.frames import FRAMES_MAX

INFER = wire.Infer(session="s1", request_seq=7, obs_seq=9, epoch=2, seed=3, deadline_ms=500.0)
ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.sampled_from(["<u1", "<i8", "<f4", "<f8"]).flatmap(
        lambda code: hnp.arrays(code, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    ),
    max_size=6,
)


def asking(**fields: object) -> bytes:
    """Return the header of a request with fields changed."""
    return msgspec.msgpack.encode(msgspec.to_builtins(INFER) | fields)


def frames_of(message: wire.Message, arrays: dict[str, NDArray[Any]] | None = None) -> list[bytes]:
    return [bytes(frame) for frame in wire.encode(message, arrays)]


@given(ARRAYS)
def test_a_message_with_any_arrays_comes_back_equal(arrays: dict[str, NDArray[Any]]) -> None:
    message, back = wire.decode(frames_of(INFER, arrays))
    assert msgspec.structs.replace(message, arrays=()) == INFER
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()
        assert not back[name].flags.writeable


def test_a_view_with_strides_travels_as_its_values() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::-1]
    _, back = wire.decode(frames_of(INFER, {"image": image}))
    assert np.array_equal(back["image"], image)


@given(st.lists(st.binary(max_size=200), max_size=20))
@settings(max_examples=300)
def test_noise_is_refused_with_a_reason_and_nothing_else(frames: list[bytes]) -> None:
    with pytest.raises(wire.WireError, match=r"."):
        wire.decode(frames)


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_message_is_understood_or_refused(data: st.DataObject) -> None:
    frames = frames_of(INFER, {"state": np.zeros(14, dtype=np.float32)})
    which = data.draw(st.integers(0, 1))
    damaged = bytearray(frames[which])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    frames[which] = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        wire.decode(frames)
    except wire.WireError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "0 frames"),
        ([b"\x80"] * (FRAMES_MAX + 1), "frames; a message has"),
        ([b"\x00" * (wire.HEADER_BYTES_MAX + 1)], "header of 16385 bytes"),
        ([msgspec.msgpack.encode({"v": 2, "kind": "infer"})], "version 2; this side speaks version 1"),
        ([msgspec.msgpack.encode({"v": 1, "kind": "dance"})], "unknown message kind 'dance'"),
        ([msgspec.msgpack.encode({"v": 1, "kind": "ping"})], "required field `session`"),
        ([msgspec.msgpack.encode({"v": 1, "kind": "ping", "session": 3})], "Expected `str`"),
        ([asking(condition="dance")], "Invalid enum value 'dance' - at `$.condition`"),
        ([asking(condition="guided", committed=-1)], ">= 0 - at `$.committed`"),
        ([*frames_of(INFER, {"a": np.zeros(3)})[:1]], "names 1 arrays, 0 came"),
        ([*frames_of(INFER, {"a": np.zeros(3)})[:1], b"short"], "'a' has 5 bytes, f8 (3,) needs 24"),
        ([b"\x83\xa1v\x01\xa4kind\xa4ping\xa1x" + b"\x91" * 9000 + b"\xc0"], "not understood"),
    ],
)
def test_each_fault_of_a_message_is_named(frames: list[bytes], reason: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.decode(frames)
    assert reason in str(caught.value)


def test_an_array_that_claims_to_be_huge_is_refused_before_it_is_made() -> None:
    spec = ("a", "u1", (8193, 1))
    header = {"v": 1, "kind": "ping", "session": "s", "arrays": [spec]}
    with pytest.raises(wire.WireError, match="<= 8192"):
        wire.decode([msgspec.msgpack.encode(header), b""])


def test_keys_that_a_newer_side_added_are_ignored() -> None:
    header = {"v": 1, "kind": "ping", "session": "s", "colour": {"deep": [1, 2]}}
    assert wire.decode([msgspec.msgpack.encode(header)]) == (wire.Ping(session="s"), {})


def test_an_object_array_does_not_travel() -> None:
    with pytest.raises(wire.WireError, match="'a' of dtype object does not travel"):
        wire.encode(INFER, {"a": np.array([{}])})
