"""Promises of the real-time set-up: what a process takes of a core it gives back before it ends."""

from __future__ import annotations

import os

import pytest

from runtime import realtime


def test_a_process_that_ends_is_back_with_the_ordinary_scheduler() -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        granted = realtime.set_fifo(1)
        before = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
        realtime.leave()
        after = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
        os.write(writer, bytes((granted, before, after)))
        os._exit(0)
    os.wait()
    granted, before, after = os.read(reader, 3)
    os.close(reader)
    os.close(writer)
    if not granted:
        pytest.skip("SCHED_FIFO is not permitted here")
    assert (before, after) == (os.SCHED_FIFO, os.SCHED_OTHER)
