"""Pictures of a simulated rig, offscreen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.arm_builder import DETAIL_GROUP
from runtime.drivers.sim.gl_context import RenderUnavailable, open_gl_context
from runtime.errors import unknown_name

__all__ = ["Look", "RenderUnavailable", "SceneRenderer"]

Look = Literal["fast", "rich"]

_MAX_GEOMS: Final = 400


@dataclass(frozen=True)
class _Quality:
    samples: int
    slices: int
    stacks: int
    quads: int
    lights: int
    effects: bool


_QUALITY: Final[dict[Look, _Quality]] = {
    "fast": _Quality(samples=0, slices=12, stacks=6, quads=2, lights=2, effects=False),
    "rich": _Quality(samples=4, slices=32, stacks=16, quads=8, lights=8, effects=True),
}


class SceneRenderer:
    """Renders a model's cameras into RGB arrays of one size.

    `look="fast"` is for policy cameras: no shadows, reflections, anti-aliasing or detail shapes; `look="rich"` is
    for people. Belongs to the thread that made it; close it when done.

    Raises RenderUnavailable where neither EGL nor OSMesa works, UsageError for an unknown look or camera.
    """

    def __init__(self, model: mujoco.MjModel, *, width: int, height: int, look: Look = "fast") -> None:
        if look not in _QUALITY:
            raise unknown_name("look", look, _QUALITY)
        quality = _QUALITY[look]
        self._model = model
        self._lights = quality.lights
        self._cameras = {model.camera(i).name: i for i in range(model.ncam)}
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._pixels: NDArray[np.uint8] = np.empty((height, width, 3), dtype=np.uint8)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[DETAIL_GROUP] = quality.effects
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._gl = open_gl_context(width, height)
        with _visual_quality(model, quality, width, height):
            self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
            self._context: Any = _render_context(model)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        for flag in (
            mujoco.mjtRndFlag.mjRND_SHADOW,
            mujoco.mjtRndFlag.mjRND_REFLECTION,
            mujoco.mjtRndFlag.mjRND_HAZE,
        ):
            self._scene.flags[flag] = quality.effects

    def render(self, data: mujoco.MjData, camera: str) -> NDArray[np.uint8]:
        """Render one camera of a posed `data`; a new array, shape (height, width, 3), RGB, first row on top."""
        if camera not in self._cameras:
            raise unknown_name("camera", camera, self._cameras)
        self._camera.fixedcamid = self._cameras[camera]
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        self._scene.nlight = min(self._scene.nlight, self._lights)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        return self._pixels[::-1].copy()

    def close(self) -> None:
        """Free the OpenGL objects; the renderer is unusable afterwards. Safe to call twice."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = None
            self._gl.free()

    def __enter__(self) -> SceneRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _render_context(model: mujoco.MjModel) -> mujoco.MjrContext:
    try:
        return mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    except mujoco.FatalError as error:
        raise RenderUnavailable(
            f"MuJoCo cannot use the OpenGL it found ({error}); choose another: MUJOCO_GL=egl or MUJOCO_GL=osmesa"
        ) from error


@contextmanager
def _visual_quality(model: mujoco.MjModel, quality: _Quality, width: int, height: int) -> Iterator[None]:
    # MuJoCo reads these once, when the context is made; the model belongs to the caller, so put them back.
    visual, buffer = model.vis.quality, model.vis.global_
    wanted = (
        (visual, "offsamples", quality.samples),
        (visual, "numslices", quality.slices),
        (visual, "numstacks", quality.stacks),
        (visual, "numquads", quality.quads),
        (buffer, "offwidth", width),
        (buffer, "offheight", height),
    )
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    for owner, name, value in wanted:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
