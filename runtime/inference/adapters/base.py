"""What an adapter is: another project's policy behind one interface, whether it is a server or runs in this process.

A policy server of ours hosts an adapter as it hosts a backend, in its inference thread, so an adapter may wait for its
peer; the rig never does. An adapter speaks for one episode at a time, of one rig.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.errors import LeadtimeError
from runtime.layout import CAMERAS
from runtime.records import CHUNK_STEPS_MAX


class AdapterError(LeadtimeError):
    """A peer refused, failed, was silent or answered what it may not; the text says which, in one line.

    It is for the operator of the rig: it names the peer and what was wrong, never what is behind it.
    """


@dataclass(frozen=True)
class View:
    """What was seen at one moment: `images` uint8 (height, width, 3) RGB by the rig's camera names, of any size.

    `position` float32 (14,) in rad, grippers as fractions (1 open); `velocity` float32 (14,) in rad/s, 1/s.
    """

    images: Mapping[str, NDArray[Any]]
    position: NDArray[np.float32]
    velocity: NDArray[np.float32]


@dataclass(frozen=True)
class Executed:
    """What was really done since the observation of the chunk before: the commands, not the plan.

    `actions` float32 (n, 14), one a step of the card's `rate_hz`, and `key_views`, what was seen on the way, oldest
    first, with `key_ticks` (len(key_views),), the row of `actions` after which each was seen.
    """

    actions: NDArray[np.float32]
    key_views: tuple[View, ...] = ()
    key_ticks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Question:
    """One request for a chunk: the newest view, the instruction, and the plan that runs meanwhile.

    `planned` float32 (n, 14): the actions from the view on, one a step of the card's `rate_hz`, the first `committed`
    of them final. `executed` is None on the first request of an episode. `timeout_s`: later the answer is of no use.
    """

    view: View
    prompt: str
    planned: NDArray[np.float32]
    committed: int
    executed: Executed | None
    timeout_s: float
    seed: int = 0


@dataclass(frozen=True)
class Reply:
    """A chunk: `actions` float32 (horizon, 14), absolute targets in rad and fractions, at the card's `rate_hz`.

    `frames` are predicted pictures, uint8 (n, height, width, 3) by the rig's camera names; `value` the predicted value
    of the state reached, where the model gives one. `timing_ms` what the peer says of its own times.
    """

    actions: NDArray[np.float32]
    frames: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    value: float | None = None
    timing_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What a peer answers with, known once it is open: steps of a chunk, steps meant to be executed, their rate.

    `cameras` are the rig's cameras that it reads, `stateful` whether it remembers an episode (then `Question.executed`
    is filled and its requests are answered in order, none skipped). `key_every` is the distance in its own steps of
    the views in `Executed`, 0 for none.
    """

    name: str
    kind: str
    horizon: int
    execute_steps: int
    rate_hz: int
    cameras: tuple[str, ...]
    stateful: bool = False
    key_every: int = 0
    prefix_max: int = 0


RateHz = Annotated[int, Meta(ge=1, le=1000)]
Steps = Annotated[int, Meta(ge=1, le=CHUNK_STEPS_MAX)]
StepsOrNone = Annotated[int, Meta(ge=0, le=CHUNK_STEPS_MAX)]
"""0 where the peer itself says how many."""


class ChunkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What most peers do not say of the chunks that they answer with; each adapter has its checkpoint's for defaults.

    `execute_steps` 0: the whole chunk.
    """

    name: str
    rate_hz: RateHz
    horizon: StepsOrNone = 0
    execute_steps: StepsOrNone = 0

    def card(self, kind: str, horizon: int | None = None, cameras: tuple[str, ...] = CAMERAS) -> Card:
        """Return the card of a peer whose chunks have `horizon` steps, None for as many as are set."""
        steps = self.horizon if horizon is None else horizon
        return Card(
            name=self.name,
            kind=kind,
            horizon=steps,
            execute_steps=min(self.execute_steps or steps, steps),
            rate_hz=self.rate_hz,
            cameras=cameras,
        )


class Adapter(Protocol):
    """A policy of another project."""

    def open(self, timeout_s: float) -> Card:
        """Connect or load, and say what it answers with; AdapterError if it cannot be reached or does not fit."""

    def reset(self, prompt: str) -> None:
        """Begin an episode: nothing that was seen or done before counts any more. AdapterError if the peer refuses."""

    def infer(self, question: Question) -> Reply:
        """Answer a request. AdapterError in place of any answer that is not whole, finite and of the card's shape.

        After an error the adapter is usable: the next call connects anew if that is needed, and a stateful peer is
        brought back to the episode's beginning by `reset`, which the caller then calls.
        """

    def close(self) -> None:
        """Let go of the peer."""
