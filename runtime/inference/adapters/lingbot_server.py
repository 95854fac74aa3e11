"""LingBot-VA behind its websocket server."""

from __future__ import annotations

from runtime.errors import UsageError
from runtime.inference.adapters.lingbot_hands import HandMoves
from runtime.inference.adapters.lingbot_va import LingBotVa, LingBotVaSettings
from runtime.inference.adapters.packed import PackedPeer
from runtime.inference.adapters.poses import Kinematics


def served_lingbot_va(endpoint: str, settings: LingBotVaSettings, kinematics: Kinematics | None) -> LingBotVa:
    """Return a session with a server; nothing is sent. UsageError for no endpoint, or no arms for its hand poses."""
    if kinematics is None:
        raise UsageError(f"{settings.name} gives poses of two hands; say which arms it drives: arms=MODEL")
    peer = PackedPeer(endpoint, settings.name, settings.api_key)
    return LingBotVa(peer, settings, HandMoves(kinematics, settings.rotations))
