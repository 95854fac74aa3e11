"""What a stateful policy is told: what was commanded, tick by tick, and what was seen on the way, until it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.clock import TickBase
from runtime.inference import wire
from runtime.inference.client import executed
from runtime.inference.client.executed import TICKS_MAX, ExecutedLog
from runtime.inference.client.observation import Observation
from runtime.net.frames import FRAME_BYTES_MAX
from runtime.records import JOINT_COMMAND
from runtime.shm import blank

BASE = TickBase(t0_ns=0, servo_hz=200, policy_hz=50)


def done(log: ExecutedLog, ticks: range, skipped: tuple[int, ...] = (), late: tuple[int, ...] = ()) -> None:
    """Command tick number k at policy tick k, and something else between; of the `late` the beginning is skipped."""
    for servo_tick in range(ticks.start * 4, ticks.stop * 4):
        if servo_tick // 4 in skipped or servo_tick / 4 in late:
            continue
        command: Any = blank(JOINT_COMMAND)
        command["servo_tick"] = servo_tick
        command["position"] = servo_tick / 4
        log.note(command)


def seen(tick: int, **sizes: tuple[int, int]) -> Observation:
    """See pictures of (height, width), all of brightness `tick`."""
    pictures = {name: np.full((*size, 3), tick, np.uint8) for name, size in (sizes or {"cam_high": (2, 2)}).items()}
    return Observation(0, pictures, np.full(14, float(tick)), np.zeros(14))


def test_nothing_is_told_before_the_first_answer() -> None:
    log = ExecutedLog(BASE, 4)
    done(log, range(10, 20))
    first, arrays = log.until(18)
    assert first == 18
    assert arrays["executed"].shape == (0, 14)
    assert not log.wants_view(18)


def test_what_was_done_since_the_answered_observation_is_told_until_an_answer_comes() -> None:
    log = ExecutedLog(BASE, 0)
    done(log, range(10, 20))
    log.told(12)
    assert log.until(16)[0] == 12
    done(log, range(20, 30))
    first, arrays = log.until(25)
    assert first == 12
    assert arrays["executed"][:, 3].tolist() == list(range(12, 25))
    log.told(25)
    assert log.until(28)[1]["executed"][:, 0].tolist() == [25, 26, 27]


def test_views_are_kept_at_their_distance_and_named_by_the_row_they_belong_to() -> None:
    log = ExecutedLog(BASE, 4)
    done(log, range(100, 120))
    log.told(100)
    for tick in range(100, 112):
        if log.wants_view(tick):
            log.see(tick, seen(tick))
    first, arrays = log.until(111)
    assert first == 100
    assert arrays["key_tick"].tolist() == [4, 8]
    assert arrays["key/cam_high"][:, 0, 0, 0].tolist() == [104, 108]
    assert arrays["key_state"][:, 0].tolist() == [104, 108]
    log.told(108)
    assert log.until(111)[1]["key_tick"].tolist() == [0]


def told_views(log: ExecutedLog, size: tuple[int, int]) -> wire.ArrayMap:
    """See 32 views four ticks apart, those of one camera of (height, width), and tell them."""
    done(log, range(100, 230))
    log.told(100)
    for tick in range(104, 232, 4):
        log.see(tick, seen(tick, cam_high=size, cam_wrist=(1, 1)))
    return log.until(230)[1]


def test_no_more_views_are_told_than_a_frame_carries() -> None:
    arrays = told_views(ExecutedLog(BASE, 4), (480, 640))
    assert len(arrays["key_tick"]) == 18
    assert FRAME_BYTES_MAX - 480 * 640 * 3 < arrays["key/cam_high"].nbytes <= FRAME_BYTES_MAX
    assert len(arrays["key/cam_wrist"]) == len(arrays["key_state"]) == 18


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (33, [*range(1, 33)]),
        (32, [*range(1, 33)]),
        (8, [1, 5, 10, 14, 19, 23, 28, 32]),
        (3, [1, 17, 32]),
        (2, [1, 32]),
        (1, [32]),
        (0, []),
    ],
)
def test_views_are_thinned_evenly_and_the_newest_is_kept(
    monkeypatch: pytest.MonkeyPatch, room: int, kept: list[int]
) -> None:
    monkeypatch.setattr(executed, "FRAME_BYTES_MAX", room * 12 + 11)
    arrays = told_views(ExecutedLog(BASE, 4), (2, 2))
    if not kept:
        assert arrays.keys() == {"executed"}
        return
    assert arrays["key_tick"].tolist() == [4 * view for view in kept]
    for rows in (arrays["key/cam_high"][:, 0, 0, 0], arrays["key/cam_wrist"][:, 0, 0, 0], arrays["key_state"][:, 0]):
        assert rows.tolist() == [100 + 4 * view for view in kept]


def test_who_lost_its_memory_is_told_again_from_a_view_on_until_it_answers() -> None:
    log = ExecutedLog(BASE, 4)
    done(log, range(100, 140))
    log.told(100)
    for tick in range(104, 132, 4):
        log.see(tick, seen(tick))
    log.told(120)
    assert log.until(130)[0] == 120
    log.lost()
    first, arrays = log.until(130)
    assert first == 104
    assert arrays["executed"][:, 0].tolist() == list(range(104, 130))
    assert arrays["key_tick"].tolist() == [0, 4, 8, 12, 16, 20, 24]
    assert arrays["key_state"][:, 0].tolist() == [104, 108, 112, 116, 120, 124, 128]
    log.told(130)
    assert log.until(135)[0] == 130


def test_who_lost_its_memory_and_is_told_of_no_views_begins_with_the_newest() -> None:
    log = ExecutedLog(BASE, 0)
    done(log, range(10, 20))
    log.told(12)
    log.lost()
    first, arrays = log.until(18)
    assert first == 18
    assert arrays["executed"].shape == (0, 14)


def test_a_view_whose_commands_are_no_longer_known_is_no_beginning() -> None:
    log = ExecutedLog(BASE, 4)
    log.told(0)
    log.see(4, seen(4))
    done(log, range(10, 10 + TICKS_MAX))
    log.see(100, seen(100))
    log.lost()
    assert log.until(200)[0] == 100
    log.begin()
    log.told(0)
    assert log.until(200)[0] == 200


def test_in_a_skipped_tick_the_last_command_was_held() -> None:
    log = ExecutedLog(BASE, 0)
    done(log, range(10, 20), skipped=(14, 15))
    log.told(12)
    assert log.until(18)[1]["executed"][:, 0].tolist() == [12, 13, 13, 13, 16, 17]
    # It is the last before the tick, not the oldest that is remembered.
    log.told(14)
    assert log.until(18)[1]["executed"][:, 0].tolist() == [13, 13, 16, 17]


def test_of_a_tick_whose_beginning_was_skipped_the_first_command_is_told() -> None:
    log = ExecutedLog(BASE, 0)
    done(log, range(10, 20), late=(12, 14))
    log.told(12)
    assert log.until(16)[1]["executed"][:, 0].tolist() == [12.25, 13, 14.25, 15]


def test_an_episode_that_begins_knows_nothing_and_memory_is_bounded() -> None:
    log = ExecutedLog(BASE, 4)
    done(log, range(2 * TICKS_MAX))
    log.told(0)
    assert len(log.until(2 * TICKS_MAX)[1]["executed"]) == 2 * TICKS_MAX
    log.begin()
    assert log.until(2 * TICKS_MAX)[1]["executed"].shape == (0, 14)
