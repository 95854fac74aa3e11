"""Pictures brought to what a model reads: their size by an antialiased resize, their numbers by mean and spread.

A camera of a rig rarely has the size that a model was trained on. `stretch` fills the model's picture, `pad` keeps the
proportions and leaves the rest black, centred, as openpi's `resize_with_pad` does; both are bilinear and antialiased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Resize = Literal["none", "stretch", "pad"]
BRIGHTEST: Final = 255.0


@dataclass(frozen=True)
class Place:
    """Where in the model's picture the camera's picture lies, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Pictures:
    """What a model reads of each camera.

    With `mean` and `std` (3,), of RGB in 0..1, float32 (3, height, width) that are (value / 255 - mean) / std;
    without, uint8 (height, width, 3).
    """

    width_px: int
    height_px: int
    resize: Resize = "none"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def scaled(self) -> bool:
        """Whether the model reads float pictures."""
        return self.mean is not None

    def place(self, height: int, width: int) -> Place:
        """Return where a camera's picture of this size lies."""
        if self.resize != "pad":
            return Place(0, 0, self.height_px, self.width_px)
        shrink = max(width / self.width_px, height / self.height_px)
        inner_h, inner_w = max(int(height / shrink), 1), max(int(width / shrink), 1)
        return Place((self.height_px - inner_h) // 2, (self.width_px - inner_w) // 2, inner_h, inner_w)

    def _fits(self, height: int, width: int) -> bool:
        """Whether a picture has the model's size already; ValueError where it may not be resized."""
        fits = (height, width) == (self.height_px, self.width_px)
        if not fits and self.resize == "none":
            raise ValueError(f"pictures of {width}x{height}; the model reads {self.width_px}x{self.height_px}")
        return fits

    def on_host(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return uint8 (cameras, h, w, 3) as the model reads them.

        Raises:
            ValueError: they have another size and are not to be resized.
        """
        return self._scale(self._fit(images))

    def _fit(self, images: NDArray[Any]) -> NDArray[Any]:
        count, height, width = images.shape[:3]
        if self._fits(height, width):
            return images
        at = self.place(height, width)
        fitted = np.zeros((count, self.height_px, self.width_px, 3), dtype=np.uint8)
        for image, target in zip(images, fitted, strict=True):
            small = Image.fromarray(image).resize((at.width, at.height), Image.Resampling.BILINEAR)
            target[at.top : at.top + at.height, at.left : at.left + at.width] = np.asarray(small)
        return fitted

    def _scale(self, images: NDArray[Any]) -> NDArray[Any]:
        if self.mean is None or self.std is None:
            return images
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        scaled = (images / np.float32(BRIGHTEST) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def on_device(self, torch: Any, images: Any) -> Any:
        """Return the same of a tensor, computed on the device that holds it; contiguous, for who reads its memory."""
        count, height, width = images.shape[:3]
        fits = self._fits(height, width)
        if fits and not self.scaled:
            return images
        planes = images.to(torch.float32).permute(0, 3, 1, 2)
        if not fits:
            at = self.place(height, width)
            small = torch.nn.functional.interpolate(
                planes, size=(at.height, at.width), mode="bilinear", align_corners=False, antialias=True
            )
            # Whole grey levels, as the host gives them.
            whole = small.round().clamp(0.0, BRIGHTEST)
            planes = torch.zeros((count, 3, self.height_px, self.width_px), device=images.device)
            planes[:, :, at.top : at.top + at.height, at.left : at.left + at.width] = whole
        if self.mean is None or self.std is None:
            return planes.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
        mean, std = (
            torch.stack([torch.full((), value, device=images.device) for value in values])[:, None, None]
            for values in (self.mean, self.std)
        )
        # What is computed element by element keeps the order in memory of what it is computed from.
        return ((planes / BRIGHTEST - mean) / std).contiguous()
