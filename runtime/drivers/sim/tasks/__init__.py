"""The tasks of the simulated rig, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.drivers.sim.task import Task
from runtime.drivers.sim.tasks.balance import Balance
from runtime.drivers.sim.tasks.conveyor import Conveyor
from runtime.drivers.sim.tasks.posts import Posts
from runtime.drivers.sim.tasks.transfer import Transfer

TASKS: Final[dict[str, Callable[[], Task]]] = {
    "transfer": Transfer,
    "conveyor": Conveyor,
    "posts": Posts,
    "balance": Balance,
}
