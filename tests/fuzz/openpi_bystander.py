"""`python -m tests.fuzz.openpi_bystander PORT`: a healthy openpi client that asks until its standard input ends.

It says `ready` after the first `REFERENCE` answers and at the end, as JSON, what tests.fuzz.bystander says.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from websockets.sync.client import ClientConnection, connect

from tests.conformance.emulators.numpy_msgpack import unpackb
from tests.fuzz.bystander import stand_by
from tests.fuzz.websocket_frames import observation

ASKED = observation(224)
NOISE = 0.01


def ask(connection: ClientConnection) -> float:
    """Ask for a chunk; how long it took in seconds. Fails when anything but a right chunk comes."""
    began = time.monotonic()
    connection.send(ASKED)
    result = unpackb(connection.recv(timeout=30.0))
    took_s = time.monotonic() - began
    assert result["actions"].shape == (50, 14)
    assert np.abs(result["actions"] - 0.1).max() < NOISE
    return took_s


def main() -> None:
    address = f"ws://127.0.0.1:{sys.argv[1]}"
    with connect(address, compression=None, max_size=None, proxy=None, legacy=True) as connection:
        assert "policy" in unpackb(connection.recv(timeout=30.0))
        stand_by(lambda _: ask(connection))


if __name__ == "__main__":
    main()
