"""The simulated cameras: render the newest published scene, stamped with the time it shows."""

from __future__ import annotations

import mujoco
import numpy as np

from runtime.board import Board
from runtime.clock import NS_PER_MS, Clock
from runtime.drivers.base import Frame
from runtime.drivers.sim.plant import set_state_vector
from runtime.drivers.sim.render import SceneRenderer
from runtime.drivers.sim.scene import build_model
from runtime.drivers.sim.tasks import TASKS


class SimCameras:
    """All simulated cameras of a rig behind one renderer; implements `CameraDriver`.

    Raises RenderUnavailable from `open` where the host has no OpenGL.
    """

    def __init__(self, board: Board, clock: Clock, names: tuple[str, ...]) -> None:
        self._board = board
        self._clock = clock
        self._names = names
        self._config = board.spec.rig.cameras[names[0]]
        self._last_t_ns = -1

    def open(self) -> None:
        """Build the scene and its OpenGL context."""
        spec = self._board.spec
        self._model = build_model(spec.rig.arms["left"].model, TASKS[spec.task]())
        self._data = mujoco.MjData(self._model)
        self._renderer = SceneRenderer(
            self._model, width=self._config.width_px, height=self._config.height_px, look="fast"
        )

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        """Render every camera from the newest scene; empty when it was rendered before."""
        deadline_ns = self._clock.now_ns() + timeout_ns
        scene = self._board["scene"].latest()
        while scene is None or scene["t_ns"] == self._last_t_ns:
            if self._clock.now_ns() >= deadline_ns:
                return ()
            self._clock.sleep_until_ns(self._clock.now_ns() + NS_PER_MS)
            scene = self._board["scene"].latest()
        self._last_t_ns = int(scene["t_ns"])
        set_state_vector(self._model, self._data, np.array(scene["state"]))
        return tuple(Frame(name, self._last_t_ns, self._renderer.render(self._data, name)) for name in self._names)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
