"""Procedural textures: the rig ships no picture files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def _smooth_noise(rng: np.random.Generator, rows: int, columns: int, size: int) -> NDArray[np.float64]:
    """Bilinear value noise in 0..1, shape (size, size), from a rows x columns lattice."""
    lattice = rng.random((rows + 1, columns + 1))
    y = np.linspace(0.0, rows, size, endpoint=False)
    x = np.linspace(0.0, columns, size, endpoint=False)
    yi, xi = y.astype(int), x.astype(int)
    fy, fx = (y - yi)[:, None], (x - xi)[None, :]
    top = lattice[np.ix_(yi, xi)] * (1 - fx) + lattice[np.ix_(yi, xi + 1)] * fx
    bottom = lattice[np.ix_(yi + 1, xi)] * (1 - fx) + lattice[np.ix_(yi + 1, xi + 1)] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


def wood_texture(size: int = 512, planks: int = 6) -> Pixels:
    """Warm oak planks along x, shape (size, size, 3)."""
    rng = np.random.default_rng(7)
    rows = np.arange(size)
    plank = rows * planks // size
    grain = _smooth_noise(rng, 160, 5, size) * 0.6 + _smooth_noise(rng, 40, 3, size) * 0.4
    figure = 0.5 + 0.5 * np.sin(2 * np.pi * (9 * _smooth_noise(rng, 12, 2, size) + rows[:, None] / size * 18))
    tone = rng.uniform(-0.05, 0.05, planks)[plank][:, None]
    shade = 0.86 + 0.16 * grain + 0.05 * figure + tone
    seam = (rows * planks % size) < planks * 1.5
    shade = np.where(seam[:, None], shade * 0.72, shade)
    colour = np.array([196.0, 150.0, 104.0])
    return np.asarray(np.clip(shade[..., None] * colour, 0, 255), dtype=np.uint8)


def floor_texture(size: int = 128) -> Pixels:
    """Light concrete tiles with a thin joint, shape (size, size, 3)."""
    rng = np.random.default_rng(11)
    shade = 0.92 + 0.08 * _smooth_noise(rng, 16, 16, size) + 0.04 * rng.random((size, size))
    joint = np.arange(size) < 1
    shade[joint, :] *= 0.9
    shade[:, joint] *= 0.9
    colour = np.array([150.0, 154.0, 160.0])
    return np.asarray(np.clip(shade[..., None] * colour, 0, 255), dtype=np.uint8)
