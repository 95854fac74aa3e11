"""What an openpi client sends, read as a policy of ours reads it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.openpi_codec import CodecError, unpack
from runtime.inference.backends.base import ModelInputs
from runtime.inference.backends.pictures import Pictures
from runtime.inference.policy import ANY_TASK, PolicyManifest
from runtime.layout import RIG_DOF

PICTURE_PX_MAX: Final = 4096


class BadRequestError(Exception):
    """A request is not what it must be; the text is for the client."""


def read_observation(message: bytes | str) -> Mapping[Any, Any]:
    """Return the map of a message; BadRequestError for anything else."""
    if isinstance(message, str):
        raise BadRequestError("a text; an observation is one packed map")
    try:
        observation = unpack(message)
    except CodecError as error:
        raise BadRequestError(str(error)) from None
    if not isinstance(observation, dict):
        raise BadRequestError("no map; an observation has 'state', 'images' and 'prompt'")
    return observation


def task_of(observation: Mapping[Any, Any], tasks: Collection[str]) -> str:
    """Return the task that the prompt means: its name, the one for all others, or the only one there is.

    Raises:
        BadRequestError: it means none.
    """
    prompt = observation.get("prompt")
    if isinstance(prompt, str) and prompt in tasks:
        return prompt
    if ANY_TASK in tasks:
        return ANY_TASK
    if len(tasks) == 1:
        return next(iter(tasks))
    raise BadRequestError(f"'prompt' names no task of this policy; its tasks: {', '.join(tasks)}")


def model_inputs(observation: Mapping[Any, Any], manifest: PolicyManifest, horizon: int) -> ModelInputs:
    """Return the arrays of an observation; pictures of another size than the policy's are brought to it.

    They are stretched where its manifest says so, and otherwise have borders, as openpi's own client makes them.

    `horizon` is that of its chunks. `velocity` (14,) is taken where it is sent, which openpi's own clients do not, else
    the arms are taken to stand.

    Raises:
        BadRequestError: the state or a picture that the policy reads is missing, of another shape or type, or not
            finite.
    """
    seen = manifest.observation
    images = observation.get("images")
    found = images if isinstance(images, dict) else {}
    pictures = np.zeros((len(seen.cameras), seen.height_px, seen.width_px, 3), dtype=np.uint8)
    fit = Pictures(seen.width_px, seen.height_px, "stretch" if seen.resize == "stretch" else "pad")
    for i, name in enumerate(seen.cameras):
        pictures[i] = fit.on_host(_picture(found.get(name), name)[None])[0]
    velocity = observation.get("velocity")
    return ModelInputs(
        images=pictures,
        object_state=None,
        state=_row(observation.get("state"), "state"),
        velocity=np.zeros(RIG_DOF, np.float32) if velocity is None else _row(velocity, "velocity"),
        prefix=np.zeros((horizon, RIG_DOF), dtype=np.float32),
        prefix_len=0,
    )


def _row(value: Any, name: str) -> NDArray[np.float32]:
    try:
        # What does not fit into float32 is infinite there, and refused as such.
        with np.errstate(over="ignore", invalid="ignore"):
            row = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise BadRequestError(f"{name!r} is no row of numbers") from None
    if row.shape != (RIG_DOF,):
        raise BadRequestError(f"{name!r} has shape {row.shape}; ({RIG_DOF},) is needed")
    if not np.isfinite(row).all():
        raise BadRequestError(f"{name!r} holds NaN or infinity")
    return row


def _picture(value: Any, name: str) -> NDArray[np.uint8]:
    """Return a picture (height, width, 3) in bytes: from that or (3, height, width), bytes or 0 to 1."""
    if not isinstance(value, np.ndarray):
        raise BadRequestError(f"no picture of camera {name!r} in 'images'")
    if value.ndim != 3 or 3 not in (value.shape[0], value.shape[2]):
        raise BadRequestError(f"picture {name!r} has shape {value.shape}; (3, height, width) is needed")
    image = value.transpose(1, 2, 0) if value.shape[0] == 3 else value
    if not all(1 <= side <= PICTURE_PX_MAX for side in image.shape[:2]):
        raise BadRequestError(f"picture {name!r} has a side that is not from 1 to {PICTURE_PX_MAX} pixels")
    if image.dtype.kind == "f":
        image = (255 * np.clip(np.nan_to_num(image), 0.0, 1.0)).astype(np.uint8)
    if image.dtype != np.uint8:
        raise BadRequestError(f"picture {name!r} is of {image.dtype.str}; uint8 is needed")
    return np.asarray(image)
