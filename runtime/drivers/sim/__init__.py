"""The simulated rig: MuJoCo physics and pictures behind the driver interface of real hardware."""

from __future__ import annotations

import os
from typing import Final

_GL_KEY: Final = "MUJOCO_GL"

# `import mujoco` loads the OpenGL that MUJOCO_GL names and dies where it is missing. Physics needs none, and
# `gl_context` opens one later with a fallback and a remedy: keep the import neutral and the wish as it was.
_wish = os.environ.get(_GL_KEY)
os.environ[_GL_KEY] = "disable"
try:
    import mujoco  # noqa: F401
finally:
    if _wish is None:
        del os.environ[_GL_KEY]
    else:
        os.environ[_GL_KEY] = _wish
