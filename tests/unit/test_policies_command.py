"""The table of systems: its rows are those of the facts, each with what it means at a rig's rate."""

from __future__ import annotations

import json

import msgspec
import pytest

from runtime.cli import Policies
from runtime.commands.policies import Row, policies, survey
from runtime.config import RigConfig, load_rig
from runtime.control.strategy import Strategy, plan_execution
from runtime.errors import UsageError
from runtime.inference import lerobot_host
from runtime.inference.lerobot_load import executed_of
from runtime.inference.policy import load_policy, policy_names
from runtime.inference.server.latency import LATENCY_PROFILES
from runtime.layout import RIG_DOF
from runtime.records import CHUNK_STEPS_MAX
from runtime.systems import SYSTEMS

RIG = load_rig("sim-x5")


def row(name: str, rig: RigConfig = RIG) -> Row:
    return next(found for found in survey(rig) if found.system.name == name)


@pytest.mark.parametrize(
    ("name", "delay", "strategy", "low", "high"),
    [
        ("pi0", 4, Strategy.CONTINUOUS, 4, 46),
        ("pi0.5", 4, Strategy.CONTINUOUS, 4, 46),
        ("Fast-WAM", 10, Strategy.CONTINUOUS, 10, 53),
        ("GigaWorld-Policy", 18, Strategy.CONTINUOUS, 18, 61),
        ("Cosmos-Policy", 20, Strategy.CONTINUOUS, 20, 79),
        ("LingBot-VA", 24, Strategy.CONTINUOUS, 24, 39),
        ("MOTUS", 59, Strategy.PAUSE, 59, -28),
        ("DreamZero", 30, Strategy.CONTINUOUS, 30, 47),
        ("V-JEPA 2-AC", 800, Strategy.PAUSE, 800, -787),
    ],
)
def test_each_system_is_judged_at_the_rig_s_rate(
    name: str, delay: int, strategy: Strategy, low: int, high: int
) -> None:
    made = row(name).execution
    assert made is not None
    assert (made.delay_ticks, made.strategy, made.s_min_ticks, made.s_max_ticks) == (delay, strategy, low, high)


def test_a_chunk_too_short_for_its_delay_is_paused_after_and_the_way_out_is_named() -> None:
    made = plan_execution(32, 18, RIG.policy_hz)
    assert made.strategy is Strategy.PAUSE
    assert "chunk of 36" in made.text
    assert "at most 15 ticks" in row("MOTUS").text


def test_another_rate_is_another_delay() -> None:
    made = row("Fast-WAM", msgspec.structs.replace(RIG, policy_hz=25)).execution
    assert made is not None
    assert (made.delay_ticks, made.s_min_ticks, made.s_max_ticks) == (5, 5, 27)


def test_what_cannot_drive_fourteen_joints_says_why_and_nothing_else_does() -> None:
    for found in survey(RIG):
        system = found.system
        assert bool(system.obstacle) == (system.dof != RIG_DOF)
        assert (found.obstacle == "") == (system.dof == RIG_DOF)
    assert "arms=MODEL" in row("LingBot-VA").obstacle
    assert "one arm" in row("V-JEPA 2-AC").obstacle
    assert "one arm of 7 joints" in row("DreamZero").obstacle


def test_a_rate_other_than_the_rig_s_is_resampled_and_no_obstacle() -> None:
    cosmos, slow = row("Cosmos-Policy"), row("Cosmos-Policy", msgspec.structs.replace(RIG, policy_hz=25))
    assert (cosmos.obstacle, slow.obstacle) == ("", "")
    assert slow.execution is not None
    assert (slow.execution.delay_ticks, slow.execution.s_min_ticks, slow.execution.s_max_ticks) == (10, 10, 40)
    assert cosmos.system.ticks(25, 50) == 49
    assert cosmos.system.ticks(50, 50) == 99
    assert cosmos.system.ticks(50, 100) == CHUNK_STEPS_MAX
    assert cosmos.system.ticks(1, 10) == 1


def test_a_chunk_that_a_run_refuses_at_the_rig_s_rate_or_for_its_cameras_says_so() -> None:
    fast = msgspec.structs.replace(RIG, policy_hz=100)
    assert "50 steps at 25 Hz, 197 ticks of rig 'sim-x5'; a run takes 128" in row("Cosmos-Policy", fast).obstacle
    assert row("pi0", fast).obstacle == ""
    blind = msgspec.structs.replace(RIG, cameras={"cam_high": RIG.cameras["cam_high"]})
    assert "reads camera 'cam_left_wrist'" in row("pi0", blind).obstacle


def test_lerobot_s_row_is_what_its_host_does_by_itself_at_whatever_rate_it_is_told() -> None:
    options, _ = lerobot_host._parse(["--policy", "act"])
    card = row("LeRobot").system.card
    assert card.rate_hz == options.rate_hz
    assert card.execute_steps == executed_of(card.horizon, options.execute_steps) == 25
    for rate_hz in (25, 50):
        found = row("LeRobot", msgspec.structs.replace(RIG, policy_hz=rate_hz))
        assert found.system.ticks(card.horizon, rate_hz) == 100
        assert (found.obstacle, found.execution) == ("", None)


def test_a_system_without_a_published_latency_says_what_it_could_bear() -> None:
    found = row("VLA-JEPA")
    assert found.execution is None
    assert "8 ticks (160 ms)" in found.text


def test_the_built_in_policies_are_listed_with_the_numbers_of_their_manifests() -> None:
    for name in policy_names():
        policy, found = load_policy(name), row(name)
        shortest = min(policy.horizon(task) for task in policy.tasks)
        assert (found.system.card.horizon, found.system.card.execute_steps) == (shortest, policy.manifest.execute_steps)
        assert found.obstacle == ""
        assert f"{shortest // 2} ticks ({shortest // 2 * 20} ms)" in found.text
        refused = "trained on x5" in row(name, load_rig("sim-piper")).obstacle
        assert refused is ("piper" not in policy.manifest.arms)


def test_latencies_are_those_of_the_profiles_that_stand_for_them() -> None:
    profiles = {system.profile: system.latency_ms for system in SYSTEMS if system.profile}
    assert profiles == {name: ms for name, ms in LATENCY_PROFILES.items() if name != "none"}


def test_nothing_is_claimed_of_a_system_that_was_not_run() -> None:
    for system in SYSTEMS:
        if system.server == "no server, in process":
            assert "stand-in" in system.tried or system.tried == "nothing yet"
        elif system.name == "LeRobot":
            assert "small policies with random weights" in system.tried
        else:
            assert "emulator" in system.tried


def test_the_page_names_every_system_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert policies(Policies()) == 0
    page = " ".join(capsys.readouterr().out.split())
    for found in survey(RIG):
        system = found.system
        assert system.name in page
        assert system.repository in page
        assert system.source in page
    assert "continuous, s in 10..53" in page
    assert "its released server code around a stand-in model" in page


def test_the_same_comes_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert policies(Policies(rig="sim-piper", json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rig"], found["policy_hz"]) == ("sim-piper", 50)
    by_name = {entry["name"]: entry for entry in found["policies"]}
    assert list(by_name) == [*(system.name for system in SYSTEMS), *policy_names()]
    fast, jepa = by_name["Fast-WAM"], by_name["VLA-JEPA"]
    assert (fast["strategy"], fast["s_min_ticks"], fast["s_max_ticks"], fast["feasible"]) == (
        "continuous",
        10,
        53,
        True,
    )
    assert (fast["kind"], fast["horizon"], fast["execute_steps"], fast["rate_hz"]) == (
        "WAM, joint denoising, actions only at test time",
        32,
        24,
        25,
    )
    assert (jepa["strategy"], jepa["delay_ticks"], jepa["feasible"]) == (None, None, None)


def test_an_unknown_rig_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="sim-x5"):
        policies(Policies(rig="nix"))
