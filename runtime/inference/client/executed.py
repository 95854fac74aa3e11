"""What was really done, for a policy that remembers an episode: commands and key views.

It is told what it does not know yet, which is what was done since the observation that it answered last. If it has lost
its memory, with its connection or by a failure, it is told once more what is still known here, from a view on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import TickBase
from runtime.inference.client.observation import Observation
from runtime.inference.wire import ArrayMap
from runtime.layout import RIG_DOF
from runtime.net.frames import FRAME_BYTES_MAX

TICKS_MAX: Final = 512
"""Policy ticks remembered: ten seconds at 50 Hz, twice the longest that a request may take."""
VIEWS_MAX: Final = 32
"""Key views remembered: 85 MiB of three cameras' 640x480."""


@dataclass(frozen=True)
class KeyView:
    """What was seen at a policy tick."""

    tick: int
    observation: Observation


class ExecutedLog:
    """Commands (14,) by policy tick, and views `key_every` ticks apart (0: none), of one epoch."""

    def __init__(self, base: TickBase, key_every: int) -> None:
        self._base = base
        self._key_every = key_every
        self._commands: dict[int, NDArray[Any]] = {}
        self._views: deque[KeyView] = deque(maxlen=VIEWS_MAX)
        self._told_tick: int | None = None
        self._lost = False

    def begin(self) -> None:
        """Forget everything: an episode begins."""
        self._commands.clear()
        self._views.clear()
        self._told_tick = None
        self._lost = False

    def note(self, command: NDArray[Any]) -> None:
        """Take in a JOINT_COMMAND record; the first of a policy tick, be its beginning skipped, is that tick's."""
        tick = int(command["servo_tick"]) // self._base.ratio
        if tick not in self._commands:
            self._commands[tick] = np.array(command["position"], dtype=np.float32)
            if len(self._commands) > TICKS_MAX:
                del self._commands[min(self._commands)]

    def wants_view(self, tick: int) -> bool:
        """Whether what is seen now, at a policy tick, is to be kept."""
        if not self._key_every or self._told_tick is None:
            return False
        last = max(self._told_tick, self._views[-1].tick) if self._views else self._told_tick
        return tick - last >= self._key_every

    def see(self, tick: int, observation: Observation) -> None:
        """Keep what is seen at a policy tick: copied, for its pictures' places are wanted for newer ones."""
        images = {name: image.copy() for name, image in observation.images.items()}
        self._views.append(KeyView(tick, replace(observation, images=images)))

    def told(self, obs_tick: int) -> None:
        """Note that a request about `obs_tick` was answered: what was done before it is known."""
        self._told_tick = obs_tick
        self._lost = False

    def lost(self) -> None:
        """Note that the policy may have lost its memory: until it answers, it is told all that is known here."""
        self._lost = True

    def until(self, obs_tick: int) -> tuple[int, ArrayMap]:
        """Return the first tick and the arrays of an Infer message for what was done until an observation.

        Nothing, where no request of the epoch has been answered yet. Where it may have lost its memory, the first tick
        is that of a view, from which it can begin again. In a tick that the control process skipped, what had been
        commanded last was held. Of more views than a message carries some are left out.
        """
        first = self._first(obs_tick)
        rows: list[NDArray[Any]] = []
        for tick in range(first, obs_tick):
            held = rows[-1] if rows else self._held(tick)
            rows.append(self._commands.get(tick, held))
        arrays: ArrayMap = {"executed": np.stack(rows) if rows else np.empty((0, RIG_DOF), np.float32)}
        views = _thinned([view for view in self._views if first <= view.tick < obs_tick])
        if views:
            names = views[0].observation.images
            arrays |= {f"key/{name}": np.stack([view.observation.images[name] for view in views]) for name in names}
            arrays["key_state"] = np.stack([view.observation.position for view in views]).astype(np.float32)
            arrays["key_tick"] = np.array([view.tick - first for view in views], dtype=np.int64)
        return first, arrays

    def _held(self, tick: int) -> NDArray[Any]:
        """Return what had been commanded last before a tick, the oldest that is known where nothing had."""
        return self._commands[max((known for known in self._commands if known < tick), default=min(self._commands))]

    def _first(self, obs_tick: int) -> int:
        """Return the first tick that is to be told."""
        if self._told_tick is None or not self._commands:
            return obs_tick
        if not self._lost:
            return self._told_tick
        oldest = min(self._commands)
        return next((view.tick for view in self._views if oldest <= view.tick < obs_tick), obs_tick)


def _thinned(views: list[KeyView]) -> list[KeyView]:
    """Return as many views as go into one frame for each camera: the newest, and others as evenly before it as can be.

    Views of 640x480 are 18 at most.
    """
    sizes_bytes = [image.nbytes for view in views for image in view.observation.images.values()]
    room = FRAME_BYTES_MAX // max(sizes_bytes, default=1)
    if room >= len(views):
        return views
    # From the newest back: of one view that there is room for it is this one.
    kept = np.linspace(len(views) - 1, 0, room).round().astype(int)
    return [views[i] for i in kept[::-1]]
