"""The channels of a black box: their names and schemas in its MCAP file, and how they are written.

Records of `runtime.records` are stored as their exact bytes; the schema of such a channel describes every
field (offset, type, shape) as JSON, so that a reader needs nothing of this code. Frames, joint states and the
log are JSON messages that MCAP viewers open.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol, cast

import msgspec
import numpy as np
from mcap.writer import IndexType, Writer
from numpy.typing import NDArray

from runtime import records
from runtime.clock import NS_PER_S
from runtime.interventions import Intervention
from runtime.layout import JOINT_NAMES
from runtime.spec import RunSpec

CHUNK_BYTES: Final = 256 * 1024
"""Records gathered before they are compressed and written, about a second: what a killed recorder loses."""

JOINT_STATES_TOPIC: Final = "/joint_states"
CAMERA_TOPICS: Final = "/camera/"
FORESEEN_TOPICS: Final = "/foreseen/"
LOG_TOPIC: Final = "/log"
INTERVENTION_TOPIC: Final = "/intervention"
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
    RecordChannel("amendment", records.AMENDMENT, "t_made_ns"),
    RecordChannel("request", records.REQUEST, "t_request_ns"),
    RecordChannel("foreseen", records.FORESEEN, "t_received_ns"),
    RecordChannel("task_request", records.TASK_REQUEST, "t_ns"),
    RecordChannel("episode_end", records.EPISODE_END, "t_ns"),
    RecordChannel("client", records.CLIENT_STATUS, "t_ns", every=False),
    RecordChannel("task", records.TASK_STATUS, "t_ns", every=False),
    RecordChannel("recorder", records.RECORDER_STATUS, "t_ns", every=False),
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
_FORESEEN_SCHEMA: Final = _json_schema(
    {"frame_id": _TEXT, "data": {"type": "string", "contentEncoding": "base64"}, "format": _TEXT}
    | {"tick": {"type": "integer"}, "chunk_id": {"type": "integer"}}
)
_JOINT_SCHEMA: Final = _json_schema(
    {"name": {"type": "array", "items": _TEXT}}
    | dict.fromkeys(("position", "velocity", "effort", "command", "target"), _NUMBERS)
)
_LOG_SCHEMA: Final = _json_schema({"level": {"type": "integer"}, "message": _TEXT, "name": _TEXT})
_INTERVENTION_SCHEMA: Final = _json_schema(
    {
        "start_tick": {"type": "integer"},
        "end_tick": {"type": "integer"},
        "interrupted": _TEXT,
        "sides": {"type": "array", "items": _TEXT},
    }
)


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
            self._register(CAMERA_TOPICS + name, "json", "foxglove.CompressedImage", "jsonschema", _IMAGE_SCHEMA)
            self._register(FORESEEN_TOPICS + name, "json", "foxglove.CompressedImage", "jsonschema", _FORESEEN_SCHEMA)
        self._register(JOINT_STATES_TOPIC, "json", "leadtime.JointStates", "jsonschema", _JOINT_SCHEMA)
        self._register(INTERVENTION_TOPIC, "json", "leadtime.Intervention", "jsonschema", _INTERVENTION_SCHEMA)
        self._register(LOG_TOPIC, "json", "foxglove.Log", "jsonschema", _LOG_SCHEMA)

    def _register(self, topic: str, encoding: str, schema: str, schema_encoding: str, data: bytes) -> None:
        schema_id = self._writer.register_schema(schema, schema_encoding, data)
        self._channels[topic] = self._writer.register_channel(topic, encoding, schema_id)

    def _add(self, topic: str, t_ns: int, data: bytes, sequence: int = 0) -> None:
        self._writer.add_message(self._channels[topic], t_ns, data, t_ns, sequence)

    def run(self, spec: RunSpec, t0_ns: int) -> None:
        """Write what the run is and when its tick zero was."""
        text = msgspec.json.encode(spec.kept()).decode()
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
        self._add(JOINT_STATES_TOPIC, t_ns, msgspec.json.encode(message))

    def frame(self, camera: str, t_capture_ns: int, jpeg: bytes) -> None:
        """Write one compressed frame."""
        self._add(CAMERA_TOPICS + camera, t_capture_ns, msgspec.json.encode(_image(camera, t_capture_ns, jpeg)))

    def foreseen(self, camera: str, t_due_ns: int, tick: int, chunk_id: int, jpeg: bytes) -> None:
        """Write one compressed picture of what a chunk's policy foresaw for a tick, timed when the tick begins."""
        message = _image(camera, t_due_ns, jpeg) | {"tick": tick, "chunk_id": chunk_id}
        self._add(FORESEEN_TOPICS + camera, t_due_ns, msgspec.json.encode(message))

    def log(self, t_ns: int, level: str, message: str) -> None:
        """Write a line of the run's log; level is info, warning or error."""
        entry = {"timestamp": _timestamp(t_ns), "level": _LOG_LEVELS[level], "message": message, "name": ""}
        self._add(LOG_TOPIC, t_ns, msgspec.json.encode(entry))

    def intervention(self, t_ns: int, event: Intervention) -> None:
        """Write, once it is over, when a person led the arms."""
        message = {"timestamp": _timestamp(t_ns)} | event.as_dict()
        self._add(INTERVENTION_TOPIC, t_ns, msgspec.json.encode(message))

    def finish(self, recorder: dict[str, int]) -> None:
        """Write what the recorder could not keep, then the index. The sink stays open."""
        self._writer.add_metadata("recorder", {key: str(value) for key, value in recorder.items()})
        self._writer.finish()  # type: ignore[no-untyped-call]


def _image(camera: str, t_ns: int, jpeg: bytes) -> dict[str, Any]:
    data = base64.b64encode(jpeg).decode()
    return {"timestamp": _timestamp(t_ns), "frame_id": camera, "data": data, "format": "jpeg"}


def _timestamp(t_ns: int) -> dict[str, int]:
    return {"sec": t_ns // NS_PER_S, "nsec": t_ns % NS_PER_S}
