"""A message as it travels: a few frames of bytes, bounded in number and size wherever they are read."""

from __future__ import annotations

from typing import Final

FRAMES_MAX: Final = 17
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
Buffer = bytes | bytearray | memoryview
