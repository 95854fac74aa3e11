"""The page of a rig's calibration: every estimate with its date and residual, self-contained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from calibration.store import Calibration
from runtime.console import page

ROOMS: Final = {
    "zero": "Joint zeros",
    "gripper": "Grippers",
    "intrinsics": "Cameras",
    "mount": "Where the cameras are",
    "delay": "From a command to its motion",
}


def build_page(calibration: Calibration) -> str:
    """Return the page as HTML."""
    count = sum(len(getattr(calibration, room)) for room in ROOMS)
    head = page.header(calibration.rig, "calibration", f"{count} estimates", "good" if count else "warm")
    blocks = [page.section(title, page.table(_rows(calibration, room))) for room, title in ROOMS.items()]
    return page.page(f"calibration of {calibration.rig}", [head, *blocks])


def _rows(calibration: Calibration, room: str) -> Iterator[tuple[str, str, str]]:
    for name, estimate in getattr(calibration, room).items():
        for key, value in msgspec.to_builtins(estimate).items():
            yield name, key, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return ", ".join(_shown(part) if not isinstance(part, list) else f"[{_shown(part)}]" for part in value)
    return str(value)
