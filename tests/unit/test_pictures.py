"""Pictures of a rig in a model's size: antialiased, in proportion where that is asked for, in the model's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.inference.backends.pictures import Pictures, Place


def test_a_picture_of_the_right_size_is_handed_on_as_it_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    assert Pictures(64, 48).on_host(images) is images


def test_fine_stripes_become_grey_not_stripes() -> None:
    """What a resize without antialiasing would get wrong: every other line is white."""
    stripes = np.zeros((1, 480, 640, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 255
    small = Pictures(64, 48, "stretch").on_host(stripes)
    assert small.shape == (1, 48, 64, 3)
    assert np.abs(small[:, :, 2:-2].astype(int) - 127).max() <= 8


@pytest.mark.parametrize(
    ("resize", "size", "place"),
    [
        ("stretch", (480, 640), Place(0, 0, 224, 224)),
        ("pad", (480, 640), Place(28, 0, 168, 224)),
        ("pad", (640, 480), Place(0, 28, 224, 168)),
        ("pad", (224, 224), Place(0, 0, 224, 224)),
        ("pad", (112, 56), Place(0, 56, 224, 112)),
    ],
)
def test_proportions_are_kept_where_the_rest_is_padded(resize: str, size: tuple[int, int], place: Place) -> None:
    pictures = Pictures(224, 224, resize)
    assert pictures.place(*size) == place
    white = np.full((1, *size, 3), 255, dtype=np.uint8)
    fitted = pictures.on_host(white)[0]
    inside = fitted[place.top : place.top + place.height, place.left : place.left + place.width]
    assert inside.min() == 255
    assert fitted.astype(int).sum() == inside.astype(int).sum()  # black around it


def test_float_pictures_are_channel_first_and_normalised() -> None:
    images = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    images[..., 0] = 255
    seen = Pictures(16, 16, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 1.0)).on_host(images)
    assert seen.shape == (1, 3, 16, 16)
    assert seen.dtype == np.float32
    assert seen.flags.c_contiguous
    assert np.allclose(seen[0].reshape(3, -1).T, [1.0, -0.5, 0.0])


@pytest.mark.parametrize("size", [(16, 16), (48, 64)])
@pytest.mark.parametrize("scale", [{}, {"mean": (0.5, 0.25, 0.0), "std": (0.5, 0.5, 1.0)}])
def test_a_device_gives_them_in_the_order_of_their_shape(size: tuple[int, int], scale: dict[str, tuple[float]]) -> None:
    """An engine is given an address: strides would not reach it."""
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    pictures = Pictures(16, 16, "stretch", **scale)
    seen = pictures.on_device(torch, torch.from_numpy(images))
    assert seen.is_contiguous()
    if size == (16, 16):
        assert np.allclose(seen.numpy(), pictures.on_host(images), atol=1e-6)
