"""Scripted demonstrators, by the name of their task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.drivers.sim.experts.balance import BalanceExpert
from runtime.drivers.sim.experts.conveyor import ConveyorExpert
from runtime.drivers.sim.experts.expert import Expert
from runtime.drivers.sim.experts.posts import PostsExpert
from runtime.drivers.sim.experts.transfer import TransferExpert

EXPERTS: Final[dict[str, Callable[[], Expert]]] = {
    "transfer": TransferExpert,
    "conveyor": ConveyorExpert,
    "posts": PostsExpert,
    "balance": BalanceExpert,
}
