"""LeRobot's real-time chunking: its `ActionQueue` and `LatencyTracker`, driven as its own loops drive them.

The classes are its own. What the two loops around them decide is restated here, their sleep between two looks at the
queue included: LeRobot 0.4 has them in an example alone (examples/rtc/eval_with_real_robot.py), 0.6 in a thread of its
rollout (lerobot/rollout/inference/rtc.py). The chunk itself is guided by the policy's sampler, which is told what
LeRobot's policies are told; where 0.6 fills a leftover of less than `GUIDED_TICKS` up with zeros, it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

import numpy as np
import torch

from bench.decoupling.peers.base import POLICY_HZ, Array, Infer, Query
from bench.decoupling.peers.lerobot_import import lerobot_rtc

ASK_AT: Final = 30
"""A chunk is asked for when the queue holds no more actions: `action_queue_size_to_get_new_actions`."""
GUIDED_TICKS: Final = 10
"""`execution_horizon`: leftover actions that guide the next chunk."""
_ROUNDING: Final = 1e-6


@dataclass(frozen=True)
class Loop:
    """A release's inference loop.

    `idle_ticks` are between two looks at a queue that is full enough, `retry_ticks` between a lost answer, which is an
    error, and the next look; `losses_max` of them in a row end the program.
    """

    idle_ticks: int
    losses_max: int
    retry_ticks: int


EXAMPLE: Final = Loop(idle_ticks=POLICY_HZ // 10, losses_max=1, retry_ticks=0)
ROLLOUT: Final = Loop(idle_ticks=1, losses_max=10, retry_ticks=POLICY_HZ // 2)


class RtcPeer:
    """One queue with its inference loop. The delay it forecasts is the longest so far, as LeRobot's is.

    A look at the queue falls right before the tick's action is taken, so that the leftover begins with it.
    """

    blocking = False

    def __init__(self, infer: Infer) -> None:
        lerobot = lerobot_rtc()
        self._infer = infer
        self._loop = EXAMPLE if find_spec("lerobot.rollout") is None else ROLLOUT
        self._queue = lerobot.queue.ActionQueue(
            lerobot.configuration.RTCConfig(enabled=True, execution_horizon=GUIDED_TICKS)
        )
        self._latencies = lerobot.latency.LatencyTracker()
        self._look_tick = 0
        self._asked: tuple[Query, int] | None = None
        self._under_way: Array | None = None
        self._losses = 0

    def step(self, tick: int, state: Array) -> Array | None:  # noqa: ARG002
        """Look at the queue if it is time to, then take the tick's action from it."""
        if self._losses >= self._loop.losses_max:
            return None
        self._look(tick)
        action = self._queue.get()
        return None if action is None else action.numpy().astype(np.float64)

    def begin(self, tick: int) -> bool:  # noqa: ARG002
        """Take up what the last look at the queue asked for."""
        if self._asked is None or self._under_way is not None:
            return False
        self._under_way = self._infer(self._asked[0])
        return True

    def deliver(self, tick: int) -> None:
        """Merge the chunk into the queue and note how long it took."""
        if self._asked is None or self._under_way is None:
            raise RuntimeError("no answer is under way")
        (query, index), actions = self._asked, torch.from_numpy(np.asarray(self._under_way, dtype=np.float32))
        # LeRobot rounds up, and no answer takes no time.
        delay_ticks = max(tick - query.obs_tick, 1)
        self._latencies.add(delay_ticks / POLICY_HZ)
        self._queue.merge(actions, actions, delay_ticks, index)
        self._asked = self._under_way = None
        self._losses = 0

    def lose(self, tick: int) -> None:
        """Note an error: the program has ended, or looks again a while later."""
        self._asked = self._under_way = None
        self._losses += 1
        self._look_tick = tick + self._loop.retry_ticks

    def _look(self, tick: int) -> None:
        if self._asked is not None or tick < self._look_tick:
            return
        if self._queue.qsize() > ASK_AT:
            self._look_tick = tick + self._loop.idle_ticks
            return
        left = self._queue.get_left_over()
        delay_ticks = math.ceil(self._latencies.max() * POLICY_HZ - _ROUNDING)
        leftover = None if left is None else left.numpy().astype(np.float64)
        query = Query(tick, leftover, delay_ticks, 0 if leftover is None else min(GUIDED_TICKS, len(leftover)))
        self._asked = query, self._queue.get_action_index()
