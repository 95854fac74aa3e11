"""Reading what a peer answered: whole, finite and of the shape it must have, or an error that says what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.base import AdapterError
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import CHUNK_STEPS_MAX

LARGEST: Final = 1e30
"""What is larger is no angle, length or fraction in any unit, and too much for the float32 that it becomes."""
Refuse = Callable[[str], AdapterError]


def mapping(message: Any, refuse: Refuse) -> Mapping[str, Any]:
    """Return an answer that is a map; raises what `refuse` makes of any other."""
    if not isinstance(message, dict):
        raise refuse(f"answered a {type(message).__name__}, not a map")
    return message


def numbers(value: Any, name: str, shape: tuple[int | None, ...], refuse: Refuse) -> NDArray[np.float64]:
    """Return float64 numbers of a shape, None in it for any length; raises what `refuse` makes of any other."""
    if not isinstance(value, np.ndarray | list | tuple):
        raise refuse(f"answered without {name!r}" if value is None else f"answered {name!r} that is no array")
    try:
        # Some patterns of bits that are no number are told of when they are turned into float64.
        with np.errstate(invalid="ignore"):
            array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise refuse(f"answered {name!r} that is no array of numbers") from None
    wanted = "x".join("n" if length is None else str(length) for length in shape)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise refuse(f"answered {name!r} of shape {array.shape}; {wanted} is needed")
    if not (np.abs(array) <= LARGEST).all():
        raise refuse(f"answered {name!r} with NaN, infinity or more than {LARGEST:.0e}")
    return array


def chunk(value: Any, horizon: int, refuse: Refuse) -> NDArray[np.float64]:
    """Return the rows (n, 14) of a chunk of `horizon` steps, any 1 to `CHUNK_STEPS_MAX` for 0; see `numbers`."""
    rows = numbers(value, "actions", (horizon or None, RIG_DOF), refuse)
    if not 1 <= len(rows) <= CHUNK_STEPS_MAX:
        raise refuse(f"answered a chunk of {len(rows)} steps; 1 to {CHUNK_STEPS_MAX} are taken")
    return rows


def as_targets(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return rows (n, 14) as float32 targets, the grippers kept between closed (0) and open (1)."""
    targets = rows.astype(np.float32)
    targets[:, GRIPPER_INDEX] = np.clip(targets[:, GRIPPER_INDEX], 0.0, 1.0)
    return targets


def timings(*parts: Any) -> dict[str, float]:
    """Return the numbers of some maps, up to `LARGEST`, as milliseconds by name; anything else in them is left out."""
    found: dict[str, float] = {}
    for part in parts:
        if isinstance(part, dict):
            for name, value in part.items():
                if isinstance(name, str) and isinstance(value, int | float) and abs(value) <= LARGEST:
                    found[name[:64]] = float(value)
    return found
