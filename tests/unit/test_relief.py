"""The second thread of a server: on duty while the first is away, never after it is back, and not silent in failure."""

from __future__ import annotations

import select
import threading

import pytest

from runtime.inference.server.relief import Relief

PATIENCE_S = 10.0


def test_it_takes_turns_while_the_first_thread_is_away_and_at_no_other_time() -> None:
    took, resting = threading.Event(), threading.Event()

    def turn() -> None:
        took.set()
        select.select([relief.fileno()], [], [], PATIENCE_S)
        relief.rest()
        if not relief.on_duty:
            resting.set()

    relief = Relief(turn)
    relief.start()
    try:
        for _ in range(20):
            took.clear()
            resting.clear()
            assert not relief.on_duty
            with relief.duty():
                assert relief.on_duty
                assert took.wait(PATIENCE_S)
            assert not relief.on_duty
            assert resting.wait(PATIENCE_S)
    finally:
        relief.stop()


def test_what_it_fails_at_is_raised_where_the_first_thread_comes_back() -> None:
    failed = threading.Event()

    def turn() -> None:
        failed.set()
        raise ValueError("the socket is gone")

    relief = Relief(turn)
    relief.start()
    try:
        with pytest.raises(ValueError, match="the socket is gone"), relief.duty():
            assert failed.wait(PATIENCE_S)
            relief._thread.join(PATIENCE_S)
    finally:
        relief.stop()


def test_a_thread_that_was_never_needed_ends() -> None:
    relief = Relief(lambda: None)
    relief.start()
    relief.stop()
    assert not relief._thread.is_alive()
