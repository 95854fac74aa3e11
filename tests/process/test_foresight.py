"""What a policy predicts comes by the real wire to the rig, is kept, and is held against what the cameras see."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg

from runtime.blackbox import load_run
from runtime.console.report import write_report
from runtime.inference.foresight import NOISE, Trust, coarse
from runtime.layout import CAMERAS
from runtime.records import FORESEEN_PX
from runtime.states import Link, Verdict
from runtime.summary import build_summary
from tests.process.foreseeing import HORIZON, RIGHT, VALUE
from tests.process.harness import Session
from tests.process.test_client import Bench, benched

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


def lose_trust(bench: Bench) -> None:
    """Begin an episode, and wait until what the policy foresees is not what comes."""
    bench.until(lambda: bench.link is Link.READY)
    bench.view["engaged"], bench.view["epoch"] = 1, 1
    bench.until(lambda: bool(bench.chunks(1, cold=True)))
    bench.view["started"] = 1
    bench.until(lambda: bool(bench.status["distrusted"]))


def test_what_a_policy_foresees_is_kept_compared_and_ends_its_trust_where_it_parts_from_what_comes(
    tmp_path: Path,
) -> None:
    with benched(tmp_path) as bench, foreseeing(bench.endpoint):
        lose_trust(bench)
        requests = bench.board["request"].since(0)[0]
        films = bench.board["foreseen"].since(0)[0]
        pictures = bench.board["foreseen_picture"].since(0)[0]
        chunks = {int(chunk["chunk_id"]): chunk for chunk in bench.board["chunk"].since(0)[0]}
        # The operator begins anew.
        bench.view["epoch"], bench.view["started"] = 2, 0
        bench.until(lambda: bool(bench.chunks(2, cold=True)))
        assert int(bench.chunks(2, cold=True)[0]["horizon"]) == HORIZON
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
    # The pictures are those of the whole chunk, however much of it is executed.
    assert {int(chunks[int(film["chunk_id"])]["horizon"]) for film in films} > {HORIZON}
    for film in films:
        assert int(film["ticks"][-1]) == int(chunks[int(film["chunk_id"])]["start_tick"]) + HORIZON
    last = films[-1]
    ours = [picture for picture in pictures if picture["chunk_id"] == last["chunk_id"]]
    assert [(int(p["camera"]), int(p["tick"])) for p in ours] == [(i, t) for i in range(3) for t in last["ticks"]]


def test_a_control_process_that_is_started_anew_and_counts_its_epochs_anew_begins_another_episode(
    tmp_path: Path,
) -> None:
    with benched(tmp_path) as bench, foreseeing(bench.endpoint):
        lose_trust(bench)
        bench.view["engaged"], bench.view["started"], bench.view["epoch"] = 0, 0, 0
        bench.until(lambda: not bench.status["distrusted"])
        bench.view["engaged"], bench.view["epoch"] = 1, 1
        bench.until(lambda: len(bench.chunks(1, cold=True)) == 2)
        begun = int(bench.chunks(1, cold=True)[1]["chunk_id"])
        (film,) = [film for film in bench.board["foreseen"].since(0)[0] if int(film["chunk_id"]) == begun]
    # It foresees rightly again, as in the first answers about an episode.
    assert [int(film["pictures"][i, 0, 0, 0, 0]) for i in range(len(CAMERAS))] == [0, 10, 20]


def test_what_a_policy_foresees_is_in_the_run_as_it_came_and_beside_what_was_seen_on_its_page(
    start: Callable[..., Session], tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/foreseeing"
    with foreseeing(endpoint):
        session = start("--policy", endpoint, "--duration-s", "5", "--seed", "1")
        status, _, errors = session.finish()
    assert status == 0, errors
    run = load_run(session.run_dir)
    # The last may have come as the recorder closed its file.
    films = run.records["foreseen"][:-1]
    assert len(films)
    wanted = {(int(film["chunk_id"]), int(tick)) for film in films for tick in film["ticks"]}
    gone = [name for name in run.foreseen for _ in wanted - {(f.chunk_id, f.tick) for f in run.foreseen[name]}]
    assert len(gone) <= run.recorder["frames_dropped"]
    for name, camera in run.spec.rig.cameras.items():
        kept = run.foreseen[name]
        assert all(frame.t_ns == run.spec.tick_base(run.t0_ns).time_ns(frame.tick) for frame in kept)
        # As large as it came: the server thins what is larger.
        apart = max(camera.height_px // FORESEEN_PX[0], 1)
        assert simplejpeg.decode_jpeg(kept[0].jpeg).shape == (camera.height_px // apart, camera.width_px // apart, 3)
    # It foresaw that nothing moves, from a rig that stood still.
    seen = run.frames["cam_high"][0]
    apart = coarse(simplejpeg.decode_jpeg(run.foreseen["cam_high"][0].jpeg)) - coarse(simplejpeg.decode_jpeg(seen.jpeg))
    assert np.abs(apart).mean() < NOISE
    page = write_report(run, build_summary(run)).read_text(encoding="utf-8")
    assert "<h2>cam_high, foreseen</h2>" in page
    assert "foreseen for" in page
