"""Pictures as JPEG for a slow link: on the wire `jpeg/CAMERA`, the file's bytes in rows, zeros after its end."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.wire import ArrayMap, WireError
from runtime.net.frames import FRAME_BYTES_MAX

INSTALLED: Final = importlib.util.find_spec("simplejpeg") is not None
QUALITY: Final = 85
ROW_BYTES: Final = 4096
PREFIX: Final = "jpeg/"
IMAGE: Final = "image/"
_HELPER: Final = ThreadPoolExecutor(1, "jpeg")


def encode_pictures(pictures: Mapping[str, NDArray[Any]]) -> ArrayMap:
    """Return uint8 (height, width, 3) by `image/CAMERA` as JPEG by `jpeg/CAMERA`."""
    files: ArrayMap = {}
    _share(lambda name: files.__setitem__(name, _encode(pictures[name])), pictures)
    return {PREFIX + name.removeprefix(IMAGE): files[name] for name in pictures}


def decode_pictures(arrays: ArrayMap) -> ArrayMap:
    """Return the arrays of a request with its JPEG as `image/CAMERA`, those of one size in one buffer.

    Raises:
        WireError: one is no whole JPEG, or its picture is larger than what may travel raw.
    """
    files = {name: array for name, array in arrays.items() if name.startswith(PREFIX)}
    if not files:
        return arrays
    if not INSTALLED:
        raise WireError("pictures as JPEG, and simplejpeg is not installed here")
    shapes = [_shape(name, rows) for name, rows in files.items()]
    if len(set(shapes)) == 1:
        buffers = list(np.empty((len(shapes), *shapes[0]), dtype=np.uint8))
    else:
        buffers = [np.empty(shape, dtype=np.uint8) for shape in shapes]
    pictures = dict(zip(files, buffers, strict=True))
    _share(lambda name: _decode(name, files[name], pictures[name]), files)
    opened = {name: array for name, array in arrays.items() if name not in files}
    return opened | {IMAGE + name.removeprefix(PREFIX): picture for name, picture in pictures.items()}


def _share(work: Callable[[str], None], names: Iterable[str]) -> None:
    """Do some work for each name in this thread, and in a second one as long as there is something left to do.

    On a host whose cores are all busy the second may begin when everything is done: nothing waits for it then.
    """
    left = iter(names)
    helped = _HELPER.submit(_work_off, work, left)
    _work_off(work, left)
    if not helped.cancel():
        helped.result()


def _work_off(work: Callable[[str], None], left: Iterator[str]) -> None:
    # An iterator over a dict gives each name to one of the threads: `next` is one step of the interpreter.
    for name in left:
        work(name)


def _encode(picture: NDArray[Any]) -> NDArray[np.uint8]:
    file = _simplejpeg().encode_jpeg(np.ascontiguousarray(picture), QUALITY, "RGB", "420", True)
    rows = np.zeros((-(-len(file) // ROW_BYTES), ROW_BYTES), dtype=np.uint8)
    rows.reshape(-1)[: len(file)] = np.frombuffer(file, dtype=np.uint8)
    return rows


def _shape(name: str, rows: NDArray[Any]) -> tuple[int, int, int]:
    try:
        height, width, _, _ = _simplejpeg().decode_jpeg_header(rows.tobytes())
    except ValueError:
        raise WireError(f"array {name!r} is no JPEG") from None
    if height * width * 3 > FRAME_BYTES_MAX:
        raise WireError(f"array {name!r} is a picture of {width}x{height}, too large to be taken")
    return height, width, 3


def _decode(name: str, rows: NDArray[Any], buffer: NDArray[Any]) -> None:
    try:
        _simplejpeg().decode_jpeg(rows.tobytes(), "RGB", fastdct=True, fastupsample=True, buffer=buffer)
    except ValueError:
        raise WireError(f"array {name!r} is no whole JPEG") from None


def _simplejpeg() -> Any:
    return importlib.import_module("simplejpeg")
