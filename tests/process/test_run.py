"""Promises of a whole run, kept by the real processes: no starvation, clean ends, no leftovers, bad input said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.lab.retrace import retrace
from runtime.blackbox import load_run
from runtime.config import RIG_FOLDER
from runtime.inference.handshake import policy_schema
from runtime.inference.policy import load_policy
from runtime.states import Mode
from tests.process.harness import PATIENCE_S, Session, leadtime

CONTRACT_KEYS = {
    "rig", "policy", "merge", "latency_profile", "seed", "duration_s", "policy_hz", "servo_hz", "ticks",
    "ticks_starved", "ticks_late", "wake_lateness_us", "inference", "seam_jump_rad", "jerk_rms",
    "limit_violations", "mode_s", "faults", "success", "run_dir",
}  # fmt: skip


def test_a_run_at_gigaworld_latency_never_starves_and_replays_bit_for_bit(
    start: Callable[..., Session], tmp_path: Path
) -> None:
    """The product in one test: a served vision policy 360 ms away, a command at every tick, all of it recorded."""
    copy = tmp_path / "summary.json"
    session = start("--latency", "gigaworld", "--duration-s", "14", "--summary", str(copy))
    status, stdout, stderr = session.finish()
    assert status == 0, stderr
    summary = session.summary()
    assert json.loads(copy.read_text()) == summary
    assert set(summary) >= CONTRACT_KEYS
    assert summary["ticks_starved"] == 0
    assert summary["limit_violations"] == 0
    assert summary["inference"]["chunks_used"] >= 5
    assert summary["inference"]["latency_ms"]["p50"] >= 360.0
    assert summary["mode_s"]["POLICY"] > 5.0
    assert "report.html" in stdout
    page = (session.run_dir / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert session.children() == {}
    replayed = leadtime("replay", str(session.run_dir))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    run = load_run(session.run_dir)
    retraced = retrace(run, policy_schema(load_policy("demo"), "transfer", 360.0))
    assert retraced.first_difference is None
    assert retraced.again == retraced.requests > 5


def test_a_corrector_puts_the_plan_right_in_most_ticks_and_the_run_replays(start: Callable[..., Session]) -> None:
    """Beside a model that is 360 ms away, what is seen now acts within a few ticks; every amendment is recorded."""
    session = start(
        "--task", "balance", "--policy", "demo-state", "--latency", "gigaworld", "--duration-s", "10"
    )  # fmt: skip
    status, _, stderr = session.finish()
    assert status == 0, stderr
    summary = session.summary()
    policy_ticks = summary["mode_s"]["POLICY"] * summary["policy_hz"]
    assert summary["amendments"]["made"] >= summary["amendments"]["used"] > 0.5 * policy_ticks > 50
    assert summary["limit_violations"] == 0
    replayed = leadtime("replay", str(session.run_dir))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def test_a_run_reaches_a_policy_served_elsewhere(start: Callable[..., Session], tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/policy.sock"
    command = [sys.executable, "-m", "runtime", "serve", "--policy", "demo-state", "--bind", endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert endpoint in server.stdout.readline()
            session = start("--policy", endpoint, "--duration-s", "60")
            session.await_mode(Mode.POLICY)
            assert "server" not in session.children()
            session.interrupt()
        finally:
            server.terminate()
        assert server.wait(30) == 0


@pytest.mark.parametrize("mode", [None, Mode.HOLD, Mode.PARK, Mode.POLICY])
def test_ctrl_c_ends_a_run_cleanly_from_every_state(start: Callable[..., Session], mode: Mode | None) -> None:
    session = start("--policy", "demo-state", "--duration-s", "60")
    if mode is not None:
        session.await_mode(mode)
    else:
        session.await_roles("sim")
        board = session.board()
    took_s = session.interrupt()
    print(f"ended {took_s:.2f} s after Ctrl-C")
    assert session.children() == {}
    assert session.process.returncode == 0
    if mode is None:
        assert board["joint_command"].head == 0, "the arms were commanded after Ctrl-C"


def test_a_run_whose_reader_leaves_ends_cleanly_and_leaves_its_summary(start: Callable[..., Session]) -> None:
    session = start("--policy", "sway", "--duration-s", "60")
    assert session.process.stdout is not None
    session.process.stdout.readline()
    session.process.stdout.close()
    _, stderr = session.process.communicate(timeout=PATIENCE_S)
    assert (session.process.returncode, stderr) == (0, "")
    assert session.summary()["limit_violations"] == 0
    assert session.children() == {}


def test_a_second_instance_on_the_same_rig_is_refused_in_one_line(start: Callable[..., Session]) -> None:
    first = start("--policy", "demo-state", "--duration-s", "60")
    first.await_roles("control")
    second = start("--policy", "demo-state", "--duration-s", "5")
    status, _, stderr = second.finish()
    assert status == 1
    assert stderr.strip().splitlines() == [
        "leadtime: rig sim-x5 is in use by another leadtime run on this host; stop it, or choose another --rig"
    ]
    first.interrupt()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rig", "sim-x9"), "unknown rig 'sim-x9'; valid: emulated-piper, "),
        (("--policy", "pi9"), "unknown policy 'pi9'; valid: demo, demo-state"),
        (("--latency", "slow"), "gigaworld"),
        (("--merge", "glue"), "unknown merge 'glue'; valid: "),
        (("--task", "juggle"), "unknown task 'juggle'; valid: "),
        (("--rig", "sim-piper"), "policy 'demo' was trained on x5; rig 'sim-piper' has piper, piper"),
        (("--seed", "-1"), "--seed -1: give a number from 0 to"),
        (("--duration-s", "nan"), "--duration-s nan: give a number of seconds"),
        (("--summary", "/"), "--summary /: give a file"),
        (("--duration-s", "-3"), "--duration-s -3.0: give a number of seconds above 0"),
        (("--rig", "missing.yaml"), "rig file missing.yaml does not exist"),
    ],
)
def test_a_wrong_name_is_answered_with_the_valid_ones(arguments: tuple[str, ...], says: str) -> None:
    done = leadtime("run", "--headless", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_host_that_says_no_is_quoted_in_one_line() -> None:
    done = leadtime("run", "--headless", "--out", "/proc/none", "--duration-s", "1")
    assert done.returncode == 1
    assert "/proc/none: No such file or directory" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_run_without_its_server_fails_and_says_so(start: Callable[..., Session]) -> None:
    session = start("--policy", "tcp://127.0.0.1:9", "--duration-s", "3")
    status, _, stderr = session.finish()
    assert status == 1
    assert stderr.startswith("leadtime: the policy never took over: ")
    assert "127.0.0.1:9" in stderr
    assert session.children() == {}


def test_a_run_whose_arms_a_fault_holds_says_which(tmp_path: Path, start: Callable[..., Session]) -> None:
    file = tmp_path / "never.yaml"
    rig = (RIG_FOLDER / "sim-x5.yaml").read_text().replace("name: sim-x5", "name: never")
    file.write_text(rig.replace("state_stale_ms: 80.0", "state_stale_ms: 0.001"))
    status, _, stderr = start("--rig", str(file), "--policy", "sway", "--duration-s", "3").finish()
    assert status == 1
    assert stderr.startswith(
        "leadtime: the policy never took over: the arms cannot be armed: their feedback is missing"
    )
    assert "check power and calibration" in stderr


def test_a_policy_file_that_is_no_onnx_is_refused_before_motion(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"not a model")
    done = leadtime("run", "--headless", "--policy", str(file))
    assert done.returncode == 2
    assert str(file) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_serving_on_a_port_in_use_is_said_in_one_line() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = leadtime("serve", "--bind", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
