"""What a backend is: something that turns one observation into one chunk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from numpy.typing import NDArray

ENTRY_POINT: Final = re.compile(r"(?P<module>[A-Za-z_]\w*):(?P<function>[A-Za-z_]\w*)")
"""What names a function of a Python file in a policy's folder."""


@dataclass(frozen=True)
class Guidance:
    """What pulls a chunk towards the running plan while it is denoised (arXiv 2506.07339).

    `target` float32 (horizon, 14) is the plan, `mask` float32 (horizon,) how much each row counts. `jacobian`: the
    true vector-Jacobian product, else the identity in its place. `beta` is the largest weight.
    """

    target: NDArray[Any]
    mask: NDArray[Any]
    jacobian: bool
    beta: float


@dataclass(frozen=True)
class ModelInputs:
    """One observation as the model reads it.

    `images` uint8 (cameras, height, width, 3), of the rig's size, or None; `object_state` float32 (K,) or None;
    `state` and `velocity` float32 (14,); `prefix` float32 (horizon, 14), its first `prefix_len` rows planned;
    `noise` float32 (horizon, 14), None until a sampler draws it and for a model that is given none. With `guidance`
    the chunk is pulled towards the plan and not begun with the prefix.
    """

    images: NDArray[Any] | None
    object_state: NDArray[Any] | None
    state: NDArray[Any]
    velocity: NDArray[Any]
    prefix: NDArray[Any]
    prefix_len: int
    noise: NDArray[Any] | None = None
    guidance: Guidance | None = None


@dataclass(frozen=True)
class ModelOutputs:
    """One chunk: `actions` float32 (horizon, 14); `object_state` float32 (K,) where the model estimates it.

    A part of one has fewer rows, the first.
    """

    actions: NDArray[Any]
    object_state: NDArray[Any] | None


class Backend(Protocol):
    """A loaded model, used by one thread."""

    @property
    def provider(self) -> str:
        """What really runs the model."""

    @property
    def guided(self) -> bool:
        """Whether the model can be pulled towards a plan."""

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the chunk for one observation.

        Raises:
            UsageError: guidance from a model that was not loaded for it.
        """


@runtime_checkable
class Streaming(Backend, Protocol):
    """A model that knows the first actions of a chunk before the rest: it writes them one after the other."""

    def stream(self, inputs: ModelInputs) -> Iterator[ModelOutputs]:
        """Yield the chunk as it grows, its first rows and then more of them, and at last the whole.

        What was yielded is not taken back: the rows of a part are those of the whole.
        """
