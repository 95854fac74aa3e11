"""The peers by name, and which of them can be run here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import numpy as np

from bench.decoupling.peers.base import Array, Infer, Peer, Query
from runtime.layout import RIG_DOF

LEROBOT: Final = "lerobot"
OPENPI: Final = "openpi-client"
OPENPI_EXECUTES: Final = 25
"""Actions of a chunk that openpi's examples for ALOHA execute (`action_horizon`)."""
INSTALL: Final = "pip install -e '.[peers]' && pip install --no-deps lerobot==0.4.4 openpi-client==0.1.2"
"""Without their own requirements: openpi-client's ask for numpy below 2, LeRobot's for more than is imported here."""


@dataclass(frozen=True)
class PeerKind:
    """A way another project executes chunks: what of it is run, from which `distribution`.

    `make` builds one episode's peer from the policy and its chunk length; it raises ImportError where the distribution
    is missing.
    """

    name: str
    distribution: str
    runs: str
    make: Callable[[Infer, int], Peer]

    @property
    def source(self) -> str:
        """Return the package, its installed version and what of it is run."""
        return f"{self.distribution} {version(self.distribution)}: {self.runs}"

    @property
    def missing(self) -> str | None:
        """Return what keeps the peer from being run here, None if nothing does."""
        try:
            self.make(_stand_still, 1)
        except ImportError as error:
            return f"{self.name} is left out: {error}; install it: {INSTALL}"
        return None


def _stand_still(_query: Query) -> Array:
    return np.zeros((1, RIG_DOF))


def _lerobot(aggregate: str, unit: str) -> Callable[[Infer, int], Peer]:
    def make(infer: Infer, horizon: int) -> Peer:
        module = importlib.import_module("bench.decoupling.peers.lerobot_async")
        peer: Peer = module.AsyncPeer(infer, horizon, aggregate, module.UNITS[unit])
        return peer

    return make


def _lerobot_rtc(infer: Infer, _horizon: int) -> Peer:
    peer: Peer = importlib.import_module("bench.decoupling.peers.lerobot_rtc").RtcPeer(infer)
    return peer


def _openpi(execute: int | None) -> Callable[[Infer, int], Peer]:
    def make(infer: Infer, horizon: int) -> Peer:
        module = importlib.import_module("bench.decoupling.peers.openpi_broker")
        peer: Peer = module.BrokerPeer(infer, horizon if execute is None else min(execute, horizon))
        return peer

    return make


_ASYNC: Final = "RobotClient and PolicyServer"
_KINDS: Final = (
    PeerKind("lerobot", LEROBOT, f"{_ASYNC}, weighted_average", _lerobot("weighted_average", "deg")),
    PeerKind("lerobot-latest-only", LEROBOT, f"{_ASYNC}, latest_only", _lerobot("latest_only", "deg")),
    PeerKind("lerobot-average", LEROBOT, f"{_ASYNC}, average", _lerobot("average", "deg")),
    PeerKind("lerobot-conservative", LEROBOT, f"{_ASYNC}, conservative", _lerobot("conservative", "deg")),
    PeerKind("lerobot-rad", LEROBOT, f"{_ASYNC}, weighted_average, state in rad", _lerobot("weighted_average", "rad")),
    PeerKind("lerobot-rtc", LEROBOT, "ActionQueue and LatencyTracker, loops as in its own", _lerobot_rtc),
    PeerKind("openpi", OPENPI, f"ActionChunkBroker, {OPENPI_EXECUTES} actions", _openpi(OPENPI_EXECUTES)),
    PeerKind("openpi-whole-chunk", OPENPI, "ActionChunkBroker, all actions", _openpi(None)),
)
PEERS: Final[dict[str, PeerKind]] = {kind.name: kind for kind in _KINDS}
