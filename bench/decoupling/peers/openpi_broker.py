"""openpi's `ActionChunkBroker`, called once a tick as openpi's runtime loop does.

The class is its own; replaced is the websocket policy inside it, whose `infer` waits for the answer. Here it raises
instead while there is none, which leaves the broker as it was: the call of the tick at which the answer is there is
the one that returns. The observation is that of the tick at which the loop began to wait.
"""

from __future__ import annotations

import importlib
from typing import Any

from bench.decoupling.peers.base import Array, Infer, Query


class _WaitingError(Exception):
    """The loop stands in `infer`."""


class _Policy:
    """The policy inside the broker: what the loop waits for, and what has arrived."""

    def __init__(self) -> None:
        self.asked_tick: int | None = None
        self.arrived: Array | None = None

    def infer(self, obs: dict[str, Any]) -> dict[str, Array]:
        """Return the chunk that has arrived, or wait for it."""
        if self.arrived is None:
            if self.asked_tick is None:
                self.asked_tick = obs["tick"]
            raise _WaitingError
        chunk, self.arrived, self.asked_tick = self.arrived, None, None
        return {"actions": chunk}


class BrokerPeer:
    """Plays `execute` actions of each chunk, then stands still until the next is there.

    A lost answer is waited for until the end of the episode: openpi's client has no deadline.
    """

    blocking = True

    def __init__(self, infer: Infer, execute: int) -> None:
        self._infer = infer
        self._policy = _Policy()
        module = importlib.import_module("openpi_client.action_chunk_broker")
        self._broker = module.ActionChunkBroker(self._policy, execute)
        self._under_way: Array | None = None
        self._busy = False

    def step(self, tick: int, state: Array) -> Array | None:
        """Return the action of this tick, None while the loop waits."""
        try:
            action: Array = self._broker.infer({"state": state, "tick": tick})["actions"]
        except _WaitingError:
            return None
        return action

    def begin(self, tick: int) -> bool:  # noqa: ARG002
        """Take up the observation for which the loop waits."""
        if self._busy or self._policy.asked_tick is None:
            return False
        self._under_way = self._infer(Query(self._policy.asked_tick))
        self._busy = True
        return True

    def deliver(self, tick: int) -> None:  # noqa: ARG002
        """Let `infer` return at the next step."""
        self._policy.arrived, self._under_way = self._under_way, None
        self._busy = False

    def lose(self, tick: int) -> None:  # noqa: ARG002
        """Leave the loop waiting."""
        self._under_way = None
