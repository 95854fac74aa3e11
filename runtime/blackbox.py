"""The black box of a run, read back: its records as numpy arrays, exactly the bytes that were on the board."""

from __future__ import annotations

import base64
import errno
import json
import re
import struct
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel as McapChannel
from mcap.records import Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from numpy.typing import NDArray

from runtime.channels import (
    CAMERA_TOPICS,
    FORESEEN_TOPICS,
    LOG_TOPIC,
    RECORD_CHANNELS,
    build_dtype,
    describe_dtype,
)
from runtime.errors import LeadtimeError
from runtime.files import named
from runtime.spec import RunSpec
from runtime.stash import Stash

FILE_NAME: Final = "run.mcap"
BLOCK: Final = 100_000
"""Records that are copied at once."""


def parts(run_dir: Path) -> list[Path]:
    """Return the files of a run's black box, oldest first.

    A recorder begins a new one when it is restarted, and when one has grown long.
    """
    numbered = {_number(path): path for path in run_dir.glob("run*.mcap") if path.is_file()}
    return [numbered[number] for number in sorted(numbered) if number]


def new_part(run_dir: Path) -> Path:
    """Return the file that a recorder which starts now writes."""
    paths = parts(run_dir)
    return part_after(paths[-1]) if paths else run_dir / FILE_NAME


def part_after(part: Path) -> Path:
    """Return the file that follows a file of a black box."""
    return part.with_name(f"run-{_number(part) + 1}.mcap")


def _number(part: Path) -> int:
    """Return which file of a black box this is, from 1 on; 0 for one that is none."""
    match = re.fullmatch(r"run-(\d+)\.mcap", part.name)
    return int(match[1]) if match else int(part.name == FILE_NAME)


@dataclass(frozen=True)
class StoredFrame:
    """A frame of the black box: when it was captured, and where its JPEG is."""

    t_ns: int
    place: bytes | memoryview

    @property
    def jpeg(self) -> bytes:
        """The picture's file."""
        return bytes(self.place)


@dataclass(frozen=True)
class ForeseenFrame(StoredFrame):
    """A picture that the policy of a chunk foresaw for a tick; `t_ns` is when that tick began."""

    tick: int
    chunk_id: int


@dataclass
class Run:
    """A run read back. `records` and `indices` map a ring's name to its records and their ring indices.

    `recorder` counts what the last recorder could not keep; `complete` is False when the last file has no
    end, because its recorder was killed or the disk stayed full. What is large lies in files that need no memory.
    """

    run_dir: Path
    spec: RunSpec
    t0_ns: int
    records: dict[str, NDArray[Any]]
    indices: dict[str, NDArray[np.int64]]
    frames: dict[str, list[StoredFrame]] = field(default_factory=dict)
    foreseen: dict[str, list[ForeseenFrame]] = field(default_factory=dict)
    log: list[tuple[int, str]] = field(default_factory=list)
    recorder: dict[str, int] = field(default_factory=dict)
    complete: bool = True

    @property
    def ticks(self) -> NDArray[Any]:
        """The tick records, shape (N,)."""
        return self.records["tick"]

    def missing(self, ring: str) -> int:
        """How many records between a ring's first and last stored one are not in the file."""
        indices = self.indices[ring]
        return int(indices[-1] - indices[0] + 1 - len(indices)) if len(indices) else 0


class _Ring:
    """The records of one ring as they are read: `data` one behind the other, `indices` their ring indices.

    `description` is that of the dtype they were written with, None before there is a record.
    """

    def __init__(self, folder: Path | None) -> None:
        self.description: dict[str, Any] | None = None
        self.data = Stash(folder)
        self.indices = array("q")
        self._folder = folder

    def take(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the records and their indices, in order and each once.

        They have our dtype, or where that has changed the one they were written with.
        """
        if self.description not in (None, describe_dtype(dtype)):
            dtype = build_dtype(self.description)
        records = np.frombuffer(self.data.whole(), dtype)
        indices = np.frombuffer(self.indices, np.int64)
        if (np.diff(indices) > 0).all():
            return records, indices
        # A restarted recorder stores again what is still in the rings.
        indices, first = np.unique(indices, return_index=True)
        once = Stash(self._folder)
        # As bytes: numpy leaves the padding of a record that it copies field by field undefined.
        raw = records.view(np.uint8).reshape(-1, dtype.itemsize)
        for begin in range(0, len(first), BLOCK):
            once.append(raw[first[begin : begin + BLOCK]].reshape(-1).data)
        return np.frombuffer(once.whole(), dtype), indices


class _Reading:
    """What was read of a black box so far, file by file, item by item in their order; what is large is in `folder`."""

    def __init__(self, run_dir: Path, folder: Path | None = None) -> None:
        self._run_dir = run_dir
        self._folder = folder
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, McapChannel] = {}
        self._rings: dict[str, _Ring] = {}
        self._pictures = Stash(folder)
        self._frames: list[tuple[str, int, int, int]] = []
        self._foreseen: dict[tuple[str, int, int], tuple[int, int, int]] = {}
        self._log: list[tuple[int, str]] = []
        self._about: dict[str, str] | None = None
        self._metadata: dict[str, dict[str, str]] = {}
        self.complete = True

    def read(self, path: Path) -> None:
        """Take all of a file that is whole; one that was cut before the run began adds nothing."""
        self._schemas, self._channels, self._metadata = {}, {}, {}
        self.complete = True
        with path.open("rb") as stream:
            try:
                for item in StreamReader(stream, validate_crcs=True).records:
                    self._take(item)
            except (McapError, zstandard.ZstdError, struct.error, ValueError, KeyError):
                self.complete = False
        self._about = self._metadata.get("run", self._about)
        self.complete = self.complete and "run" in self._metadata

    def _take(self, item: object) -> None:
        if isinstance(item, Message):
            topic = self._channels[item.channel_id].topic
            if topic in self._rings:
                self._rings[topic].data.append(item.data)
                self._rings[topic].indices.append(item.sequence)
            elif topic.startswith(CAMERA_TOPICS):
                jpeg = base64.b64decode(msgspec.json.decode(item.data)["data"])
                self._frames.append((topic.removeprefix(CAMERA_TOPICS), item.log_time, self._pictures.size, len(jpeg)))
                self._pictures.append(jpeg)
            elif topic.startswith(FORESEEN_TOPICS):
                message = msgspec.json.decode(item.data)
                jpeg = base64.b64decode(message["data"])
                # Each once: a restarted recorder stores again what is still in the ring.
                key = topic.removeprefix(FORESEEN_TOPICS), message["chunk_id"], message["tick"]
                self._foreseen[key] = item.log_time, self._pictures.size, len(jpeg)
                self._pictures.append(jpeg)
            elif topic == LOG_TOPIC:
                self._log.append((item.log_time, msgspec.json.decode(item.data)["message"]))
        elif isinstance(item, Schema):
            self._schemas[item.id] = item
        elif isinstance(item, McapChannel):
            self._channels[item.id] = item
            if item.message_encoding == "numpy":
                self._ring(item.topic).description = json.loads(self._schemas[item.schema_id].data)
        elif isinstance(item, Metadata):
            self._metadata[item.name] = item.metadata

    def run(self, path: Path) -> Run:
        """Return what the files hold, LeadtimeError when they are none of ours; `path` is what a line names."""
        about = self._about
        if about is None:
            raise LeadtimeError(f"{path}: not the black box of a run, or cut before the run began")
        try:
            spec, t0_ns = msgspec.json.decode(about["spec"], type=RunSpec), int(about["t0_ns"])
        except msgspec.ValidationError as error:
            raise LeadtimeError(f"{path}: recorded by another version of leadtime: {error}") from error
        except (msgspec.DecodeError, ValueError, KeyError) as error:
            raise LeadtimeError(f"{path}: damaged where it says what was run: {error}") from error
        rings = {channel.ring: self._ring(channel.topic).take(channel.dtype) for channel in RECORD_CHANNELS}
        pictures = self._pictures.whole()
        return Run(
            run_dir=self._run_dir,
            spec=spec,
            t0_ns=t0_ns,
            records={ring: records for ring, (records, _) in rings.items()},
            indices={ring: indices for ring, (_, indices) in rings.items()},
            frames=self._stored(pictures),
            foreseen=self._predicted(pictures),
            log=self._log,
            recorder={key: int(value) for key, value in self._metadata.get("recorder", {}).items()},
            complete=self.complete,
        )

    def _ring(self, topic: str) -> _Ring:
        return self._rings.setdefault(topic, _Ring(self._folder))

    def _stored(self, whole: memoryview) -> dict[str, list[StoredFrame]]:
        frames: dict[str, list[StoredFrame]] = {}
        for camera, t_ns, begin, size in self._frames:
            frames.setdefault(camera, []).append(StoredFrame(t_ns, whole[begin : begin + size]))
        return frames

    def _predicted(self, whole: memoryview) -> dict[str, list[ForeseenFrame]]:
        foreseen: dict[str, list[ForeseenFrame]] = {}
        for (camera, chunk_id, tick), (t_ns, begin, size) in self._foreseen.items():
            frame = ForeseenFrame(t_ns, whole[begin : begin + size], tick, chunk_id)
            foreseen.setdefault(camera, []).append(frame)
        return foreseen


def load_run(run_dir: Path) -> Run:
    """Read a run folder's black box; of a file that has no end, the part before the cut.

    Raises:
        LeadtimeError: there is no black box in the folder, or it is not one of ours.
        OSError: there is no room to lay it out.
    """
    paths = parts(run_dir)
    if not paths:
        raise LeadtimeError(f"{run_dir}: no {FILE_NAME} here; give the folder that a run left")
    with named(run_dir):
        try:
            return _read(run_dir, paths, run_dir)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        # The disk that the run has filled is not the only one.
        return _read(run_dir, paths, None)


def _read(run_dir: Path, paths: list[Path], folder: Path | None) -> Run:
    reading = _Reading(run_dir, folder)
    for path in paths:
        reading.read(path)
    return reading.run(paths[0])
