"""Write tiny_guided.onnx, the guided graph of the network of tests/unit/guided_case.py.

`python -m tests.data.make_tiny_guided` from the repository's root, with the extra `torch`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from bench.training.export import export_guided
from bench.training.recover import policy_of
from tests.unit.guided_case import STEPS, weights

OUT = Path(__file__).parent / "tiny_guided.onnx"


def main() -> None:
    """Write the file beside this one."""
    policy = policy_of({name: torch.as_tensor(array) for name, array in weights().items()}, OUT)
    export_guided(policy, None, OUT, steps=STEPS)


if __name__ == "__main__":
    main()
