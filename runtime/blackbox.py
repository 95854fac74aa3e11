"""The black box of a run: the channels of its MCAP file, how they are written, and how they are read back.

Records of `runtime.records` are stored as their exact bytes; the schema of such a channel describes every
field (offset, type, shape) as JSON, so that a reader needs nothing of this code. Frames, joint states and the
log are JSON messages that MCAP viewers open.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

import msgspec
import numpy as np
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel as McapChannel
from mcap.records import Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import IndexType, Writer
from numpy.typing import NDArray

from runtime import records
from runtime.clock import NS_PER_S
from runtime.errors import LeadtimeError
from runtime.layout import JOINT_NAMES
from runtime.spec import RunSpec

FILE_NAME: Final = "run.mcap"
CHUNK_BYTES: Final = 256 * 1024
"""Records gathered before they are compressed and written, about a second: what a killed recorder loses."""

_JOINT_STATES: Final = "/joint_states"
_CAMERA: Final = "/camera/"
_LOG: Final = "/log"
_LOG_LEVELS: Final = {"info": 2, "warning": 3, "error": 4}


@dataclass(frozen=True)
class RecordChannel:
    """A ring that is stored record by record: `ring` on the board, the record, and its time field."""

    ring: str
    dtype: np.dtype[Any]
    time_field: str
    every: bool = True
    """Whether each entry matters; of the others only the newest is kept, when it is looked at."""

    @property
    def topic(self) -> str:
        """Name of the channel in the file."""
        return f"/{self.ring}"


RECORD_CHANNELS: Final = (
    RecordChannel("tick", records.TICK, "now_ns"),
    RecordChannel("chunk", records.CHUNK, "t_received_ns"),
    RecordChannel("request", records.REQUEST, "t_request_ns"),
    RecordChannel("task_request", records.TASK_REQUEST, "t_ns"),
    RecordChannel("client", records.CLIENT_STATUS, "t_ns", every=False),
    RecordChannel("task", records.TASK_STATUS, "t_ns", every=False),
)

_TIME: Final = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}
_TEXT: Final = {"type": "string"}
_NUMBERS: Final = {"type": "array", "items": {"type": "number"}}


def _json_schema(properties: dict[str, Any]) -> bytes:
    return json.dumps({"type": "object", "properties": {"timestamp": _TIME, **properties}}).encode()


_IMAGE_SCHEMA: Final = _json_schema(
    {"frame_id": _TEXT, "data": {"type": "string", "contentEncoding": "base64"}, "format": _TEXT}
)
_JOINT_SCHEMA: Final = _json_schema(
    {"name": {"type": "array", "items": _TEXT}}
    | dict.fromkeys(("position", "velocity", "effort", "command", "target"), _NUMBERS)
)
_LOG_SCHEMA: Final = _json_schema({"level": {"type": "integer"}, "message": _TEXT, "name": _TEXT})


def parts(run_dir: Path) -> list[Path]:
    """Return the files of a run's black box, oldest first: a recorder that is restarted begins a new one."""
    numbered = {int(path.stem.removeprefix("run-")): path for path in run_dir.glob("run-*.mcap")}
    first = run_dir / FILE_NAME
    return ([first] if first.is_file() else []) + [numbered[number] for number in sorted(numbered)]


def new_part(run_dir: Path) -> Path:
    """Return the file that a recorder which starts now writes."""
    count = len(parts(run_dir))
    return run_dir / (f"run-{count + 1}.mcap" if count else FILE_NAME)


def describe_dtype(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Describe a record as JSON values: its size and each field's name, offset, shape and type or record."""
    fields = []
    for name in dtype.names or ():
        inner, offset = dtype.fields[name][:2]  # type: ignore[index]
        entry: dict[str, Any] = {"name": name, "offset": int(offset), "shape": list(inner.shape)}
        base = inner.base
        entry |= {"record": describe_dtype(base)} if base.names else {"type": base.str}
        fields.append(entry)
    return {"itemsize": dtype.itemsize, "fields": fields}


def build_dtype(description: dict[str, Any]) -> np.dtype[Any]:
    """Return the dtype that `describe_dtype` described."""
    fields = description["fields"]
    formats = [
        (build_dtype(item["record"]) if "record" in item else np.dtype(item["type"]), tuple(item["shape"]))
        for item in fields
    ]
    return np.dtype(
        {
            "names": [item["name"] for item in fields],
            "formats": formats,
            "offsets": [item["offset"] for item in fields],
            "itemsize": description["itemsize"],
        }
    )


class Sink(Protocol):
    """What a black box is written to: bytes are appended, nothing is read or sought."""

    def write(self, data: bytes, /) -> int:
        """Append bytes."""

    def tell(self) -> int:
        """Return the bytes appended so far."""

    def flush(self) -> None:
        """Hand on what was appended."""


class BlackBoxWriter:
    """Encodes the records of one run into an MCAP stream."""

    def __init__(self, sink: Sink, cameras: tuple[str, ...]) -> None:
        self._writer = Writer(
            cast(IO[Any], sink), chunk_size=CHUNK_BYTES, index_types=IndexType.ALL, enable_data_crcs=False
        )
        self._writer.start(profile="", library="leadtime")
        self._channels: dict[str, int] = {}
        for channel in RECORD_CHANNELS:
            data = json.dumps(describe_dtype(channel.dtype)).encode()
            self._register(channel.topic, "numpy", f"leadtime.{channel.ring}", "numpy", data)
        for name in cameras:
            self._register(_CAMERA + name, "json", "foxglove.CompressedImage", "jsonschema", _IMAGE_SCHEMA)
        self._register(_JOINT_STATES, "json", "leadtime.JointStates", "jsonschema", _JOINT_SCHEMA)
        self._register(_LOG, "json", "foxglove.Log", "jsonschema", _LOG_SCHEMA)

    def _register(self, topic: str, encoding: str, schema: str, schema_encoding: str, data: bytes) -> None:
        schema_id = self._writer.register_schema(schema, schema_encoding, data)
        self._channels[topic] = self._writer.register_channel(topic, encoding, schema_id)

    def _add(self, topic: str, t_ns: int, data: bytes, sequence: int = 0) -> None:
        self._writer.add_message(self._channels[topic], t_ns, data, t_ns, sequence)

    def run(self, spec: RunSpec, t0_ns: int) -> None:
        """Write what the run is and when its tick zero was."""
        text = msgspec.json.encode(spec).decode()
        self._writer.add_metadata("run", {"t0_ns": str(t0_ns), "spec": text})

    def record(self, channel: RecordChannel, index: int, record: NDArray[Any]) -> None:
        """Write a ring's record `index`, byte by byte as it is."""
        self._add(channel.topic, int(record[channel.time_field]), record.tobytes(), index & 0xFFFFFFFF)

    def joint_states(self, tick: NDArray[Any]) -> None:
        """Write the measured and the commanded joints of a tick for viewers, rad and gripper fractions."""
        t_ns = int(tick["now_ns"])
        arms = tick["arm"]
        message = {"timestamp": _timestamp(t_ns), "name": JOINT_NAMES}
        message |= {key: arms[key].ravel().tolist() for key in ("position", "velocity", "effort")}
        message |= {"command": tick["command"]["position"].tolist(), "target": tick["target"].tolist()}
        self._add(_JOINT_STATES, t_ns, msgspec.json.encode(message))

    def frame(self, camera: str, t_capture_ns: int, jpeg: bytes) -> None:
        """Write one compressed frame."""
        message = {
            "timestamp": _timestamp(t_capture_ns),
            "frame_id": camera,
            "data": base64.b64encode(jpeg).decode(),
            "format": "jpeg",
        }
        self._add(_CAMERA + camera, t_capture_ns, msgspec.json.encode(message))

    def log(self, t_ns: int, level: str, message: str) -> None:
        """Write a line of the run's log; level is info, warning or error."""
        entry = {"timestamp": _timestamp(t_ns), "level": _LOG_LEVELS[level], "message": message, "name": ""}
        self._add(_LOG, t_ns, msgspec.json.encode(entry))

    def finish(self, recorder: dict[str, int]) -> None:
        """Write what the recorder could not keep, then the index. The sink stays open."""
        self._writer.add_metadata("recorder", {key: str(value) for key, value in recorder.items()})
        self._writer.finish()  # type: ignore[no-untyped-call]


def _timestamp(t_ns: int) -> dict[str, int]:
    return {"sec": t_ns // NS_PER_S, "nsec": t_ns % NS_PER_S}


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
            elif topic.startswith(_CAMERA):
                jpeg = base64.b64decode(msgspec.json.decode(item.data)["data"])
                self.frames.setdefault(topic.removeprefix(_CAMERA), []).append(StoredFrame(item.log_time, jpeg))
            elif topic == _LOG:
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
        joined.records[name] = np.concatenate([run.records[name], later.records[name]])[first]
    for name, frames in later.frames.items():
        joined.frames[name] = run.frames.get(name, []) + frames
    return joined
