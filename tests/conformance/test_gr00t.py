"""Isaac-GR00T: its names for the parts of a robot are asked for, and what does not fit is said before any motion."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import UsageError
from runtime.inference.adapters import npy_codec
from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.embodiment import Embodiment, EmbodimentMap
from runtime.inference.adapters.gr00t import Gr00t, Gr00tSettings
from tests.conformance.peers.gr00t import HORIZON, PARTS, Gr00tPeer, hook, modality, packed
from tests.conformance.suite import PROMPT, question

OPEN_S = 10.0


@pytest.fixture
def peer() -> Iterator[Gr00tPeer]:
    made = Gr00tPeer()
    yield made
    made.close()


def refused(peer: Gr00tPeer, reason: str, settings: Gr00tSettings | None = None) -> None:
    adapter = Gr00t(peer.endpoint, settings)
    with pytest.raises(AdapterError, match=reason):
        adapter.open(OPEN_S)
    adapter.close()


def test_names_that_are_not_the_rig_s_are_said(peer: Gr00tPeer) -> None:
    peer.config["video"] = modality(["ego_view"])
    refused(peer, "video ego_view; say in 'videos'")


def test_parts_that_are_not_the_rig_s_are_said(peer: Gr00tPeer) -> None:
    peer.config["state"] = modality(["waist"])
    refused(peer, "state waist; say in 'parts'")


@pytest.mark.parametrize("part", [(0, 15), (6, 0), (3, 3), (-1, 5)])
def test_a_state_that_is_not_within_the_rig_s_numbers_is_said(peer: Gr00tPeer, part: tuple[int, int]) -> None:
    refused(
        peer, f"left_arm, which 'parts' puts at {part[0]},{part[1]}", Gr00tSettings(parts=PARTS | {"left_arm": part})
    )


def test_one_arm_without_an_embodiment_is_refused(peer: Gr00tPeer) -> None:
    peer.config["action"] = modality(["left_arm", "left_gripper"], HORIZON)
    refused(peer, "7 numbers, not the rig's 14; declare")


def test_a_history_of_pictures_is_refused(peer: Gr00tPeer) -> None:
    peer.config["video"] = modality(["cam_high"], 2)
    refused(peer, "wants 2 of each video")


def test_a_token_is_told_and_asked_for(peer: Gr00tPeer) -> None:
    peer.token = "secret"  # noqa: S105
    refused(peer, "set 'api_token'")
    adapter = Gr00t(peer.endpoint, Gr00tSettings(api_token="secret"))  # noqa: S106
    assert adapter.open(OPEN_S).horizon == HORIZON
    adapter.close()


def test_one_arm_is_driven_as_declared_and_the_other_holds(peer: Gr00tPeer) -> None:
    peer.config["action"] = modality(["right_arm", "right_gripper"], HORIZON)
    settings = Gr00tSettings(action_parts={"right_arm": (0, 6), "right_gripper": (6, 7)})
    adapter = Gr00t(peer.endpoint, settings, EmbodimentMap(Embodiment(arms=("right",)), None))
    try:
        adapter.open(OPEN_S)
        adapter.reset(PROMPT)
        asked = question(1)
        rows = adapter.infer(asked).actions
        assert rows.shape == (HORIZON, 14)
        assert np.allclose(rows[-1, 7:13], asked.view.position[7:13] + 0.002 * HORIZON, atol=1e-5)
        assert np.array_equal(rows[:, :7], np.tile(asked.view.position[:7], (HORIZON, 1)))
    finally:
        adapter.close()


@pytest.mark.parametrize("endpoint", ["tcp://a:1", "gr00t://", "gr00t://a:0x1", "gr00t://a:99999"])
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="gr00t://HOST"):
        Gr00t(endpoint)


@pytest.mark.parametrize("dtype", ["?", "u1", "i4", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 3)])
def test_arrays_travel_both_ways(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    told = {"c": array, "fortran": np.array(array, order="F")}
    for found in (npy_codec.unpack(packed(told)), msgpack.unpackb(npy_codec.pack(told), object_hook=hook)):
        for read in found.values():
            assert (read.dtype, read.shape) == (array.dtype, array.shape)
            assert np.array_equal(read, array)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 400), data=st.binary(min_size=1, max_size=6))
def test_what_is_bent_on_the_way_is_refused_or_read(at: int, data: bytes) -> None:
    whole = bytearray(packed([{"left_arm": np.zeros((1, 4, 6), dtype=np.float32)}, {}]))
    whole[at : at + len(data)] = data
    with contextlib.suppress(npy_codec.NpyError):
        npy_codec.unpack(bytes(whole))
