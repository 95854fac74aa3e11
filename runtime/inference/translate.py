"""Between a rig's units and a model's own numbers: normalised values, actions as differences from the state.

A model that was trained on normalised data answers in it. What its manifest says of that is undone here, around the
model, so it is served as it is; the rig sees radians and fractions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.backends.base import Backend, ModelInputs, ModelOutputs, Streaming
from runtime.layout import GRIPPER_INDEX, RIG_DOF

LEAST_SPREAD: Final = 1e-6
"""Added to every spread, so that a joint that never moved in the data divides by no zero; openpi's own."""
_ARM: Final = np.array([i not in GRIPPER_INDEX for i in range(RIG_DOF)], dtype=np.float64)


@dataclass(frozen=True)
class Affine:
    """Normal values are (physical - `offset`) / `scale`, each of the 14 for itself."""

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of_spread(cls, mean: tuple[float, ...], std: tuple[float, ...]) -> Affine:
        """Zero mean and unit spread."""
        return cls(np.array(mean), np.array(std) + LEAST_SPREAD)

    @classmethod
    def of_quantiles(cls, q01: tuple[float, ...], q99: tuple[float, ...]) -> Affine:
        """The first percentile at -1, the 99th at 1."""
        low, span = np.array(q01), np.array(q99) - np.array(q01) + LEAST_SPREAD
        return cls(low + 0.5 * span, 0.5 * span)

    def normal(self, physical: NDArray[Any]) -> NDArray[np.float64]:
        """Return `physical` (..., 14) as the model sees it."""
        return (physical - self.offset) / self.scale

    def physical(self, normal: NDArray[Any]) -> NDArray[np.float64]:
        """Return the model's numbers (..., 14) in rad and fractions."""
        return normal * self.scale + self.offset


@dataclass(frozen=True)
class Space:
    """A model's own numbers. `delta`: arm joints of actions are relative to the observed state, grippers never."""

    state: Affine | None = None
    velocity: Affine | None = None
    actions: Affine | None = None
    delta: bool = False

    @property
    def physical(self) -> bool:
        """Whether they are the rig's."""
        return self == Space()

    def inward(self, inputs: ModelInputs) -> ModelInputs:
        """Return an observation in the model's numbers; a plan, and what pulls towards it, are actions too."""
        guidance = inputs.guidance
        if guidance is not None:
            guidance = replace(guidance, target=self._to_model(guidance.target, inputs.state))
        return replace(
            inputs,
            state=_normal(self.state, inputs.state),
            velocity=_normal(self.velocity, inputs.velocity),
            prefix=self._to_model(inputs.prefix, inputs.state),
            guidance=guidance,
        )

    def outward(self, actions: NDArray[Any], state: NDArray[Any]) -> NDArray[np.float32]:
        """Return a model's actions (horizon, 14) in rad and fractions, absolute; `state` (14,) as observed."""
        rows = np.asarray(actions, dtype=np.float64)
        if self.actions is not None:
            rows = self.actions.physical(rows)
        if self.delta:
            rows = rows + _ARM * state
        return rows.astype(np.float32)

    def _to_model(self, rows: NDArray[Any], state: NDArray[Any]) -> NDArray[np.float32]:
        moved = rows - _ARM * state if self.delta else rows
        return _normal(self.actions, moved)


def _normal(affine: Affine | None, values: NDArray[Any]) -> NDArray[np.float32]:
    seen = values if affine is None else affine.normal(values)
    return np.asarray(seen, dtype=np.float32)


class Translated:
    """A backend in the rig's units around one in the model's."""

    def __init__(self, backend: Backend, space: Space) -> None:
        self._backend = backend
        self._space = space

    @property
    def provider(self) -> str:
        """What really runs the model."""
        return self._backend.provider

    @property
    def guided(self) -> bool:
        """Whether the model can be pulled towards a plan."""
        return self._backend.guided

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the chunk for one observation, committed rows as they were given."""
        return self._outward(self._backend.infer(self._space.inward(inputs)), inputs)

    def _outward(self, outputs: ModelOutputs, inputs: ModelInputs) -> ModelOutputs:
        actions = self._space.outward(outputs.actions, inputs.state)
        if inputs.guidance is None:
            kept = min(inputs.prefix_len, len(actions))
            actions[:kept] = inputs.prefix[:kept]
        return replace(outputs, actions=actions)


class TranslatedStream(Translated):
    """The same around a model that yields its chunk as it grows."""

    def __init__(self, backend: Streaming, space: Space) -> None:
        super().__init__(backend, space)
        self._parts = backend

    def stream(self, inputs: ModelInputs) -> Iterator[ModelOutputs]:
        """Yield the chunk for one observation as it grows."""
        for outputs in self._parts.stream(self._space.inward(inputs)):
            yield self._outward(outputs, inputs)
