"""UVC cameras through PyAV's Video4Linux input, which passes the kernel's own stamps on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.devices import UvcCamera
from runtime.drivers.base import DriverError, Frame
from runtime.drivers.stamps import HOST, LATE_NS, Stamper

POLL_NS: Final = 2 * NS_PER_MS
NONBLOCK: Final = "4"
"""FFmpeg's AVFMT_FLAG_NONBLOCK, which has a number but no name among its options: a silent camera must not hold us."""


def load_av() -> Any:
    """Import PyAV; DriverError where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise DriverError(f"UVC cameras need PyAV: pip install 'leadtime[uvc]' ({error})") from None


class Uvc:
    """One camera, its pictures as RGB; implements `CameraDriver`.

    `source` is FFmpeg's name of the input and `options` its options, by default those of Video4Linux.
    """

    def __init__(
        self,
        name: str,
        config: UvcCamera,
        clock: Clock,
        source: str = "v4l2",
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._config, self._clock, self._source = name, config, clock, source
        self._options = options
        self._container: Any = None
        self._stamper = Stamper(NS_PER_S // config.rate_hz, round(config.delay_ms * NS_PER_MS))
        self._told = ""

    def open(self) -> None:
        """Open the device in the mode of the configuration.

        Raises:
            DriverError: there is no such device, or it has no such mode.
        """
        av = load_av()
        config = self._config
        options = self._options
        if options is None:
            options = {
                "video_size": f"{config.width_px}x{config.height_px}",
                "framerate": str(config.rate_hz),
                "input_format": config.pixels,
                "fflags": NONBLOCK,
            }
        try:
            self._container = av.open(config.device, format=self._source, options=dict(options))
            (self._stream,) = self._container.streams.video[:1]
        except (OSError, ValueError) as error:
            raise DriverError(f"{self._what}: {_line(error)}; stable names are in /dev/v4l/by-id") from None
        size = (self._stream.codec_context.width, self._stream.codec_context.height)
        rate_hz = float(self._stream.average_rate or 0)
        wanted = (config.width_px, config.height_px)
        # Video4Linux takes the nearest mode that there is, without a word.
        if size != wanted or round(rate_hz) not in {0, config.rate_hz}:
            raise DriverError(
                f"{self._what} gives {size[0]}x{size[1]} at {rate_hz:g} Hz in {config.pixels}, not"
                f" {wanted[0]}x{wanted[1]} at {config.rate_hz}: `v4l2-ctl --list-formats-ext` lists its modes"
            )

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        """Return the next frame; DriverError when the camera is unplugged."""
        deadline_ns = self._clock.now_ns() + timeout_ns
        while True:
            frames = self._read()
            if frames:
                return frames
            now_ns = self._clock.now_ns()
            if now_ns >= deadline_ns:
                return ()
            self._clock.sleep_until_ns(min(now_ns + POLL_NS, deadline_ns))

    def close(self) -> None:
        """Let the device go."""
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def _what(self) -> str:
        return f"UVC camera {self._config.device}"

    def _read(self) -> tuple[Frame, ...]:
        frames = []
        try:
            packet = next(self._container.demux(self._stream))
            arrival_ns = self._clock.now_ns()
            for picture in packet.decode():
                stamp = self._stamper.take(*self._stamped(packet, arrival_ns), arrival_ns)
                if stamp is not None:
                    frames.append(Frame(self._name, stamp.t_ns, np.asarray(picture.to_ndarray(format="rgb24"))))
        except BlockingIOError:
            return ()
        except (StopIteration, EOFError):
            raise DriverError(f"{self._what} has ended") from None
        except OSError as error:
            raise DriverError(f"{self._what}: {_line(error)}") from None
        except ValueError:
            # A picture that was damaged on its way; the next is whole.
            return ()
        return tuple(frames)

    def _stamped(self, packet: Any, arrival_ns: int) -> tuple[str, int | None]:
        """Return which clock a packet's stamp is of, and the stamp."""
        clock, device_ns = "its arrival here, which can be a period late", None
        if packet.pts is not None and packet.time_base:
            device_ns = round(packet.pts * packet.time_base * NS_PER_S)
            clock = HOST if self._told == HOST or 0 <= arrival_ns - device_ns <= LATE_NS else "its own clock"
        if clock != self._told:
            self._told = clock
            sys.stderr.write(f"{self._what}: frames are stamped by {clock}\n")
        return clock, device_ns


def _line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
