"""Observations from the board: one moment, the frames that belong to it, and nothing that is too old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from runtime.board import Board
from runtime.config import load_rig
from runtime.inference.client.gallery import Gallery, rows_for
from runtime.inference.client.observation import ObservationError
from runtime.inference.client.sensors import Sensors
from runtime.inference.handshake import policy_schema
from runtime.inference.policy import load_policy
from runtime.inference.wire import Schema
from runtime.layout import CAMERAS, SIDES
from runtime.records import ARM_STATE, OBJECT_STATE
from runtime.shm import blank
from runtime.spec import RunSpec

MS = 1_000_000
DATA = Path(__file__).parent.parent / "data"


def schema(name: str = "tiny_policy.onnx") -> Schema:
    return policy_schema(load_policy(str(DATA / name)), "transfer", 0.0)


@pytest.fixture
def board() -> Board:
    rig = load_rig("sim-x5")
    texts = dict.fromkeys(("run_dir", "policy", "endpoint", "task", "prompt", "latency", "merge"), "x")
    numbers = {"seed": 0, "duration_s": 1.0, "episode_s": 1.0, "scene_length": 1}
    return Board.create(RunSpec(rig=rig, serve=False, **texts, **numbers))  # type: ignore[arg-type]


def sensors_of(board: Board, known: Schema) -> Sensors:
    cameras = board.spec.rig.cameras
    sizes = {name: (cameras[name].width_px, cameras[name].height_px) for name in known.cameras}
    return Sensors(board, known, Gallery(sizes, rows_for(1)))


def arms(board: Board, *stamps_ms: int) -> None:
    for stamp_ms in stamps_ms:
        for side in SIDES:
            record: Any = blank(ARM_STATE)
            record["t_ns"], record["position"] = stamp_ms * MS, stamp_ms
            board[f"arm/{side}"].push(record)


def frame(
    board: Board, camera: str, stamp_ms: int, *, published_ms: int | None = None, shows: int | None = None
) -> None:
    ring = board[f"frame/{camera}"]
    record: Any = blank(ring.topic.dtype)
    record["t_capture_ns"], record["image"] = stamp_ms * MS, stamp_ms % 256 if shows is None else shows
    record["t_published_ns"] = (stamp_ms if published_ms is None else published_ms) * MS + 7 + CAMERAS.index(camera)
    ring.push(record)


def test_each_camera_gives_its_frame_of_the_moment_and_the_joints_are_at_it(board: Board) -> None:
    sensors = sensors_of(board, schema())
    arms(board, 90, 95, 100, 105)
    for camera in CAMERAS:
        frame(board, camera, 67)
        frame(board, camera, 98)
    frame(board, CAMERAS[0], 131)
    observation = sensors.observe(sensors.align(140 * MS))
    assert observation.t_obs_ns == 98 * MS
    assert {int(image[0, 0, 0]) for image in observation.images.values()} == {98}
    assert observation.t_frame_ns == 98 * MS + 9
    assert np.allclose(observation.position, 98.0)
    assert observation.object_state is None


def test_pictures_of_a_moment_lie_side_by_side_where_a_server_of_the_host_reads_them(board: Board) -> None:
    known = schema()
    sensors = sensors_of(board, known)
    arms(board, 60, 70, 90, 100)
    for stamp_ms in (67, 98):
        for camera in CAMERAS:
            frame(board, camera, stamp_ms)
        images = sensors.observe(sensors.align(100 * MS)).images
        places = sensors._gallery.places(images)
        assert places is not None
        assert [place.name for place in places] == list(known.cameras)
        ends = [place.offset + place.size_bytes for place in places]
        assert [place.offset for place in places[1:]] == ends[:-1]


def test_a_frame_that_is_overwritten_while_it_is_taken_counts_for_nothing(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensors = sensors_of(board, schema())
    for camera in CAMERAS:
        frame(board, camera, 98)
    take = Gallery.take

    def slow(gallery: Gallery, camera: str, image: np.ndarray, t_ns: int) -> np.ndarray:
        taken = take(gallery, camera, image, t_ns)
        ring = board[f"frame/{camera}"]
        for i in range(ring.topic.capacity):
            frame(board, camera, 98 + i)
        return taken

    monkeypatch.setattr(Gallery, "take", slow)
    with pytest.raises(ObservationError, match="has no frame yet"):
        sensors.align(100 * MS)


def test_only_frames_that_came_since_are_read_again(board: Board) -> None:
    sensors = sensors_of(board, schema())
    arms(board, 95, 130)
    for stamp_ms in (98, 131):
        for camera in CAMERAS:
            frame(board, camera, stamp_ms)
        assert sensors.align(140 * MS).t_obs_ns == stamp_ms * MS


def test_a_camera_that_has_stopped_is_refused_as_out_of_step_or_old(board: Board) -> None:
    sensors = sensors_of(board, schema())
    with pytest.raises(ObservationError, match="has no frame yet"):
        sensors.align(0)
    for camera in CAMERAS:
        frame(board, camera, 100)
    assert sensors.align(150 * MS).t_obs_ns == 100 * MS
    with pytest.raises(ObservationError, match="sends no pictures any more") as lost:
        sensors.align(401 * MS)
    assert lost.value.fault == "camera_lost"
    for stamp_ms in (133, 167, 200, 233, 267):
        for camera in CAMERAS[1:]:
            frame(board, camera, stamp_ms)
    with pytest.raises(ObservationError, match="out of step"):
        sensors.align(270 * MS)


def test_a_camera_that_is_late_is_told_of_as_lost_and_still_asked_about(board: Board) -> None:
    sensors = sensors_of(board, schema())
    for camera in CAMERAS:
        frame(board, camera, 100)
    assert sensors.look(200 * MS) == set()
    assert sensors.look(201 * MS) == {"camera_lost"}
    assert sensors.align(299 * MS).t_obs_ns == 100 * MS


def test_frames_that_come_but_were_taken_too_long_ago_are_refused(board: Board) -> None:
    sensors = sensors_of(board, schema())
    for camera in CAMERAS:
        frame(board, camera, 100, published_ms=400)
    with pytest.raises(ObservationError, match="301 ms old") as old:
        sensors.align(401 * MS)
    assert old.value.fault == ""


def test_cameras_whose_stamps_part_are_out_of_step(board: Board) -> None:
    sensors = sensors_of(board, schema())
    for camera in CAMERAS:
        frame(board, camera, 100 if camera == CAMERAS[0] else 160)
    with pytest.raises(ObservationError, match="out of step") as apart:
        sensors.align(170 * MS)
    assert apart.value.fault == "cameras_apart"


def test_the_same_picture_while_the_arms_move_is_refused_as_frozen(board: Board) -> None:
    sensors = sensors_of(board, schema())
    for stamp_ms in (100, 133, 166):
        arms(board, stamp_ms - 5, stamp_ms + 1)
        for camera in CAMERAS:
            frame(board, camera, stamp_ms, shows=7 if camera == CAMERAS[1] else None)
        if stamp_ms < 166:
            sensors.look(stamp_ms * MS + MS)
    with pytest.raises(ObservationError, match=f"{CAMERAS[1]}.*again and again") as frozen:
        sensors.align(167 * MS)
    assert sensors.look(167 * MS) == {"camera_frozen"}
    assert frozen.value.fault == "camera_frozen"


def test_a_policy_of_object_states_observes_what_the_simulator_said_at_the_moment(board: Board) -> None:
    sensors = sensors_of(board, schema("tiny_objects.onnx"))
    with pytest.raises(ObservationError, match="no joint state"):
        sensors.align(0)
    arms(board, 95, 100)
    with pytest.raises(ObservationError, match="object state does not cover"):
        sensors.observe(sensors.align(100 * MS))
    for stamp_ms in (80, 99, 120):
        record: Any = blank(OBJECT_STATE)
        record["t_ns"], record["length"], record["state"] = stamp_ms * MS, 7, stamp_ms
        board["object_state"].push(record)
    observation = sensors.observe(sensors.align(100 * MS))
    assert not observation.images
    assert observation.t_frame_ns == 100 * MS
    assert observation.object_state is not None
    assert observation.object_state.tolist() == [99.0] * 7
    other = sensors_of(board, msgspec.structs.replace(schema("tiny_objects.onnx"), object_state=8))
    with pytest.raises(ObservationError, match="has 7 numbers, the policy reads 8"):
        other.observe(other.align(100 * MS))
