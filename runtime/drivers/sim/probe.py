"""Whether this host can render the simulated cameras, found out in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = (
    "from runtime.drivers.sim.gl_context import RenderUnavailable, open_gl_context\n"
    "try:\n"
    "    open_gl_context(16, 16).free()\n"
    "except RenderUnavailable as error:\n"
    "    raise SystemExit(str(error))\n"
)


def rendering_obstacle() -> str | None:
    """Return why nothing can be rendered, in one line with its remedy; None where rendering works.

    OpenGL drivers that go wrong can end the process they start in, so another one is risked.
    """
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"OpenGL ended its process (exit status {done.returncode})"
