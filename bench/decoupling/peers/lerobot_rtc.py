"""LeRobot's real-time chunking: its `ActionQueue` and `LatencyTracker`, driven as its example script drives them.

The classes are its own. The two loops around them are in no installed package (examples/rtc/eval_with_real_robot.py
of LeRobot v0.4.4): what they decide is restated here, their 0.1 s of sleep between two looks at the queue included.
The chunk itself is guided by the policy's sampler, which is told what LeRobot's policies are told.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch

from bench.decoupling.peers.base import POLICY_HZ, Array, Infer, Query
from bench.decoupling.peers.lerobot_import import lerobot_rtc

ASK_AT: Final = 30
"""A chunk is asked for when the queue holds no more actions: `action_queue_size_to_get_new_actions`."""
GUIDED_TICKS: Final = 10
"""`execution_horizon`: leftover actions that guide the next chunk."""
IDLE_TICKS: Final = POLICY_HZ // 10
"""Between two looks at a queue that is full enough."""
_ROUNDING: Final = 1e-6


class RtcPeer:
    """One queue with its inference loop. The delay it forecasts is the longest so far, as LeRobot's is.

    A look at the queue falls right before the tick's action is taken, so that the leftover begins with it. A lost
    answer raises in LeRobot's inference loop and ends the program.
    """

    blocking = False

    def __init__(self, infer: Infer) -> None:
        lerobot = lerobot_rtc()
        self._infer = infer
        self._queue = lerobot.queue.ActionQueue(
            lerobot.configuration.RTCConfig(enabled=True, execution_horizon=GUIDED_TICKS)
        )
        self._latencies = lerobot.latency.LatencyTracker()
        self._look_tick = 0
        self._asked: tuple[Query, int] | None = None
        self._under_way: Array | None = None
        self._ended = False

    def step(self, tick: int, state: Array) -> Array | None:  # noqa: ARG002
        """Look at the queue if it is time to, then take the tick's action from it."""
        if self._ended:
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

    def lose(self, tick: int) -> None:  # noqa: ARG002
        """End the program."""
        self._ended = True

    def _look(self, tick: int) -> None:
        if self._asked is not None or tick < self._look_tick:
            return
        if self._queue.qsize() > ASK_AT:
            self._look_tick = tick + IDLE_TICKS
            return
        left = self._queue.get_left_over()
        delay_ticks = math.ceil(self._latencies.max() * POLICY_HZ - _ROUNDING)
        leftover = None if left is None else left.numpy().astype(np.float64)
        query = Query(tick, leftover, delay_ticks, 0 if leftover is None else min(GUIDED_TICKS, len(leftover)))
        self._asked = query, self._queue.get_action_index()
