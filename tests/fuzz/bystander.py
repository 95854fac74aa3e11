"""`python -m tests.fuzz.bystander ENDPOINT NOISE_GAIN`: a healthy client that asks until its standard input ends.

It shares its pictures' memory with the server, and tells what it executed. `NOISE_GAIN` is how much of the noise is in
the policy's actions. It says `ready` after the first `REFERENCE` answers, which are its reference, and at the end, as
JSON, how many it asked for and got since, and how long it waited for them.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import zmq

from runtime.clock import MonotonicClock
from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.client.connection import Connection, Inbound
from runtime.inference.handshake import rig_schema
from runtime.states import Carriage, Link
from tests.process.serving import observation

REFERENCE = 200
PAUSE_S = 0.005
PATIENCE_S = 30.0
STEPS = 4
CLOCK = MonotonicClock()


def ask(connection: Connection, noise_gain: float, request_seq: int) -> float:
    """Ask for a chunk; how long it took in seconds. Fails when anything but the right chunk comes."""
    gallery = connection.gallery
    assert gallery is not None
    request = wire.Infer(
        session=connection.session,
        request_seq=request_seq,
        obs_seq=request_seq + 100,
        seed=5,
        deadline_ms=10_000.0,
        executed_tick=STEPS * request_seq,
    )
    arrays = {
        name: gallery.take(name.removeprefix("image/"), array, 0) if name.startswith("image/") else array
        for name, array in observation().items()
    } | {"executed": np.full((STEPS, 14), 0.1, np.float32)}
    began = time.monotonic()
    assert connection.send(request, arrays, CLOCK.now_ns())
    ((chunk, told),) = until(connection, bool)
    took_s = time.monotonic() - began
    noise = np.random.default_rng((5, request_seq)).standard_normal(told["actions"].shape, dtype=np.float32)
    assert isinstance(chunk, wire.Chunk), chunk
    assert (chunk.request_seq, chunk.obs_seq) == (request_seq, request_seq + 100)
    assert np.allclose(told["actions"], 0.1 + noise_gain * noise, atol=1e-6)
    return took_s


def until(connection: Connection, enough: Callable[[list[Inbound]], bool]) -> list[Inbound]:
    """Step the connection until it is enough; returns what came for the session meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    inbound: list[Inbound] = []
    while not enough(inbound):
        assert time.monotonic() < deadline, f"{connection.link.name}: {connection.text}"
        connection.wait(5)
        inbound += connection.step(CLOCK.now_ns())
    return inbound


def quantiles_ms(took_s: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(took_s, q)) * 1e3, 2) for q in (50, 95, 99)}


def stand_by(ask: Callable[[int], float]) -> None:
    """Ask by number, from 1 on, until the standard input ends; say what is said above."""
    took_s: list[float] = []
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        took_s.append(ask(len(took_s) + 1))
        if len(took_s) == REFERENCE:
            print("ready", flush=True)
    alone, beside = took_s[:REFERENCE], took_s[REFERENCE:]
    print(json.dumps({"answered": len(beside), "alone_ms": quantiles_ms(alone), "beside_ms": quantiles_ms(beside)}))


def main(endpoint: str, noise_gain: float) -> None:
    rig = rig_schema(load_rig("sim-x5"))
    with zmq.Context() as context:
        connection = Connection(context, endpoint, rig, "transfer")
        until(connection, lambda _: connection.link is Link.READY)
        assert connection.carriage is Carriage.SHARED, connection.pictures
        stand_by(partial(ask, connection, noise_gain))
        assert (connection.link, connection.reconnects) == (Link.READY, 0)
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
