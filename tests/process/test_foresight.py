"""What a policy predicts comes by the real wire to the rig, is kept, and is held against what the cameras see."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from runtime.inference.foresight import Trust
from runtime.layout import CAMERAS
from runtime.states import Link, Verdict
from tests.process.foreseeing import RIGHT, VALUE
from tests.process.test_client import benched

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def foreseeing(endpoint: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.process.foreseeing", endpoint]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def test_what_a_policy_foresees_is_kept_compared_and_ends_its_trust_where_it_parts_from_what_comes(
    tmp_path: Path,
) -> None:
    with benched(tmp_path) as bench, foreseeing(bench.endpoint):
        bench.until(lambda: bench.link is Link.READY)
        bench.view["engaged"], bench.view["epoch"] = 1, 1
        bench.until(lambda: bool(bench.chunks(1, cold=True)))
        bench.view["started"] = 1
        bench.until(lambda: bool(bench.status["distrusted"]))
        requests = bench.board["request"].since(0)[0]
        films = bench.board["foreseen"].since(0)[0]
    answered = [request for request in requests if request["verdict"] == Verdict.USED]
    assert all(float(request["value"]) == VALUE and int(request["foreseen"]) == 8 for request in answered)
    # Nothing was doubted while it foresaw rightly, and it took several wrong predictions to lose the arms.
    right, wrong = answered[:RIGHT], answered[RIGHT:]
    assert {int(request["trust"]) for request in right} == {Trust.FULL}
    assert any(float(request["parted"]) == 0.0 for request in right)
    assert Trust.NEAR in {int(request["trust"]) for request in wrong}
    first = films[0]
    assert int(first["cameras"]) == (1 << len(CAMERAS)) - 1
    assert [int(first["pictures"][i, 0, 0, 0, 0]) for i in range(len(CAMERAS))] == [0, 10, 20]
    assert (np.diff(first["ticks"]) > 0).all()
