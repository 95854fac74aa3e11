"""The black box of a run, read back: its records as numpy arrays, exactly the bytes that were on the board."""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

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
    LOG_TOPIC,
    RECORD_CHANNELS,
    RecordChannel,
    build_dtype,
    describe_dtype,
)
from runtime.errors import LeadtimeError
from runtime.spec import RunSpec

FILE_NAME: Final = "run.mcap"


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
    """A frame of the black box: when it was captured and its JPEG."""

    t_ns: int
    jpeg: bytes


@dataclass
class Run:
    """A run read back. `records` and `indices` map a ring's name to its records and their ring indices.

    `recorder` counts what the last recorder could not keep; `complete` is False when the last file has no
    end, because its recorder was killed or the disk stayed full.
    """

    run_dir: Path
    spec: RunSpec
    t0_ns: int
    records: dict[str, NDArray[Any]]
    indices: dict[str, NDArray[np.int64]]
    frames: dict[str, list[StoredFrame]] = field(default_factory=dict)
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


class _Reading:
    """What was read of a black box so far, item by item in the order of the file."""

    def __init__(self) -> None:
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, McapChannel] = {}
        self.data: dict[str, bytearray] = {}
        self.sequences: dict[str, list[int]] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.frames: dict[str, list[StoredFrame]] = {}
        self.log: list[tuple[int, str]] = []
        self.complete = True

    def read(self, stream: IO[bytes]) -> None:
        """Take all that is whole."""
        try:
            for item in StreamReader(stream, validate_crcs=True).records:
                self._take(item)
        except (McapError, zstandard.ZstdError, struct.error, ValueError, KeyError):
            self.complete = False

    def _take(self, item: object) -> None:
        if isinstance(item, Message):
            topic = self.channels[item.channel_id].topic
            if topic in self.data:
                self.data[topic] += item.data
                self.sequences[topic].append(item.sequence)
            elif topic.startswith(CAMERA_TOPICS):
                jpeg = base64.b64decode(msgspec.json.decode(item.data)["data"])
                self.frames.setdefault(topic.removeprefix(CAMERA_TOPICS), []).append(StoredFrame(item.log_time, jpeg))
            elif topic == LOG_TOPIC:
                self.log.append((item.log_time, msgspec.json.decode(item.data)["message"]))
        elif isinstance(item, Schema):
            self.schemas[item.id] = item
        elif isinstance(item, McapChannel):
            self.channels[item.id] = item
            if item.message_encoding == "numpy":
                self.data.setdefault(item.topic, bytearray())
                self.sequences.setdefault(item.topic, [])
        elif isinstance(item, Metadata):
            self.metadata[item.name] = item.metadata

    def records(self, channel: RecordChannel) -> NDArray[Any]:
        """Return the records of a channel; in the dtype they were written with when ours has changed."""
        dtype = channel.dtype
        for stored in self.channels.values():
            if stored.topic == channel.topic:
                description = json.loads(self.schemas[stored.schema_id].data)
                if description != describe_dtype(dtype):
                    dtype = build_dtype(description)
        return np.frombuffer(self.data.get(channel.topic, bytearray()), dtype)

    def indices(self, channel: RecordChannel) -> NDArray[np.int64]:
        """Return the ring indices of a channel's records."""
        return np.array(self.sequences.get(channel.topic, []), dtype=np.int64)

    def run(self, run_dir: Path, path: Path) -> Run:
        """Return what one file holds, LeadtimeError when it is none of ours."""
        about = self.metadata.get("run")
        if about is None:
            raise LeadtimeError(f"{path}: not the black box of a run, or cut before the run began")
        try:
            spec = msgspec.json.decode(about["spec"], type=RunSpec)
        except msgspec.ValidationError as error:
            raise LeadtimeError(f"{path}: recorded by another version of leadtime: {error}") from error
        return Run(
            run_dir=run_dir,
            spec=spec,
            t0_ns=int(about["t0_ns"]),
            records={channel.ring: self.records(channel) for channel in RECORD_CHANNELS},
            indices={channel.ring: self.indices(channel) for channel in RECORD_CHANNELS},
            frames=self.frames,
            log=self.log,
            recorder={key: int(value) for key, value in self.metadata.get("recorder", {}).items()},
            complete=self.complete,
        )


def load_run(run_dir: Path) -> Run:
    """Read a run folder's black box; of a file that has no end, the part before the cut.

    Raises:
        LeadtimeError: there is no black box in the folder, or it is not one of ours.
    """
    paths = parts(run_dir)
    if not paths:
        raise LeadtimeError(f"{run_dir}: no {FILE_NAME} here; give the folder that a run left")
    runs = []
    for path in paths:
        reading = _Reading()
        with path.open("rb") as stream:
            reading.read(stream)
        runs.append(reading.run(run_dir, path))
    run = runs[0]
    for later in runs[1:]:
        run = _joined(run, later)
    return run


def _joined(run: Run, later: Run) -> Run:
    """Join a part to those before it; a restarted recorder stores again what is still in the rings."""
    joined = replace(later, frames=dict(run.frames), log=run.log + later.log)
    for name, indices in run.indices.items():
        both = np.concatenate([indices, later.indices[name]])
        joined.indices[name], first = np.unique(both, return_index=True)
        # As bytes: numpy leaves the padding of a record that it copies field by field undefined.
        raw = [
            part.records[name].view(np.uint8).reshape(-1, part.records[name].dtype.itemsize) for part in (run, later)
        ]
        dtype = later.records[name].dtype
        joined.records[name] = np.concatenate(raw)[first].reshape(-1).view(dtype)
    for name, frames in later.frames.items():
        joined.frames[name] = run.frames.get(name, []) + frames
    return joined
