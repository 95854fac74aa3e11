"""Malformed messages to the openpi server and malformed answers to every remote adapter: short runs of the long ones.

`python -m tests.fuzz.openpi` and `python -m tests.fuzz.answers` are the long runs.
"""

from __future__ import annotations

import pytest

from tests.fuzz.answers import ROWS, storm
from tests.fuzz.damage import Damager
from tests.fuzz.openpi import front_storm
from tests.fuzz.openpi import storm as openpi_storm
from tests.fuzz.websocket_frames import Frames

CONNECTIONS = 600
OBSERVATIONS = 2000
ANSWERS = 80


def test_an_openpi_server_survives_malformed_messages_and_its_healthy_client_is_unharmed() -> None:
    report = openpi_storm(CONNECTIONS, seed=1)
    assert sum(report.answers.values()) == CONNECTIONS
    assert report.answers["bad request"] > CONNECTIONS // 4
    assert report.answers["no handshake"] > 0
    assert report.bystander["answered"] > 0


def test_its_front_says_in_a_line_what_is_wrong_with_an_observation() -> None:
    report = front_storm(OBSERVATIONS, seed=2)
    assert report.answers["bad request"] > OBSERVATIONS // 2
    assert report.answers["chunk"] > 0


@pytest.mark.parametrize("name", list(ROWS))
def test_an_adapter_makes_a_chunk_or_one_line_of_whatever_its_peer_answers(name: str) -> None:
    report = storm(ANSWERS, seed=3, names=(name,))
    assert 0 < report.used[name] < ANSWERS


def test_the_same_seed_does_the_same_damage() -> None:
    first, again, other = Frames(Damager(3)), Frames(Damager(3)), Frames(Damager(4))
    sent = [first.next() for _ in range(200)]
    assert sent == [again.next() for _ in range(200)]
    assert sent != [other.next() for _ in range(200)]
