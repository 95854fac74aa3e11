"""Whole runs driven by other projects' wires: the real processes of a rig, a peer that speaks the released protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from runtime.blackbox import load_run
from runtime.states import Mode
from tests.conformance.emulators import dreamzero, lingbot_va, openpi
from tests.conformance.emulators.websocket_peer import WebsocketPeer, running
from tests.conformance.franka import example
from tests.process.harness import Session, leadtime, wait_for


def address(peer: WebsocketPeer) -> str:
    return peer.endpoint.removeprefix("ws://")


def test_a_rig_is_driven_by_an_openpi_server(start: Callable[..., Session]) -> None:
    with running(openpi.OpenPiProtocol) as peer:
        settings = "execute_steps=20&api_key=not-for-others"
        session = start("--policy", f"openpi://{address(peer)}?{settings}", "--duration-s", "9")
        status, stdout, stderr = session.finish()
    assert status == 0, stderr
    summary = session.summary()
    left = {path.name: path.read_bytes() for path in session.run_dir.rglob("*") if path.is_file()}
    assert {"spec.json", "run.mcap", "summary.json", "report.html"} <= left.keys()
    assert not [name for name, data in left.items() if b"not-for-others" in data]
    assert "not-for-others" not in load_run(session.run_dir).spec.policy + stdout + stderr
    assert summary["policy"] == f"openpi://{address(peer)}?execute_steps=20&api_key=(secret)"
    assert summary["inference"]["chunks_used"] >= 5
    assert summary["mode_s"]["POLICY"] > 2.0
    assert summary["limit_violations"] == 0


class Telling(lingbot_va.LingBotVaProtocol):
    """Keeps what it is told beyond the end of an episode."""

    def __init__(self, told: list[Any]) -> None:
        super().__init__()
        self.told = told

    def answer(self, request: Any) -> Any:
        if request.get("compute_kv_cache", False):
            self.told.append(request)
        return super().answer(request)


def test_a_stateful_server_is_told_what_the_arms_were_told(start: Callable[..., Session]) -> None:
    commits: list[Any] = []
    with running(lambda: Telling(commits)) as peer:
        session = start("--policy", f"lingbot-va://{address(peer)}?arms=x5", "--duration-s", "12")
        status, _, stderr = session.finish()
    assert status == 0, stderr
    summary = session.summary()
    assert summary["inference"]["chunks_used"] >= 4
    assert summary["limit_violations"] == 0
    assert len(commits) >= 3
    # The hands rise: so say the actions of every commit, and the pictures in it are those of the rig.
    heights_m = np.concatenate([commit["state"][2].reshape(-1) for commit in commits])
    assert heights_m[-1] > heights_m[0]
    assert all(len(commit["obs"]) % 4 == 0 for commit in commits)
    assert any(np.ptp(view[lingbot_va.CAMERAS[0]]) > 0 for commit in commits for view in commit["obs"])


class Imagining(lingbot_va.ImaginingProtocol):
    """Keeps what it is told of actions before they are executed."""

    def __init__(self, told: list[Any]) -> None:
        super().__init__()
        self.told = told

    def answer(self, request: Any) -> Any:
        if request.get("imagine", False):
            self.told.append(request["state"])
        return super().answer(request)


def test_a_server_that_predicts_over_the_plan_that_runs_is_told_of_it(start: Callable[..., Session]) -> None:
    told: list[Any] = []
    with running(lambda: Imagining(told)) as peer:
        session = start("--policy", f"lingbot-va://{address(peer)}?arms=x5", "--latency", "constant:360")
        session.await_mode(Mode.POLICY)
        wait_for(lambda: len(told) >= 3, "a plan that is told")
        session.interrupt()
        status, _, stderr = session.finish()
    assert status == 0, stderr
    assert session.summary()["limit_violations"] == 0
    assert all(state.shape[1:] == (1, lingbot_va.STEPS) for state in told)


class Dropping(lingbot_va.LingBotVaProtocol):
    """Loses its connection once, and the episode with it, in place of taking a commit; `events` are what it got."""

    DROPPED: Final = 4

    def __init__(self, events: list[tuple[str, int]]) -> None:
        super().__init__()
        self.events = events

    def answer(self, request: Any) -> Any:
        if request.get("reset", False):
            self.events.append(("reset", 0))
        elif not request.get("compute_kv_cache", False):
            self.events.append(("ask", 0))
        elif [kind for kind, _ in self.events].count("commit") + 1 == self.DROPPED:
            self.events.append(("commit", 0))
            raise ConnectionError
        else:
            self.events.append(("commit", len(request["obs"])))
        return super().answer(request)


def test_a_stateful_server_that_lost_the_episode_is_brought_to_where_it_was(start: Callable[..., Session]) -> None:
    events: list[tuple[str, int]] = []
    with running(lambda: Dropping(events)) as peer:
        session = start("--policy", f"lingbot-va://{address(peer)}?arms=x5")
        session.await_mode(Mode.POLICY)
        wait_for(lambda: [kind for kind, _ in events].count("commit") >= Dropping.DROPPED + 3, "commits")
        session.interrupt()
        status, _, stderr = session.finish()
    assert status == 0, stderr
    dropped = [i for i, (kind, _) in enumerate(events) if kind == "commit"][Dropping.DROPPED - 1]
    assert [kind for kind, _ in events[dropped + 1 : dropped + 5]] == ["reset", "ask", "commit", "ask"]
    # What was executed before it was lost is told anew, in one commit.
    before, again = events[dropped - 2][1], events[dropped + 3][1]
    assert again >= before + 4
    assert session.summary()["limit_violations"] == 0


def test_a_rig_is_driven_by_a_policy_made_for_another_arm(start: Callable[..., Session], tmp_path: Path) -> None:
    file = tmp_path / "franka.yaml"
    file.write_text(example())
    with running(dreamzero.DreamZeroProtocol) as peer:
        url = f"dreamzero://{address(peer)}?arms=x5&embodiment={file}"
        session = start("--policy", url, "--duration-s", "9")
        status, _, stderr = session.finish()
        told = [request for request in peer.requests if request["endpoint"] == "infer"]
    assert status == 0, stderr
    summary = session.summary()
    assert summary["inference"]["chunks_used"] >= 3
    assert summary["limit_violations"] == 0
    sessions = [request["session_id"] for request in told]
    episode = [request for request in told if request["session_id"] == max(sessions, key=sessions.count)]
    # The model asks for each joint of its own arm to turn on, and is told that it did.
    joints = np.array([request["observation/joint_position"] for request in episode])
    assert len(joints) >= 3
    assert (np.diff(joints, axis=0) > 0.0).all()
    assert episode[-1]["observation/wrist_image_left"].shape == (4, 180, 320, 3)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("openpi://127.0.0.1:9", "cannot be reached"),
        ("lingbot-va://127.0.0.1:9", "arms=MODEL"),
        ("dreamzero://127.0.0.1:9", "embodiment=FILE with an 'own_arm', and arms=MODEL"),
        ("dreamzero://127.0.0.1:9?arms=x5&embodiment=/none.yaml", "/none.yaml: cannot be read"),
        ("openpi://127.0.0.1:9?colour=red", "unknown setting 'colour'; known:"),
    ],
)
def test_a_system_that_cannot_be_used_is_said_in_a_line(url: str, part: str) -> None:
    done = leadtime("run", "--policy", url, "--headless", "--duration-s", "5")
    assert done.returncode in {1, 2}
    assert part in done.stderr
    assert "Traceback" not in done.stderr
