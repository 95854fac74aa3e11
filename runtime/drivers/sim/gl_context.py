"""An offscreen OpenGL context: EGL first, then OSMesa, or one line that says what to install."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final, Protocol, cast

from runtime.errors import LeadtimeError

_BACKENDS: Final[dict[str, str]] = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa"}
_REMEDY: Final = "install a headless OpenGL: apt-get install libegl1 libgl1-mesa-dri (EGL), or libosmesa6 (OSMesa)"
_PLATFORM_KEY: Final = "PYOPENGL_PLATFORM"


class RenderUnavailable(LeadtimeError):  # noqa: N818 - a state of the machine that callers may live with
    """No offscreen OpenGL on this machine: run with joint state only, or install what the message names."""


class GlContext(Protocol):
    """An offscreen OpenGL context of one thread."""

    def make_current(self) -> None:
        """Bind the context to the calling thread."""

    def free(self) -> None:
        """Destroy the context."""


def open_gl_context(width: int, height: int) -> GlContext:
    """Open a context by the first backend that works; MUJOCO_GL=egl or osmesa narrows the choice to one.

    Raises RenderUnavailable with every backend's reason and the packages to install.
    """
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    names = (wanted,) if wanted in _BACKENDS else tuple(_BACKENDS)
    reasons = []
    for name in names:
        try:
            with _clean_slate_on_failure(_BACKENDS[name]):
                module = import_module(_BACKENDS[name])
                context = cast(GlContext, module.GLContext(width, height))
                context.make_current()
        except Exception as error:
            reasons.append(f"{name}: {_first_line(error)}")
        else:
            return context
    raise RenderUnavailable(f"no offscreen OpenGL ({'; '.join(reasons)}); {_REMEDY}")


@contextmanager
def _clean_slate_on_failure(module_name: str) -> Iterator[None]:
    # PyOpenGL binds to one platform at its first import; the next backend needs it unbound again.
    before = os.environ.get(_PLATFORM_KEY)
    try:
        yield
    except Exception:
        if before is None:
            os.environ.pop(_PLATFORM_KEY, None)
        for name in [n for n in sys.modules if n.split(".")[0] == "OpenGL" or n == module_name]:
            del sys.modules[name]
        raise


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0] if lines else type(error).__name__
