"""Where the next chunk may be waited for: the plan is led into a stop, and then stands there for a while."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.control.timeline import Timeline
from runtime.control.trajectory import Course


def wait(timeline: Timeline, servo_tick: int, ratio: int, wait_ticks: int, stop: Callable[[], Course]) -> None:
    """Plan on, at a servo tick, where the plan is about to end and was waited for by less than `wait_ticks`.

    `stop` plans the quickest stop from where the arms are.
    """
    tick = servo_tick // ratio
    if not tick < timeline.end_tick <= tick + 1:
        return
    waited = timeline.end_tick - timeline.chunks_end_tick
    if waited == 0 and wait_ticks:
        course = stop()
        steps = range(1, course.ticks // ratio + 2)
        tail = np.stack([course.at(step * ratio) for step in steps])
    elif 0 < waited < wait_ticks:
        tail = timeline.rows(tick, 1)
    else:
        return
    timeline.replace(timeline.end_tick, tail, 0, servo_tick)
