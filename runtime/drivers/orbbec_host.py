"""The other end of the Orbbec driver: a program for the interpreter of the environment that has pyorbbecsdk.

    python orbbec_host.py SERIAL WIDTH HEIGHT RATE

It needs the standard library, numpy and pyorbbecsdk, and nothing of this project. On its standard output it writes
messages: a little-endian header of length and kind, one byte, then the body. `R`: ready; `E`: a line of text that says
why it ends; `F`: a frame, three i64 (stamp of the device in us or -1, of the system in us, monotonic time of arrival
in ns) and the RGB picture.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from typing import Any

HEADER = struct.Struct("<Ic")
FRAME = struct.Struct("<qqq")
READY, FRAME_KIND, ERROR = b"R", b"F", b"E"
WAIT_MS = 100


class Pipe:
    """The standard output, for messages alone: what libraries print goes to the standard error."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        os.dup2(2, 1)

    def send(self, kind: bytes, *parts: bytes | memoryview) -> None:
        """Write one message."""
        data = memoryview(b"".join([HEADER.pack(sum(map(len, parts)), kind), *parts]))
        while data:
            data = data[os.write(self._fd, data) :]


def find(context: Any, serial: str) -> Any:
    """Return the device of a serial number."""
    plugged = context.query_devices()
    devices = [plugged.get_device_by_index(i) for i in range(plugged.get_count())]
    serials = [device.get_device_info().get_serial_number() for device in devices]
    if serial not in serials:
        raise LookupError(f"is not plugged in; there are: {', '.join(serials) or 'none'}")
    return devices[serials.index(serial)]


def start(sdk: Any, device: Any, width: int, height: int, rate: int) -> Any:
    """Start the colour stream as RGB; return the pipeline."""
    pipeline = sdk.Pipeline(device)
    profiles = pipeline.get_stream_profile_list(sdk.OBSensorType.COLOR_SENSOR)
    try:
        profile = profiles.get_video_stream_profile(width, height, sdk.OBFormat.RGB, rate)
    except Exception as error:
        raise LookupError(f"has no RGB mode of {width}x{height} at {rate} Hz ({error})") from error
    config = sdk.Config()
    config.enable_stream(profile)
    pipeline.start(config)
    return pipeline


class Watch:
    """Whether the camera was unplugged: without frames, the package itself says nothing."""

    def __init__(self, context: Any, serial: str) -> None:
        self._serial = serial
        self.gone = False
        context.set_device_changed_callback(self._changed)

    def _changed(self, removed: Any, _added: Any) -> None:
        serials = [removed.get_device_serial_number_by_index(i) for i in range(removed.get_count())]
        self.gone = self.gone or self._serial in serials


def serve(pipe: Pipe, pipeline: Any, size: int, watch: Watch) -> None:
    """Send frames until the reader is gone; LookupError when the camera is."""
    reader = os.getppid()
    while True:
        if watch.gone:
            raise LookupError("was unplugged")
        frames = pipeline.wait_for_frames(WAIT_MS)
        color = frames.get_color_frame() if frames is not None else None
        if color is None:
            if os.getppid() != reader:
                return
            continue
        arrival_ns = time.monotonic_ns()
        data = memoryview(color.get_data()).cast("B")
        if len(data) == size:
            stamps = FRAME.pack(_stamp(color, "get_timestamp_us"), _stamp(color, "get_system_timestamp_us"), arrival_ns)
            pipe.send(FRAME_KIND, stamps, data)


def _stamp(frame: Any, name: str) -> int:
    read = getattr(frame, name, None)
    return int(read()) if read is not None else -1


def main() -> int:
    """Serve one camera; 0 when the reader went away, 1 after an error."""
    pipe = Pipe()
    serial, width, height, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    try:
        import pyorbbecsdk as sdk  # noqa: PLC0415

        context = sdk.Context()
        pipeline = start(sdk, find(context, serial), width, height, rate)
        watch = Watch(context, serial)
        pipe.send(READY)
        serve(pipe, pipeline, 3 * width * height, watch)
    except BrokenPipeError:
        return 0
    except Exception as error:
        pipe.send(ERROR, " ".join(str(error).split())[:1000].encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
