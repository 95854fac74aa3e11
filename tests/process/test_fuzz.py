"""Malformed messages, thousands of them: the server lives, keeps its memory, and its healthy client is answered.

`python -m tests.fuzz.wire --messages 1000000` is the long run of the same.
"""

from __future__ import annotations

import pytest

from tests.fuzz.messages import Malformer
from tests.fuzz.wire import SERVED, storm

MESSAGES = 20_000


@pytest.mark.parametrize("served", list(SERVED))
def test_a_server_survives_malformed_messages_and_its_healthy_client_is_unharmed(served: str) -> None:
    report = storm(MESSAGES, seed=1, served=served)
    assert sum(report.sorts.values()) == MESSAGES
    assert report.answers["bad_request"] > MESSAGES // 10
    assert min(report.answers["chunk"], report.answers["taken"]) > 0
    assert report.bystander["answered"] > 0


def test_the_same_seed_makes_the_same_messages() -> None:
    first, again, other = Malformer(3), Malformer(3), Malformer(4)
    messages = [first.next("s1") for _ in range(300)]
    assert messages == [again.next("s1") for _ in range(300)]
    assert messages != [other.next("s1") for _ in range(300)]
    assert len(first.counts) >= 18
