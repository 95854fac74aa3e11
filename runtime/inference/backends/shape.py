"""What a policy says of its model: the named inputs and outputs, their types and shapes, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.backends.base import ModelInputs
from runtime.inference.backends.pictures import Pictures, Resize
from runtime.layout import RIG_DOF

_WITHOUT: Final = {"noise": "noise: false", "velocity": "observation: {velocity: false}"}
"""What a manifest says of a model that does not take an input."""


@dataclass(frozen=True)
class Tensor:
    """Type and shape of one input or output; a dimension that the graph leaves open is -1."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return for instance `float32 (50, 14)`."""
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True)
class GraphSignature:
    """Inputs and outputs of a graph by name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    @property
    def estimate(self) -> str | None:
        """The first output beside the actions: what the model makes of the objects."""
        return next((name for name in self.outputs if name != "actions"), None)


@dataclass(frozen=True)
class GraphShape:
    """What a policy says of a graph: number and size of images, length of the object state, horizon, its kind.

    `resize`, `pixel_mean` and `pixel_std` as in `runtime.inference.backends.pictures`.
    """

    cameras: int
    height_px: int
    width_px: int
    object_state: int
    velocity: bool
    horizon: int
    prefix: bool
    noise: bool = True
    guided: bool = False
    resize: Resize = "none"
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None

    @property
    def pictures(self) -> Pictures:
        """What the graph reads of each camera."""
        return Pictures(self.width_px, self.height_px, self.resize, self.pixel_mean, self.pixel_std)

    def inputs(self) -> dict[str, Tensor]:
        """Return the inputs that such a graph must have."""
        chunk = Tensor("float32", (self.horizon, RIG_DOF))
        vector = Tensor("float32", (RIG_DOF,))
        table = {"state": vector}
        if self.noise:
            table["noise"] = chunk
        if self.cameras and self.pictures.scaled:
            table["images"] = Tensor("float32", (self.cameras, 3, self.height_px, self.width_px))
        elif self.cameras:
            table["images"] = Tensor("uint8", (self.cameras, self.height_px, self.width_px, 3))
        if self.object_state:
            table["object_state"] = Tensor("float32", (self.object_state,))
        if self.velocity:
            table["velocity"] = vector
        if self.guided:
            scalar = Tensor("float32", ())
            table |= {"target": chunk, "mask": Tensor("float32", (self.horizon,)), "jacobian": scalar, "beta": scalar}
        elif self.prefix:
            table |= {"prefix": chunk, "prefix_len": Tensor("int64", ())}
        return table


def values(inputs: ModelInputs) -> dict[str, Any]:
    """Return an observation by the names of a graph's inputs; the images as the cameras gave them."""
    table: dict[str, Any] = {
        "images": inputs.images,
        "object_state": inputs.object_state,
        "state": inputs.state,
        "velocity": inputs.velocity,
        "prefix": inputs.prefix,
        "prefix_len": np.int64(inputs.prefix_len),
        "noise": inputs.noise,
    }
    guidance = inputs.guidance
    if guidance is not None:
        table |= {
            "target": guidance.target,
            "mask": guidance.mask,
            "jacobian": np.float32(guidance.jacobian),
            "beta": np.float32(guidance.beta),
        }
    return table


def fill(buffers: Mapping[str, NDArray[Any]], given: Mapping[str, Any]) -> None:
    """Copy what was given into buffers of the same names.

    Raises:
        ValueError: something is missing, or of another type or shape than its buffer.
    """
    for name, buffer in buffers.items():
        array = np.asarray(given[name])
        if array.shape != buffer.shape or array.dtype != buffer.dtype:
            have, need = (Tensor(str(each.dtype), each.shape) for each in (array, buffer))
            raise ValueError(f"input {name!r} is {have}; the model reads {need}")
        np.copyto(buffer, array)


def check_signature(path: Path, signature: GraphSignature, shape: GraphShape) -> None:
    """Refuse a graph that does not fit what its policy says.

    Raises:
        UsageError: an input or output is missing, unknown or of another type or shape; one line.
    """
    check_inputs(path, signature.inputs, shape)
    actions = Tensor("float32", (shape.horizon, RIG_DOF))
    have = signature.outputs.get("actions")
    if have != actions:
        raise UsageError(f"{path}: output 'actions' is {have or 'missing'}; this rig and policy need {actions}")
    if signature.estimate is not None:
        estimate = signature.outputs[signature.estimate]
        if estimate.dtype != "float32" or -1 in estimate.shape:
            raise UsageError(f"{path}: output {signature.estimate!r} is {estimate}; it needs float32 of a fixed shape")


def check_inputs(path: Path, have: Mapping[str, Tensor | None], shape: GraphShape) -> None:
    """Refuse a graph whose inputs are not those that its policy says.

    Raises:
        UsageError: one is missing, unknown or of another type or shape; one line.
    """
    wanted = shape.inputs()
    for name, tensor in wanted.items():
        if have.get(name) is None:
            without = f", or '{_WITHOUT[name]}' in the manifest" if name in _WITHOUT else ""
            raise UsageError(f"{path}: the graph has no input {name!r}; it needs {name} {tensor}{without}")
        if have[name] != tensor:
            raise UsageError(f"{path}: input {name!r} is {have[name]}; this rig and policy need {tensor}")
    for name in have:
        if name not in wanted:
            raise UsageError(f"{path}: input {name!r} is not of a policy graph; known: {', '.join(wanted)}")
