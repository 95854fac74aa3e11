"""Pictures as JPEG for a slow link: on the wire `jpeg/CAMERA`, the file's bytes in rows, zeros after its end.

Key views are a file each, all with as many rows as the longest: `jpeg-key/CAMERA` (views, rows, bytes). A file is a
baseline JPEG of one scan, as encoders write it unless told otherwise: of a progressive one each further scan is a few
bytes to send and a pass over the whole picture to decode, which nothing in the library bounds.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.inference.wire import ArrayMap, WireError
from runtime.net.frames import FRAME_BYTES_MAX

INSTALLED: Final = importlib.util.find_spec("simplejpeg") is not None
QUALITY: Final = 85
ROW_BYTES: Final = 4096
PREFIX: Final = "jpeg/"
KEY_PREFIX: Final = "jpeg-key/"
IMAGE: Final = "image/"
KEY: Final = "key/"
SEGMENTS_MAX: Final = 64
"""Segments before the picture itself: a plain file has about eight."""
_START_OF_FRAME, _START_OF_SCAN = 0xC0, 0xDA
_SEGMENTS: Final = frozenset((_START_OF_FRAME, 0xC4, _START_OF_SCAN, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))
"""Second bytes of the markers that a baseline file has before its scan (ITU T.81, table B.1), each with a length."""
_HELPER: Final = ThreadPoolExecutor(1, "jpeg")
T = TypeVar("T")


def encode_pictures(pictures: Mapping[str, NDArray[Any]]) -> ArrayMap:
    """Return pictures as JPEG, u1 (height, width, 3) by `image/CAMERA` and (k, height, width, 3) by `key/CAMERA`."""
    images = {name: picture for name, picture in pictures.items() if name.startswith(IMAGE)}
    files: ArrayMap = {}
    _share(lambda name: files.__setitem__(name, _encode(images[name])), images)
    coded = {PREFIX + name.removeprefix(IMAGE): files[name] for name in images}
    stacks = {name: views for name, views in pictures.items() if name.startswith(KEY)}
    return coded | {KEY_PREFIX + name.removeprefix(KEY): _encode_views(views) for name, views in stacks.items()}


def decode_pictures(arrays: ArrayMap, cameras: Collection[str]) -> ArrayMap:
    """Return the arrays of a request with its JPEG as `encode_pictures` was given it, images of one size in one buffer.

    Pictures of other cameras than these stay as they came: nobody reads them.

    Raises:
        WireError: one is no whole baseline JPEG, an array holds more than may travel raw, or views differ in size.
    """
    files = {name: array for name, array in arrays.items() if _camera(name, PREFIX) in cameras}
    stacks = {name: array for name, array in arrays.items() if _camera(name, KEY_PREFIX) in cameras}
    if not files and not stacks:
        return arrays
    if not INSTALLED:
        raise WireError("pictures as JPEG, and simplejpeg is not installed here")
    opened = {name: array for name, array in arrays.items() if name not in files and name not in stacks}
    opened |= {IMAGE + name.removeprefix(PREFIX): picture for name, picture in _decode_images(files).items()}
    return opened | {KEY + name.removeprefix(KEY_PREFIX): _decode_views(name, rows) for name, rows in stacks.items()}


def _camera(name: str, prefix: str) -> str | None:
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def _decode_images(files: ArrayMap) -> ArrayMap:
    shapes = [_shape(name, rows) for name, rows in files.items()]
    if len(set(shapes)) == 1:
        buffers = list(np.empty((len(shapes), *shapes[0]), dtype=np.uint8))
    else:
        buffers = [np.empty(shape, dtype=np.uint8) for shape in shapes]
    pictures = dict(zip(files, buffers, strict=True))
    _share(lambda name: _decode(name, files[name], pictures[name]), files)
    return pictures


def _encode_views(views: NDArray[Any]) -> NDArray[np.uint8]:
    files: dict[int, NDArray[np.uint8]] = {}
    _share(lambda i: files.__setitem__(i, _encode(views[i])), range(len(views)))
    rows = np.zeros((len(views), max(map(len, files.values())), ROW_BYTES), dtype=np.uint8)
    for i, file in files.items():
        rows[i, : len(file)] = file
    return rows


def _decode_views(name: str, files: NDArray[Any]) -> NDArray[np.uint8]:
    shapes = {_shape(name, rows) for rows in files} if files.ndim == 3 else set()
    if len(shapes) != 1:
        raise WireError(f"array {name!r} is no stack of JPEG of one size")
    shape = shapes.pop()
    if len(files) * math.prod(shape) > FRAME_BYTES_MAX:
        raise WireError(f"array {name!r} is {len(files)} pictures of {shape[1]}x{shape[0]}, too large to be taken")
    views = np.empty((len(files), *shape), dtype=np.uint8)
    _share(lambda i: _decode(name, files[i], views[i]), range(len(files)))
    return views


def _share(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Do some work for each item in this thread, and in a second one as long as there is something left to do.

    On a host whose cores are all busy the second may begin when everything is done: nothing waits for it then.
    """
    left = iter(items)
    helped = _HELPER.submit(_work_off, work, left)
    _work_off(work, left)
    if not helped.cancel():
        helped.result()


def _work_off(work: Callable[[T], None], left: Iterator[T]) -> None:
    # An iterator over a dict or a range gives each item to one of the threads: `next` is one step of the interpreter.
    for item in left:
        work(item)


def _encode(picture: NDArray[Any]) -> NDArray[np.uint8]:
    file = _simplejpeg().encode_jpeg(np.ascontiguousarray(picture), QUALITY, "RGB", "420", True)
    rows = np.zeros((-(-len(file) // ROW_BYTES), ROW_BYTES), dtype=np.uint8)
    rows.reshape(-1)[: len(file)] = np.frombuffer(file, dtype=np.uint8)
    return rows


def _shape(name: str, rows: NDArray[Any]) -> tuple[int, int, int]:
    file = rows.tobytes()
    try:
        height, width, _, _ = _simplejpeg().decode_jpeg_header(file)
    except ValueError:
        raise WireError(f"array {name!r} is no JPEG") from None
    if not _one_scan(file):
        raise WireError(f"array {name!r} is no baseline JPEG of one scan")
    if height * width * 3 > FRAME_BYTES_MAX:
        raise WireError(f"array {name!r} is a picture of {width}x{height}, too large to be taken")
    return height, width, 3


def _one_scan(file: bytes) -> bool:
    """Whether a JPEG is baseline and all its components are in its first scan, which is the only one that is read."""
    at, components = 2, -1
    for _ in range(SEGMENTS_MAX):
        head = file[at : at + 10]
        if len(head) < 10 or head[0] != 0xFF or head[1] not in _SEGMENTS:
            return False
        if head[1] == _START_OF_SCAN:
            return head[4] == components
        if head[1] == _START_OF_FRAME:
            components = head[9]
        at += 2 + int.from_bytes(head[2:4], "big")
    return False


def _decode(name: str, rows: NDArray[Any], buffer: NDArray[Any]) -> None:
    try:
        _simplejpeg().decode_jpeg(rows.tobytes(), "RGB", fastdct=True, fastupsample=True, buffer=buffer)
    except ValueError:
        raise WireError(f"array {name!r} is no whole JPEG") from None


def _simplejpeg() -> Any:
    return importlib.import_module("simplejpeg")
