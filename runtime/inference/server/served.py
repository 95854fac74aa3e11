"""What a policy server serves: a policy of our own files, or an adapter to another project's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from runtime.inference import wire
from runtime.inference.server.session import Job


@dataclass(frozen=True)
class Answer:
    """A chunk: `actions` float32 (horizon, 14) at the agreed rate; `object_state` float32 (K,) where it is estimated.

    `frames` are predicted pictures, uint8 (n, height, width, 3) by camera, `value` the predicted value, where the model
    gives them. `prepare_ns` is how much of the time was spent on making of the request what the model reads.
    """

    actions: NDArray[Any]
    object_state: NDArray[Any] | None = None
    frames: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    value: float | None = None
    prepare_ns: int = 0


class Served(Protocol):
    """A model that answers requests, one at a time, in the server's inference thread.

    `places` is how many sessions it can have at once, None for as many as the server has. `about` says what runs it and
    how long that takes, `latency_ms` is what clients are told to expect.
    """

    name: str
    about: str
    latency_ms: float
    places: int | None

    def agree(self, hello: wire.Hello) -> wire.Schema:
        """Return what it and a rig agree on; RefusalError where they do not fit."""

    def answers(self, job: Job) -> Iterator[Answer]:
        """Yield the chunk for a request; before it its first rows, as shorter chunks, where they are known sooner.

        Raises:
            WireError: the request is not what was agreed; the text says what is wrong with it.
            AdapterError: another project's server failed; the text says how.
        """

    def close(self) -> None:
        """Let go of what is held elsewhere."""


Load = Callable[[float], Served]
"""Loads and warms up a model, given the median of the latency profile that its answers are held back to, ms."""
