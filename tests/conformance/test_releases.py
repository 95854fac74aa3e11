"""Adapters against the released server code itself, where it is at hand (see emulators/release.py)."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from runtime.inference.adapters.base import Adapter, AdapterError
from tests.conformance import peers_table
from tests.conformance.emulators.release import HOST, RELEASES, SERVERS, folder
from tests.conformance.suite import ANSWER_S, HIDDEN, PROMPT, Row, question
from tests.conformance.websocket_table import ROWS

ROW_OF = {row.name: row for row in (*ROWS, *peers_table.ROWS)}
ROW_OF |= {"roboarena": next(row for row in ROWS if row.name == "dreamzero")}
NEEDED = {
    "openpi": "typing_extensions",
    "dreamzero": "typing_extensions",
    "xpolicylab": "pydantic msgpack_numpy",
    "cosmos-policy": "draccus fastapi json_numpy torch uvicorn",
}
SCHEMES = {"cosmos-policy": "http", "gr00t": "gr00t"}
SILENT = {"cosmos-policy", "gr00t"}
"""Of whose failures an operator is told only that there was one: the server does not say, or says too much."""


class Released:
    """A released server in a process of its own."""

    def __init__(self, system: str) -> None:
        self.system = system
        with socket.create_server((HOST, 0)) as probe:
            self.port = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "tests.conformance.emulators.release", self.system, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until_s = time.monotonic() + ANSWER_S
        for _ in count():
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > until_s:
                self.process.kill()
                pytest.fail(f"{self.system} did not start: {self.process.communicate()[1][-800:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(params=SERVERS)
def released(request: pytest.FixtureRequest) -> Iterator[tuple[Row, Released, Adapter]]:
    system: str = request.param
    if folder(SERVERS[system][0]) is None:
        pytest.skip(f"no checkout of {SERVERS[system][0]}; {RELEASES} names the folder of such")
    for name in NEEDED.get(system, "").split():
        pytest.importorskip(name, reason=f"{system}'s server needs it")
    row, server = ROW_OF[system], Released(system)
    adapter = row.adapter(f"{SCHEMES.get(system, 'ws')}://{HOST}:{server.port}")
    yield row, server, adapter
    adapter.close()
    server.kill()


def test_the_released_server_is_spoken_to(released: tuple[Row, Released, Adapter]) -> None:
    row, server, adapter = released
    card = adapter.open(ANSWER_S)
    adapter.reset(PROMPT)
    for level in (1, 2):
        reply = adapter.infer(question(level))
        assert len(reply.actions) == card.horizon
        np.testing.assert_allclose(reply.actions, row.expected(question(level)), atol=row.tolerance, rtol=0)
        adapter.reset(PROMPT)

    with pytest.raises(AdapterError) as caught:
        adapter.infer(replace(question(), prompt="fail"))
    assert "\n" not in str(caught.value)
    assert server.system in SILENT or "no weights in" in str(caught.value)
    assert HIDDEN not in str(caught.value)
    adapter.reset(PROMPT)
    np.testing.assert_allclose(
        adapter.infer(question(3)).actions, row.expected(question(3)), atol=row.tolerance, rtol=0
    )

    server.kill()
    with pytest.raises(AdapterError):
        adapter.infer(question())
    server.start()
    adapter.reset(PROMPT)
    np.testing.assert_allclose(
        adapter.infer(question(4)).actions, row.expected(question(4)), atol=row.tolerance, rtol=0
    )
