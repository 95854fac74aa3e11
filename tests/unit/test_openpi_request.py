"""What an openpi client sends is what the policy was trained to read."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.inference.adapters.pictures import padded
from runtime.inference.policy import load_policy
from runtime.inference.server.openpi_request import model_inputs
from tests.process.serving import TINY


def seen(resize: Literal["none", "stretch", "pad"], image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return what a policy that resizes so reads of a picture of each camera."""
    manifest = load_policy(str(TINY)).manifest
    manifest = msgspec.structs.replace(
        manifest, observation=msgspec.structs.replace(manifest.observation, resize=resize, width_px=64, height_px=32)
    )
    images = dict.fromkeys(manifest.observation.cameras, image.transpose(2, 0, 1))
    read = model_inputs({"images": images, "state": np.zeros(14, np.float32)}, manifest, horizon=50).images
    assert read is not None
    assert read.shape == (len(images), 32, 64, 3)
    return np.asarray(read[0])


def test_a_picture_has_the_proportions_of_the_training() -> None:
    white = np.full((128, 64, 3), 255, np.uint8)
    assert seen("stretch", white).min() == 255
    for resize in ("none", "pad"):
        assert np.array_equal(seen(resize, white), padded(white, 32, 64))


@pytest.mark.parametrize("size", [(1, 4096), (4096, 1)])
def test_of_a_picture_like_a_line_something_is_left(size: tuple[int, int]) -> None:
    assert seen("pad", np.full((*size, 3), 255, np.uint8)).max() == 255
