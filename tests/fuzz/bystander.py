"""`python -m tests.fuzz.bystander ENDPOINT`: a healthy client that asks for chunks until its standard input ends.

It says `ready` after the first `REFERENCE` answers, which are its reference, and at the end, as JSON, how many it
asked for and got since, and how long it waited for them.
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

from runtime.inference import wire
from tests.process.serving import PlainClient

REFERENCE = 200
PAUSE_S = 0.005
NOISE_GAIN = 0.001
"""Of the tiny policy: how much of the noise is in its actions."""


def ask(client: PlainClient, request_seq: int) -> float:
    """Ask for a chunk; how long it took in seconds. Fails when anything but the right chunk comes."""
    began = time.monotonic()
    client.ask(request_seq)
    chunk, arrays = client.answer()
    took_s = time.monotonic() - began
    noise = np.random.default_rng((5, request_seq)).standard_normal((50, 14), dtype=np.float32)
    assert isinstance(chunk, wire.Chunk), chunk
    assert (chunk.request_seq, chunk.obs_seq) == (request_seq, request_seq + 100)
    assert np.allclose(arrays["actions"], 0.1 + NOISE_GAIN * noise, atol=1e-6)
    return took_s


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


def main() -> None:
    with zmq.Context() as context, PlainClient(context, sys.argv[1], "bystander") as client:
        assert isinstance(client.hello(), wire.Welcome)
        stand_by(partial(ask, client))


if __name__ == "__main__":
    main()
