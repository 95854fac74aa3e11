"""What the lab asks of another project's chunk execution, whatever it is inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POLICY_HZ: Final = 50
"""The rate at which a peer is stepped; its own frame rate is set to it."""


@dataclass(frozen=True)
class Query:
    """What a peer asks of its policy: the chunk whose first action belongs to the observation of `obs_tick`.

    A peer that conditions on the plan adds `leftover` (n, 14), the planned actions from `obs_tick` on. The first
    `guided_ticks` of them shall guide the chunk, `delay_ticks` of these in full.
    """

    obs_tick: int
    leftover: Array | None = None
    delay_ticks: int = 0
    guided_ticks: int = 0


Infer = Callable[[Query], Array]
"""The policy: the chunk (H, 14) that answers a query. Called from within `Peer.begin`."""


class Peer(Protocol):
    """One episode of a peer's client and server, in one thread. It never waits and reads no clock but `tick`.

    Every policy tick, in rising order: `deliver` (or `lose`) if an answer is due by now, `step`, then `begin` if no
    answer is under way. With no delay at all the answer is delivered at once after `begin`, and a blocking peer that
    had nothing is stepped again.
    """

    @property
    def blocking(self) -> bool:
        """Whether its control loop stands still while it waits for its policy."""

    def step(self, tick: int, state: Array) -> Array | None:
        """Run one pass of the control loop with the measured `state` (14,), rad and gripper fractions.

        Returns the commanded action (14,), or None: the peer sends nothing, the arms keep their last command.
        """

    def begin(self, tick: int) -> bool:
        """Let the policy take up what waits for it, the answer to be delivered later. False: nothing waits."""

    def deliver(self, tick: int) -> None:
        """Let the answer under way arrive."""

    def lose(self, tick: int) -> None:
        """Let the answer under way never arrive."""
