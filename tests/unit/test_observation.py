"""An observation is of one moment: frames aligned at it, joints interpolated at it, or it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.inference.client.observation import ObservationError, align_frames, joints_at
from runtime.records import ARM_STATE
from runtime.shm import blank

MS = 1_000_000
STAMPS = st.lists(st.integers(0, 10**9), min_size=1, max_size=4).map(sorted)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), STAMPS, min_size=1))
def test_every_camera_has_seen_the_moment_and_gives_its_nearest_frame(stamps: dict[str, list[int]]) -> None:
    chosen = align_frames(stamps, tolerance_ns=10**9)
    assert chosen.t_obs_ns == min(each[-1] for each in stamps.values())
    for name, each in stamps.items():
        apart = abs(each[chosen.index[name]] - chosen.t_obs_ns)
        assert apart == min(abs(stamp - chosen.t_obs_ns) for stamp in each)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), STAMPS, min_size=1), st.integers(0, 10**8))
def test_no_frame_is_further_than_the_tolerance(stamps: dict[str, list[int]], tolerance_ns: int) -> None:
    try:
        chosen = align_frames(stamps, tolerance_ns)
    except ObservationError:
        return
    for name, each in stamps.items():
        assert abs(each[chosen.index[name]] - chosen.t_obs_ns) <= tolerance_ns


def test_a_camera_that_lags_is_named() -> None:
    with pytest.raises(ObservationError, match=r"out of step: 'b' is 90 ms from the others, 25 ms"):
        align_frames({"a": [0, 10 * MS], "b": [100 * MS]}, 25 * MS)


def test_a_camera_without_frames_is_named() -> None:
    with pytest.raises(ObservationError, match="'b' has no frame"):
        align_frames({"a": [5], "b": []}, MS)


def arm(t_ms: float, position: float, velocity: float = 0.0) -> NDArray[Any]:
    record = blank(ARM_STATE)
    record["t_ns"] = round(t_ms * MS)
    record["position"] = position
    record["velocity"] = velocity
    return record


def test_joints_are_interpolated_at_the_moment_and_sides_keep_their_place() -> None:
    records = {
        "left": [arm(0, 0.0, 1.0), arm(5, 1.0, 2.0), arm(10, 5.0)],
        "right": [arm(1, 10.0), arm(9, 18.0)],
    }
    position, velocity = joints_at(records, round(2.5 * MS))
    assert np.allclose(position[:7], 0.5)
    assert np.allclose(position[7:], 11.5)
    assert np.allclose(velocity[:7], 1.5)


def test_a_moment_on_a_record_gives_that_record_exactly() -> None:
    records = {side: [arm(0, 0.1), arm(5, 0.3), arm(10, 0.7)] for side in ("left", "right")}
    assert np.array_equal(joints_at(records, 5 * MS)[0], np.full(14, 0.3))


@pytest.mark.parametrize(
    ("left", "t_ms", "part"),
    [
        ([], 5, "left arm has sent no joint state"),
        ([arm(0, 0.0)], 26, "older than the frames"),
        ([arm(6, 0.0), arm(8, 0.0)], 5, "does not reach back"),
        ([arm(0, 0.0), arm(40, 0.0)], 5, "no joint state for 40 ms"),
    ],
)
def test_joints_that_do_not_cover_the_moment_are_refused(left: list[NDArray[Any]], t_ms: int, part: str) -> None:
    records = {"left": left, "right": [arm(0, 0.0), arm(20, 0.0), arm(40, 0.0)]}
    with pytest.raises(ObservationError, match=part):
        joints_at(records, t_ms * MS)
