"""Write guided_reference.json: the authors' own guided loop on the small network of tests/unit/guided_case.py.

`python -m tests.data.make_guided_reference MODEL.PY` from the repository's root, where MODEL.PY is src/model.py of
Physical-Intelligence/real-time-chunking-kinetix; needs jax, flax and einops. Their `realtime_action` runs as it is:
this file only gives it a network in place of theirs, noise in place of drawn noise, and double precision.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.unit.guided_case import BLOCKS, CASES, DOF, HORIZON, Case, request, weights

OUT = Path(__file__).parent / "guided_reference.json"
MASKS = ((0, 25, 50), (10, 20, 50), (18, 30, 50), (4, 5, 32), (14, 14, 32), (6, 44, 50), (20, 40, 50), (5, 0, 8))
DIGITS = 8


class Network:
    """The small network as a velocity: what `realtime_action` takes for its own policy."""

    action_chunk_size = HORIZON
    action_dim = DOF

    def __init__(self) -> None:
        self.weights = {name: jnp.asarray(array, jnp.float64) for name, array in weights().items()}
        self.frequency = jnp.exp(jnp.linspace(0.0, math.log(30.0), 8))

    def __call__(self, obs: Any, x_t: Any, time: Any) -> Any:
        """Velocity from the clean chunk that the network predicts."""
        phase = time * self.frequency
        condition = jnp.concatenate([obs[0], jnp.sin(phase), jnp.cos(phase)])
        condition = silu(self.linear("condition.2", silu(self.linear("condition.0", condition))))
        hidden = self.linear("enter", jnp.concatenate([x_t.reshape(-1), jnp.zeros(HORIZON)]))
        for i in range(BLOCKS):
            inner = self.linear(f"blocks.{i}.up", self.norm(f"blocks.{i}.norm", hidden))
            inner = silu(inner + self.linear(f"blocks.{i}.inject", condition))
            hidden = hidden + self.linear(f"blocks.{i}.down", inner)
        clean = self.linear("leave.1", self.norm("leave.0", hidden)).reshape(x_t.shape)
        return (clean - x_t) / (1.0 - time)

    def linear(self, name: str, x: Any) -> Any:
        """Return W x + b."""
        return self.weights[f"head.{name}.weight"] @ x + self.weights[f"head.{name}.bias"]

    def norm(self, name: str, x: Any) -> Any:
        """Return the normalised layer."""
        normal = (x - x.mean()) / jnp.sqrt(x.var() + 1e-5)
        return normal * self.weights[f"head.{name}.weight"] + self.weights[f"head.{name}.bias"]


def silu(x: Any) -> Any:
    """Return x sigmoid(x)."""
    return x * jax.nn.sigmoid(x)


def actions(reference: Any, network: Network, case: Case) -> Any:
    """Return the chunk of a request in joint units, grippers within open and closed."""
    asked = {name: jnp.asarray(array, jnp.float64) for name, array in request(case).items()}
    w = network.weights
    origin = asked["state"] * w["arm"] + 0.5 * (1.0 - w["arm"])
    condition = jnp.concatenate(
        [
            (asked["state"] - w["state_mean"]) / w["state_std"],
            asked["velocity"] / w["velocity_std"],
            jnp.zeros(DOF),
            (asked["object_state"] - w["objects_mean"]) / w["objects_std"],
        ]
    )
    jax.random.normal = lambda *_, **__: asked["noise"][None]
    tokens = reference.FlowPolicy.realtime_action(
        network,
        None,
        condition[None],
        case.steps,
        ((asked["target"] - origin) / w["action_scale"])[None],
        case.delay,
        HORIZON - case.execute,
        "exp",
        case.beta,
    )[0]
    chunk = origin + tokens * w["action_scale"]
    return jnp.where(w["arm"] > 0, chunk, chunk.clip(0.0, 1.0))


def main(path: str) -> None:
    """Run the reference and write what it gives."""
    jax.config.update("jax_enable_x64", True)
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    network = Network()
    found = {
        "masks": [
            {
                "delay": d,
                "execute": s,
                "mask": np.asarray(reference.get_prefix_weights(d, h - s, h, "exp")).round(DIGITS).tolist(),
            }
            for d, s, h in MASKS
        ],
        "actions": [np.asarray(actions(reference, network, case)).round(DIGITS).tolist() for case in CASES],
    }
    OUT.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
