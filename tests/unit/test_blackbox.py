"""What a run leaves is read back to the byte, by this code and by a reader that has none of it."""

from __future__ import annotations

import base64
import errno
import json
import shutil
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import simplejpeg
from mcap.reader import make_reader

from runtime import blackbox, recorder, stash
from runtime.blackbox import FILE_NAME, load_run, new_part, parts
from runtime.channels import RECORD_CHANNELS, build_dtype, describe_dtype
from runtime.errors import LeadtimeError
from runtime.layout import JOINT_NAMES
from runtime.recorder import Recorder
from runtime.spool import Spool
from tests.unit import recorded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run of three seconds."""
    path = tmp_path_factory.mktemp("run")
    recorded.record(path, 600)
    return path


def test_every_record_comes_back_byte_for_byte(folder: Path) -> None:
    run = load_run(folder)
    assert [tick.tobytes() for tick in run.ticks] == [recorded.make_tick(i).tobytes() for i in range(600)]
    chunks = run.records["chunk"]
    assert [c.tobytes() for c in chunks] == [recorded.make_chunk(i).tobytes() for i in range(0, 600, 80)]
    assert run.complete
    assert run.t0_ns == recorded.T0_NS
    assert run.spec == recorded.make_spec(folder)
    assert run.missing("tick") == 0


@pytest.mark.parametrize("channel", RECORD_CHANNELS, ids=lambda channel: channel.ring)
def test_a_record_is_described_completely(channel: object) -> None:
    dtype = channel.dtype  # type: ignore[attr-defined]
    rebuilt = build_dtype(json.loads(json.dumps(describe_dtype(dtype))))
    assert describe_dtype(rebuilt) == describe_dtype(dtype)
    raw = np.random.default_rng(0).integers(0, 255, dtype.itemsize, dtype=np.uint8).tobytes()
    ours, theirs = np.frombuffer(raw, dtype), np.frombuffer(raw, rebuilt)
    for name in dtype.names:
        assert ours[name].tobytes() == theirs[name].tobytes()


def test_a_reader_without_this_code_finds_types_in_the_file(folder: Path) -> None:
    with (folder / FILE_NAME).open("rb") as stream:
        schema, _, message = next(iter(make_reader(stream).iter_messages("/tick")))
    assert schema is not None
    tick = np.frombuffer(message.data, build_dtype(json.loads(schema.data)))[0]
    assert tick["command"]["position"].shape == (14,)
    assert tick["scheduled_ns"] == recorded.T0_NS


def test_viewers_find_images_and_joint_states(folder: Path) -> None:
    with (folder / FILE_NAME).open("rb") as stream:
        reader = make_reader(stream)
        images = list(reader.iter_messages("/camera/cam_high"))
        joints = list(reader.iter_messages("/joint_states"))
    assert len(images) == pytest.approx(3.0 * 5, abs=2)
    schema, channel, message = images[-1]
    assert schema is not None
    assert (schema.name, channel.message_encoding) == ("foxglove.CompressedImage", "json")
    image = simplejpeg.decode_jpeg(base64.b64decode(json.loads(message.data)["data"]))
    assert image.shape == (120, 160, 3)
    assert len(joints) == 150
    state = json.loads(joints[-1][2].data)
    assert tuple(state["name"]) == JOINT_NAMES
    assert len(state["position"]) == len(state["command"]) == 14


def test_a_file_cut_anywhere_gives_what_was_before_the_cut(folder: Path, tmp_path: Path) -> None:
    whole = (folder / FILE_NAME).read_bytes()
    counts = []
    for share in (0.5, 0.9, 0.999):
        (tmp_path / FILE_NAME).write_bytes(whole[: int(len(whole) * share)])
        run = load_run(tmp_path)
        assert not run.complete
        counts.append(len(run.ticks))
        assert all(run.ticks[i].tobytes() == recorded.make_tick(i).tobytes() for i in range(counts[-1]))
    assert counts[0] < counts[-1] == 600


def test_a_damaged_file_is_not_believed(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / FILE_NAME).read_bytes())
    with (folder / FILE_NAME).open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    chunk = summary.chunk_indexes[len(summary.chunk_indexes) // 2]
    data[chunk.chunk_start_offset + chunk.chunk_length // 2] ^= 1
    (tmp_path / FILE_NAME).write_bytes(data)
    assert not load_run(tmp_path).complete


@pytest.mark.parametrize("part", [b'"rig":{"name":"sim-x5"', b"t0_ns", str(recorded.T0_NS).encode()])
def test_what_was_run_is_not_read_from_a_page_of_zeros(folder: Path, tmp_path: Path, part: bytes) -> None:
    whole = (folder / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(whole.replace(part, bytes(len(part)), 1))
    with pytest.raises(LeadtimeError, match=r"run\.mcap: (damaged where it says|not the black box)"):
        load_run(tmp_path)


@pytest.mark.parametrize("memory_bytes_max", [stash.MEMORY_BYTES_MAX, 1000])
def test_a_restarted_recorder_goes_on_in_a_new_part_without_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes_max: int
) -> None:
    monkeypatch.setattr(stash, "MEMORY_BYTES_MAX", memory_bytes_max)
    monkeypatch.setattr(blackbox, "BLOCK", 70)
    board = recorded.make_board(tmp_path)
    for part, ticks in enumerate((range(300), range(300, 500))):
        spool = Spool(new_part(tmp_path))
        recorder = Recorder(board, spool)
        for i in ticks:
            recorded.put(board, i, 500)
            if i % 10 == 0:
                recorder.step(recorded.T0_NS + i * recorded.PERIOD_NS)
        if part:
            recorder.finish(recorded.T0_NS)
        spool.close(5.0)  # the first part stays without its end, as after a kill
    assert sorted(path.name for path in tmp_path.glob("*.mcap")) == ["run-2.mcap", "run.mcap"]
    run = load_run(tmp_path)
    assert [tick.tobytes() for tick in run.ticks] == [recorded.make_tick(i).tobytes() for i in range(500)]
    assert run.complete


def test_a_long_black_box_goes_on_in_new_files_and_is_read_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "PART_BYTES", 20_000)
    board = recorded.make_board(tmp_path)
    spool = Spool(new_part(tmp_path))
    writes = recorder.Recorder(board, spool)
    for i in range(2000):
        recorded.put(board, i, 2000)
        if i % 10 == 0:
            writes.step(recorded.T0_NS + i * recorded.PERIOD_NS)
    writes.finish(recorded.T0_NS)
    assert spool.close(5.0) == 0
    files = parts(tmp_path)
    assert len(files) > 2
    assert [path.name for path in files] == ["run.mcap", *(f"run-{number}.mcap" for number in range(2, len(files) + 1))]
    for path in files:
        reading = blackbox._Reading(tmp_path)
        reading.read(path)
        assert reading.complete
    run = load_run(tmp_path)
    assert run.complete
    assert [tick.tobytes() for tick in run.ticks] == [recorded.make_tick(i).tobytes() for i in range(2000)]
    assert run.recorder == {"frames_dropped": 0} | {name: 0 for name in run.recorder if name.startswith("lost_")}


@pytest.mark.parametrize("rest", [b"", b"\x89MCAP0\r\n"])
def test_a_last_file_that_was_never_begun_takes_nothing_from_those_before_it(
    folder: Path, tmp_path: Path, rest: bytes
) -> None:
    shutil.copy(folder / FILE_NAME, tmp_path)
    (tmp_path / "run-2.mcap").write_bytes(rest)
    run = load_run(tmp_path)
    assert not run.complete
    assert [tick.tobytes() for tick in run.ticks] == [tick.tobytes() for tick in load_run(folder).ticks]


def test_a_black_box_larger_than_memory_is_read_from_files_as_it_is_from_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_run(folder)
    opened = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(stash, "MEMORY_BYTES_MAX", 1000)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: opened.append(make(dir=dir)) or opened[-1])
    large = load_run(folder)
    assert len(opened) > 2
    assert {ring: records.tobytes() for ring, records in large.records.items()} == {
        ring: records.tobytes() for ring, records in small.records.items()
    }
    assert [frame.jpeg for frame in large.frames["cam_high"]] == [frame.jpeg for frame in small.frames["cam_high"]]
    large.ticks["now_ns"] = 0
    assert load_run(folder).ticks.tobytes() == small.ticks.tobytes()
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


def test_a_large_black_box_on_a_full_disk_is_laid_out_on_the_system_s(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, make = load_run(folder), tempfile.TemporaryFile
    monkeypatch.setattr(stash, "MEMORY_BYTES_MAX", 1000)

    def full(dir: Path | None) -> IO[bytes]:
        if dir is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return make()

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert load_run(folder).ticks.tobytes() == small.ticks.tobytes()


def test_what_is_no_black_box_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LeadtimeError, match=r"no run\.mcap here"):
        load_run(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"not an mcap file at all")
    with pytest.raises(LeadtimeError, match="not the black box of a run"):
        load_run(tmp_path)
