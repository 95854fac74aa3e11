"""A recording in place of a camera: JPEGs of an MCAP file, again and again, with fresh stamps."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import msgspec
import numpy as np
import simplejpeg
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader
from numpy.typing import NDArray
from PIL import Image

from runtime.blackbox import parts
from runtime.channels import CAMERA_TOPICS
from runtime.clock import NS_PER_S, Clock
from runtime.devices import RecordedCamera
from runtime.drivers.base import DriverError, Frame

BYTES_MAX: Final = 1 << 30
"""Of JPEGs that are kept in memory: an hour of a black box's, minutes of a camera's own."""
JPEG_BEGIN: Final = b"\xff\xd8\xff"
JPEG_END: Final = b"\xff\xd9"


class Recorded:
    """One topic of a recording; implements `CameraDriver`.

    The next picture comes each period of the camera's rate, whatever the recording's was: a black box keeps five a
    second. Pictures of another size with the same proportions are scaled.
    """

    def __init__(self, name: str, config: RecordedCamera, clock: Clock) -> None:
        self._name, self._config, self._clock = name, config, clock
        self._period_ns = NS_PER_S // config.rate_hz
        self._jpegs: list[bytes] = []
        self._next = 0
        self._due_ns = 0

    def open(self) -> None:
        """Read the recording.

        Raises:
            DriverError: there is none, it has no such topic, or its pictures have other proportions.
        """
        topics: set[str] = set()
        size = 0
        for topic, data in _messages(self._files()):
            topics.add(topic)
            if topic in {self._config.topic, CAMERA_TOPICS + self._config.topic}:
                jpeg = _jpeg(data)
                size += len(jpeg)
                if size > BYTES_MAX:
                    raise DriverError(f"{self._what} has more than {BYTES_MAX >> 20} MiB of pictures: cut it")
                if jpeg:
                    self._jpegs.append(jpeg)
        if not self._jpegs:
            found = ", ".join(sorted(topics)) or "nothing"
            raise DriverError(f"{self._what} has no JPEGs in topic {self._config.topic!r}; it has: {found}")
        self._picture(0)
        self._due_ns = self._clock.now_ns()

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        """Return the next picture when it is due, stamped with that time."""
        now_ns = self._clock.now_ns()
        self._clock.sleep_until_ns(min(self._due_ns, now_ns + timeout_ns))
        now_ns = self._clock.now_ns()
        if now_ns < self._due_ns:
            return ()
        # Pictures that nobody came for are skipped.
        missed = (now_ns - self._due_ns) // self._period_ns
        t_ns = self._due_ns + missed * self._period_ns
        image = self._picture(self._next + missed)
        self._next += missed + 1
        self._due_ns = t_ns + self._period_ns
        return (Frame(self._name, t_ns, image),)

    def close(self) -> None:
        """Forget the recording."""
        self._jpegs = []

    @property
    def _what(self) -> str:
        return f"recording {self._config.file}"

    def _files(self) -> list[Path]:
        path = Path(self._config.file)
        files = parts(path) if path.is_dir() else [path] if path.is_file() else []
        if not files:
            raise DriverError(f"{self._what}: neither an .mcap file nor the folder of a run")
        return files

    def _picture(self, index: int) -> NDArray[np.uint8]:
        jpeg = self._jpegs[index % len(self._jpegs)]
        try:
            image: NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg, "RGB")
        except ValueError as error:
            raise DriverError(f"{self._what}: picture {index % len(self._jpegs)} is no JPEG: {error}") from None
        height, width = image.shape[:2]
        wanted = (self._config.width_px, self._config.height_px)
        if (width, height) == wanted:
            return image
        if width * wanted[1] != height * wanted[0]:
            raise DriverError(f"{self._what} has pictures of {width}x{height}: width_px and height_px must be alike")
        return np.asarray(Image.fromarray(image).resize(wanted, Image.Resampling.BILINEAR))


def _messages(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield topic and data of all that is whole; a file without an end is read up to its cut."""
    for file in files:
        with file.open("rb") as stream:
            yield from _whole(stream)


def _whole(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    channels: dict[int, Channel] = {}
    try:
        for item in StreamReader(stream, validate_crcs=True).records:
            if isinstance(item, Channel):
                channels[item.id] = item
            elif isinstance(item, Message):
                yield channels[item.channel_id].topic, item.data
    except (McapError, zstandard.ZstdError, struct.error, ValueError, KeyError):
        return


def _jpeg(data: bytes) -> bytes:
    """Return the JPEG of a message: in base64 of a JSON message, or as it is in one of ROS or Protobuf."""
    if data.startswith(b"{"):
        try:
            data = base64.b64decode(msgspec.json.decode(data)["data"])
        except (ValueError, KeyError, TypeError, msgspec.DecodeError):
            return b""
    begin, end = data.find(JPEG_BEGIN), data.rfind(JPEG_END)
    return data[begin : end + len(JPEG_END)] if 0 <= begin < end else b""
