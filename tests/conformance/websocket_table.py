"""The systems behind a websocket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.inference.adapters.dreamzero import DreamZero
from runtime.inference.adapters.lingbot_server import served_lingbot_va
from runtime.inference.adapters.lingbot_va import LingBotVaSettings
from runtime.inference.adapters.openpi import OpenPi
from runtime.inference.adapters.poses import DeltaHand
from runtime.inference.adapters.starvla import StarVla, StarVlaSettings
from runtime.inference.adapters.vla_jepa import VlaJepa, VlaJepaSettings
from runtime.inference.adapters.xpolicylab import XPolicyLab
from tests.conformance.emulators import dreamzero, lingbot_va, openpi, starvla, xpolicylab
from tests.conformance.emulators.websocket_peer import MALFORMED, WebsocketPeer
from tests.conformance.franka import franka
from tests.conformance.kinematics import x5_hands
from tests.conformance.suite import Row

STATISTICS = Path(__file__).parent.parent / "data" / "vla_jepa_statistics.json"
IK_TOLERANCE_RAD = 5e-3


def beginnings(peer: Any) -> int:
    """Return how many episodes a peer was told to begin."""
    count: int = peer.protocol.episodes
    return count


ROWS = (
    Row(
        "openpi",
        peer=lambda: WebsocketPeer(openpi.OpenPiProtocol),
        adapter=OpenPi,
        expected=openpi.expected,
        malformed=MALFORMED,
    ),
    Row(
        "lingbot-va",
        peer=lambda: WebsocketPeer(lingbot_va.LingBotVaProtocol),
        adapter=lambda endpoint: served_lingbot_va(endpoint, LingBotVaSettings(), x5_hands()),
        expected=lingbot_va.expected,
        malformed=MALFORMED,
        episodes=beginnings,
        tolerance=IK_TOLERANCE_RAD,
    ),
    Row(
        "vla-jepa",
        peer=lambda: WebsocketPeer(starvla.VlaJepaProtocol),
        adapter=lambda endpoint: VlaJepa(
            endpoint, VlaJepaSettings(statistics=str(STATISTICS), hand=DeltaHand(arm="right")), x5_hands()
        ),
        expected=starvla.expected_vla_jepa,
        malformed=MALFORMED,
        tolerance=IK_TOLERANCE_RAD,
    ),
    Row(
        "starvla",
        peer=lambda: WebsocketPeer(starvla.StarVlaProtocol),
        adapter=lambda endpoint: StarVla(endpoint, StarVlaSettings(state=True)),
        expected=starvla.expected_starvla,
        malformed=MALFORMED,
    ),
    Row(
        "dreamzero",
        peer=lambda: WebsocketPeer(dreamzero.DreamZeroProtocol),
        adapter=lambda endpoint: DreamZero(endpoint, embodiment=franka()),
        expected=dreamzero.expected,
        malformed=MALFORMED,
        episodes=beginnings,
        tolerance=IK_TOLERANCE_RAD,
    ),
    Row(
        "xpolicylab",
        peer=lambda: WebsocketPeer(xpolicylab.XPolicyLabProtocol),
        adapter=XPolicyLab,
        expected=xpolicylab.expected,
        malformed=MALFORMED,
        episodes=beginnings,
    ),
)
