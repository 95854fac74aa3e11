"""What goes to the server for a request that was decided on."""

from __future__ import annotations

import numpy as np

from runtime.inference import wire
from runtime.inference.client.ask import Ask
from runtime.inference.client.observation import Observation
from runtime.inference.pacing import Pacing


def request_of(
    ask: Ask,
    observation: Observation,
    pacing: Pacing,
    *,
    session: str,
    episode: int,
    seed: int,
    deadline_ms: float,
    executed_tick: int,
) -> tuple[wire.Infer, wire.ArrayMap]:
    """Return the message and the arrays of a request; what was executed from `executed_tick` on is left to add.

    `episode` is the server's epoch, which never comes twice in a session.

    Where the terms predict a state, it goes in the place of the measured one.
    """
    terms = ask.terms
    state = observation.position if terms.state is None else terms.state
    velocity = pacing.velocity(observation.velocity if terms.velocity is None else terms.velocity)
    arrays: wire.ArrayMap = {f"image/{name}": image for name, image in observation.images.items()}
    arrays["state"] = state.astype(np.float32)
    arrays["velocity"] = velocity.astype(np.float32)
    arrays["prefix"] = ask.planned.astype(np.float32)
    if observation.object_state is not None:
        arrays["object_state"] = observation.object_state
    request = wire.Infer(
        session=session,
        request_seq=ask.request_seq,
        obs_seq=ask.obs_seq,
        epoch=episode,
        seed=seed,
        deadline_ms=deadline_ms,
        condition=terms.asked,
        committed=ask.committed_steps,
        execute=ask.execute_ticks,
        parts=ask.parts,
        executed_tick=executed_tick,
    )
    return request, arrays
