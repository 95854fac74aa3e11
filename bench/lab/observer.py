"""What a policy sees in the lab: the plant at this very moment, with pictures where it reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.render import SceneRenderer
from runtime.inference.backends.base import ModelInputs
from runtime.inference.client.observation import Observation
from runtime.layout import RIG_DOF

Array = NDArray[np.float64]


class Eyes:
    """The cameras of a plant; kept for all its episodes, because a renderer is dear to make."""

    def __init__(self, plant: Plant, cameras: tuple[str, ...], width_px: int, height_px: int) -> None:
        self._plant = plant
        self._cameras = cameras
        self._renderer = SceneRenderer(plant.model, width=width_px, height=height_px)

    def images(self) -> NDArray[Any]:
        """Return uint8 (cameras, height, width, 3) of the plant as it is."""
        return np.stack([self._renderer.render(self._plant.data, camera) for camera in self._cameras])


class Seen:
    """One observation: joints (14,), the objects' state and, where the policy reads them, images."""

    def __init__(self, plant: Plant, eyes: Eyes | None) -> None:
        self.position: Array = plant.position()
        self.velocity: Array = plant.velocity()
        self._objects = None if eyes is not None else plant.task.object_state(plant.model, plant.data)
        self._images = None if eyes is None else eyes.images()

    def inputs(
        self, plan: Array, horizon: int, *, position: Array | None = None, velocity: Array | None = None
    ) -> ModelInputs:
        """Return the model's inputs with the rows (n, 14) of the plan; joints may be replaced by predicted ones."""
        prefix = np.zeros((horizon, RIG_DOF), dtype=np.float32)
        rows = min(len(plan), horizon)
        prefix[:rows] = plan[:rows]
        return ModelInputs(
            images=self._images,
            object_state=self._objects,
            state=(self.position if position is None else position).astype(np.float32),
            velocity=(self.velocity if velocity is None else velocity).astype(np.float32),
            prefix=prefix,
            prefix_len=rows,
        )

    def observation(self, t_ns: int) -> Observation:
        """Return what was seen as a corrector is given it."""
        return Observation(t_ns, {}, self.position, self.velocity, self._objects)


class Observer:
    """Observes a plant for a policy; `eyes` is None for one that reads the objects' state."""

    def __init__(self, plant: Plant, eyes: Eyes | None) -> None:
        self._plant = plant
        self._eyes = eyes

    def look(self) -> Seen:
        """Return what is seen now."""
        return Seen(self._plant, self._eyes)
