"""The wire between a rig and its policy server: a msgpack header and raw array buffers, as one multipart message.

Frame 0 is the header, a msgpack map with `v` (protocol version), `kind`, the fields of that kind and `arrays`
(name, dtype, shape of each following frame). Frames 1.. are the arrays' bytes, C order, little endian. Unknown
header keys are ignored, so a newer side may add some; every size, count and nesting depth is bounded, and
nothing that arrives is ever executed or unpickled. Times are durations of the side that measured them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.net.frames import FRAME_BYTES_MAX, FRAMES_MAX, Buffer
from runtime.states import Condition

VERSION: Final = 1
HEADER_BYTES_MAX: Final = 16 * 1024
DIMENSIONS_MAX: Final = 4
REASON_CHARS_MAX: Final = 1024

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=REASON_CHARS_MAX)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Size = Annotated[int, Meta(ge=0, le=8192)]
Rate = Annotated[int, Meta(ge=1, le=8192)]
Code = Literal["u1", "i8", "f4", "f8"]
ErrorCode = Literal["bad_request", "no_session", "busy", "expired", "failed"]
ArrayMap = dict[str, NDArray[Any]]


class WireError(Exception):
    """A message could not be understood; the text says what was wrong with it."""


class ArraySpec(msgspec.Struct, frozen=True, array_like=True):
    """One array of a message: `dtype` is numpy's code without byte order, all are little endian."""

    name: Name
    dtype: Code
    shape: Annotated[tuple[Size, ...], Meta(max_length=DIMENSIONS_MAX)]

    @property
    def size_bytes(self) -> int:
        """Bytes of the array's buffer."""
        return math.prod(self.shape) * int(self.dtype[1])


class ArrayPlace(msgspec.Struct, frozen=True, array_like=True):
    """One uint8 array of a request in memory that a rig shares with a server of its host, `offset` bytes into it."""

    name: Name
    shape: Annotated[tuple[Size, ...], Meta(max_length=DIMENSIONS_MAX)]
    offset: Count

    @property
    def size_bytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape)


class RigSchema(msgspec.Struct, frozen=True, kw_only=True):
    """What a rig offers: joint order, policy rate, and its cameras as name -> (width, height) in pixels.

    `arms` are the models of its arms, left and right. `object_state` says whether it also knows where the objects
    are, as a simulated rig does.
    """

    name: Name
    arms: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()
    joint_names: Annotated[tuple[Name, ...], Meta(max_length=64)]
    rate_hz: Rate
    cameras: Annotated[dict[Name, tuple[Size, Size]], Meta(max_length=16)]
    object_state: bool = False


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """What was agreed: the observation the policy reads and the chunk it answers with.

    `arms` are the arm models it was trained on, none when its actions fit any. `horizon` and `execute_steps` in policy
    ticks; `prefix_max` 0 when the policy takes no committed prefix; `latency_ms` is what the server expects of itself,
    from its warm-up and latency profile. `conditions` are what the policy can be told of the plan
    (runtime.states.Condition), `concurrency` how many requests the server works on at once. With `width_px` 0 pictures
    are taken in any size. `stateful`: what was really executed is sent too, with views every `key_every` ticks (0: no
    views). `parts`: the first steps of a chunk may come before the rest, where a request asks for it.
    """

    policy: Name
    policy_class: Name
    arms: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()
    joint_names: Annotated[tuple[Name, ...], Meta(max_length=64)]
    rate_hz: Rate
    horizon: Size
    execute_steps: Size
    prefix_max: Size
    cameras: Annotated[tuple[Name, ...], Meta(max_length=16)]
    width_px: Size
    height_px: Size
    velocity: bool
    object_state: Size
    latency_ms: Annotated[float, Meta(ge=0.0, le=3_600_000.0)]
    conditions: Annotated[tuple[Name, ...], Meta(max_length=16)] = ("plain",)
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 1
    stateful: bool = False
    key_every: Size = 0
    parts: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every message carries."""

    v: Count = VERSION
    arrays: Annotated[tuple[ArraySpec, ...], Meta(max_length=FRAMES_MAX - 1)] = ()


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """Client to server: who asks, with which rig, for which task. `client` is unique to the client process."""

    client: Name
    rig: RigSchema
    task: Text
    prompt: Text = ""


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """Server to client: the session is open under this schema.

    `door` is the name of the socket at which a client of this host may hand over its pictures' memory, with `secret`;
    "" where there is none. `decodes` are the forms of picture that are taken besides raw ones: `jpeg`, and `jpeg-key`
    of key views.
    """

    session: Name
    schema: Schema
    door: Text = ""
    secret: Text = ""
    decodes: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    """Server to client: this rig and this policy do not fit, and trying again will not help."""

    reason: Text


class Infer(Message, frozen=True, kw_only=True, tag="infer"):
    """Client to server: an observation; asks for one chunk.

    Arrays: `image/CAMERA` u1 (height, width, 3), in the message or, named in `shared`, in the memory that was handed
    over, or as `jpeg/CAMERA` u1 (rows, bytes) where the server decodes it; `state` f4 (14,), `velocity` f4 (14,),
    `prefix` f4 (n, 14), `object_state` f4 (K,). `deadline_ms` counts from receipt: later the answer is of no
    use. `seed` and `request_seq`
    together seed the policy's noise. With another `epoch` than the request before an episode begins.

    `prefix` are the actions planned from the observation's tick on, and `condition` says what they are for: nothing,
    the given start of the chunk (n at most the agreed `prefix_max`), or the rest of the plan (n at most the horizon),
    of which `committed` steps are final and a new chunk is expected every `execute`.

    To a stateful policy also `executed` f4 (n, 14), the commands of the policy ticks from `executed_tick` on until the
    observation's, and key views: `key/CAMERA` u1 (k, height, width, 3), `key_state` f4 (k, 14), and `key_tick` i8 (k,),
    the rows of `executed` at which they were seen. Of more views than a frame carries the newest is sent and others
    evenly spread before it. As JPEG they are `jpeg-key/CAMERA` u1 (k, rows, bytes). What was told before may come
    again, where no answer was heard.

    With `parts` the answer may come in parts, if the policy can.
    """

    session: Name
    request_seq: Count
    obs_seq: Count
    epoch: Count = 0
    seed: Count = 0
    deadline_ms: Annotated[float, Meta(gt=0.0, le=3_600_000.0)]
    condition: Condition = Condition.PLAIN
    committed: Count = 0
    execute: Count = 0
    executed_tick: Count = 0
    parts: bool = False
    shared: Annotated[tuple[ArrayPlace, ...], Meta(max_length=FRAMES_MAX - 1)] = ()


class Chunk(Message, frozen=True, kw_only=True, tag="chunk"):
    """Server to client: the answer. Arrays: `actions` f4 (horizon, 14), `object_state` f4 (K,) where estimated.

    Where the model predicts them: arrays `frame/CAMERA` u1 (n, height, width, 3), and `value` of the state reached.
    `server_ns` is receipt to reply, on the server's clock. Of it `queue_ns` until the request was taken up,
    `prepare_ns` until it was what the model reads, `infer_ns` the model alone.

    An answer in parts is a few such messages, numbered by `part` from 0, of which only the last is `final`: the whole
    chunk. Those before it have nothing but `actions`, its first rows, each more than the one before.
    """

    session: Name
    request_seq: Count
    obs_seq: Count
    server_ns: Count
    infer_ns: Count
    value: float | None = None
    queue_ns: Count = 0
    prepare_ns: Count = 0
    part: Size = 0
    final: bool = True


class Superseded(Message, frozen=True, kw_only=True, tag="superseded"):
    """Server to client: a newer request of the same client took this one's place before it was begun."""

    session: Name
    request_seq: Count


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """Server to client: what was wrong with a request (`request_seq` 0 when it could not be read)."""

    code: ErrorCode
    reason: Text
    request_seq: Count = 0


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """Client to server: the answer to a request is of no use any more; one that still waits is not begun, and
    one that is being worked on is not answered. The model is not interrupted.
    """

    session: Name
    request_seq: Count


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Client to server: keep the session open."""

    session: Name


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """Server to client: the answer to a ping."""

    session: Name


class _Envelope(msgspec.Struct, frozen=True):
    v: Count
    kind: Text


_KINDS: Final[tuple[type[Message], ...]] = (
    Hello,
    Welcome,
    Refused,
    Infer,
    Chunk,
    Superseded,
    Error,
    Cancel,
    Ping,
    Pong,
)
_DECODERS: Final = {str(kind.__struct_config__.tag): msgspec.msgpack.Decoder(kind) for kind in _KINDS}
_ENVELOPE: Final = msgspec.msgpack.Decoder(_Envelope)
_CODES: Final[dict[str, Code]] = {"u1": "u1", "i8": "i8", "f4": "f4", "f8": "f8"}
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(message: Message, arrays: Mapping[str, NDArray[Any]] | None = None) -> list[Buffer]:
    """Return the frames of a message; array frames are views of the arrays, which must not change until sent.

    Raises:
        WireError: an array's dtype does not travel, or a bound of the protocol is exceeded.
    """
    specs: list[ArraySpec] = []
    buffers: list[Buffer] = []
    for name, array in (arrays or {}).items():
        code = _CODES.get(array.dtype.str[1:])
        if code is None:
            raise WireError(f"array {name!r} of dtype {array.dtype} does not travel; use u1, i8, f4 or f8")
        if array.nbytes > FRAME_BYTES_MAX:
            raise WireError(f"array {name!r} has {array.nbytes} bytes; a frame carries {FRAME_BYTES_MAX}")
        whole = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
        specs.append(ArraySpec(name, code, whole.shape))
        buffers.append(whole.reshape(-1).view(np.uint8).data)
    header = _ENCODER.encode(msgspec.structs.replace(message, arrays=tuple(specs)) if specs else message)
    if len(header) > HEADER_BYTES_MAX or len(buffers) >= FRAMES_MAX:
        raise WireError(f"a header of {len(header)} bytes with {len(buffers)} arrays exceeds the protocol")
    return [header, *buffers]


def decode(frames: Sequence[Buffer]) -> tuple[Message, ArrayMap]:
    """Return the message and its arrays, which are read-only views of the frames.

    Raises:
        WireError: another version or kind, a field that is missing, of the wrong type or out of bounds, or
            frames that are not what the header says.
    """
    if not 1 <= len(frames) <= FRAMES_MAX:
        raise WireError(f"{len(frames)} frames; a message has 1 to {FRAMES_MAX}")
    if len(frames[0]) > HEADER_BYTES_MAX:
        raise WireError(f"a header of {len(frames[0])} bytes; at most {HEADER_BYTES_MAX} are read")
    try:
        envelope = _ENVELOPE.decode(frames[0])
        if envelope.v != VERSION:
            raise WireError(f"protocol version {envelope.v}; this side speaks version {VERSION}")
        decoder = _DECODERS.get(envelope.kind)
        if decoder is None:
            raise WireError(f"unknown message kind {envelope.kind[:32]!r}")
        message: Message = decoder.decode(frames[0])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        # The library's text may repeat what came, at any length; ours must fit into an answer.
        raise WireError(f"header not understood: {error}"[:REASON_CHARS_MAX]) from None
    return message, _arrays(message.arrays, frames[1:])


def _arrays(specs: tuple[ArraySpec, ...], buffers: Sequence[Buffer]) -> ArrayMap:
    if len(specs) != len(buffers):
        raise WireError(f"the header names {len(specs)} arrays, {len(buffers)} came")
    arrays: ArrayMap = {}
    for spec, buffer in zip(specs, buffers, strict=True):
        if spec.name in arrays:
            raise WireError(f"array {spec.name!r} came twice")
        if len(buffer) != spec.size_bytes:
            raise WireError(
                f"array {spec.name!r} has {len(buffer)} bytes, {spec.dtype} {spec.shape} needs {spec.size_bytes}"
            )
        array = np.frombuffer(buffer, dtype="<" + spec.dtype).reshape(spec.shape)
        array.flags.writeable = False
        arrays[spec.name] = array
    return arrays
