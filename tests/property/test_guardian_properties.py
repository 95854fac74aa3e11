"""Whatever commands come whenever, what a guardian sends stays within the arm model's limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import records
from runtime.arms import ARM_MODELS
from runtime.clock import NS_PER_MS
from runtime.control.guardian import GuardianCore
from runtime.drivers.sim.audit import LimitAudit
from runtime.layout import ARM_DOF
from runtime.shm import blank
from runtime.states import Guard

PERIOD_NS = 5 * NS_PER_MS
DT = 0.005

steps = st.lists(
    st.tuples(
        st.sampled_from(["walk", "walk", "walk", "still", "jump", "none", "nan", "far", "lie"]),
        st.integers(0, 2**16),
        st.integers(1, 12),
        st.sampled_from([PERIOD_NS, PERIOD_NS, 2 * NS_PER_MS, 12 * NS_PER_MS]),
    ),
    min_size=1,
    max_size=25,
)


class Script:
    """Plays a script of commands to a guardian whose arm follows it exactly."""

    def __init__(self, name: str) -> None:
        self.model = ARM_MODELS[name]
        self.core = GuardianCore(self.model, 0, PERIOD_NS)
        self.audit = LimitAudit(self.model, DT)
        self.state: Any = blank(records.ARM_STATE)
        self.state["position"] = self.goal = np.clip(
            self.model.home_array * 0.9 + 0.01, self.model.position_min, self.model.position_max
        )
        self.pace = np.zeros(ARM_DOF)
        self.status: Any = None
        self.now_ns = 10**9

    def play(self, kind: str, seed: int, wait_ns: int) -> None:
        generator = np.random.default_rng(seed)
        if self.status is not None and self.status["state"] == Guard.HOLD:
            self.goal, self.pace = np.array(self.status["target"]), np.zeros(ARM_DOF)
        elif kind == "walk":
            self.pace = self.pace + generator.uniform(-1, 1, ARM_DOF) * np.array(self.model.acceleration_max) * DT**2
            self.goal = self.goal + self.pace
        elif kind == "jump":
            self.goal = self.goal + generator.uniform(-0.1, 0.1, ARM_DOF)
        elif kind == "far":
            self.goal = self.goal + generator.uniform(-2.0, 2.0, ARM_DOF)
        self.step(kind)
        self.now_ns += wait_ns

    def step(self, kind: str) -> None:
        command: Any = blank(records.JOINT_COMMAND)
        command["servo_tick"] = (self.now_ns - 10**9) // PERIOD_NS
        command["t_ns"], command["valid_until_ns"] = self.now_ns, self.now_ns + 20 * NS_PER_MS
        command["armed"] = 1
        command["position"][:ARM_DOF] = np.nan if kind == "nan" else self.goal
        command["velocity"][:ARM_DOF] = -1e6 if kind == "lie" else self.pace / DT
        command["ack"] = 0 if self.status is None else self.status["trips"]
        self.state["t_ns"] = self.now_ns
        out = self.core.step(self.now_ns, None if kind == "none" else command, self.state)
        assert np.isfinite(out.position).all()
        self.status = out.status
        if out.enabled:
            assert self.audit.check(out.servo_tick, out.position), kind
            self.state["position"] = out.position


@pytest.mark.parametrize("name", sorted(ARM_MODELS))
@settings(max_examples=20, deadline=None)
@given(script=steps)
def test_no_commands_whatever_leave_the_limits(name: str, script: list[tuple[str, int, int, int]]) -> None:
    played = Script(name)
    for kind, seed, count, wait_ns in script:
        for i in range(count):
            played.play(kind, seed + i, wait_ns)


@pytest.mark.parametrize("name", sorted(ARM_MODELS))
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), moving=st.integers(5, 60))
def test_when_commands_end_every_motion_ends_in_hold(name: str, seed: int, moving: int) -> None:
    played = Script(name)
    for i in range(moving):
        played.play("walk", seed + i, PERIOD_NS)
    for _ in range(200):
        played.play("none", 0, PERIOD_NS)
    assert played.status["state"] == Guard.HOLD
    assert played.status["trips"] >= 1
