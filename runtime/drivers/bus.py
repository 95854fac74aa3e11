"""The name of an emulated bus, by which a driver finds the emulator of its device."""

from __future__ import annotations

import hashlib

from runtime.layout import Side


def bus_name(run_dir: str, side: Side) -> str:
    """Return the name of a run's emulated bus, the same in the emulator and in the driver."""
    return f"leadtime-{hashlib.sha256(run_dir.encode()).hexdigest()[:16]}-{side}"
