"""In the physics, not only in the commands: the arms come to rest apart, and without the check they hit each other."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from bench.lab.arms import LabArms
from bench.lab.rig import tick_base
from runtime import records
from runtime.config import load_rig
from runtime.control.core import ControlConfig, ControlCore, TickInputs
from runtime.drivers.sim.plant import Plant
from runtime.faults import BIT
from runtime.shm import blank
from runtime.states import Link, Mode
from tests.fake_rig import chunk_record

INWARD_RAD = 1.4
REACH_RAD = {"x5": 0.5, "piper": 0.6, "vx300s": 0.5}
"""How far joint 2 goes ahead meanwhile, so that the hands meet."""
ARMS = ("x5", "piper", "vx300s")


def play(arm: str, *, checked: bool) -> tuple[set[tuple[str, str]], list[int], float]:
    """Turn both arms towards each other: which bodies met but for fingers, the modes, and the speed at the end."""
    rig = load_rig(f"sim-{arm}")
    rig = msgspec.structs.replace(
        rig, workspace=msgspec.structs.replace(rig.workspace, check=checked, hand_margin_m=0.02)
    )
    base, plant = tick_base(rig), Plant(arm)
    core, arms = ControlCore(ControlConfig.from_rig(rig, "prefix"), base), LabArms(rig, base, plant)
    touched: set[tuple[str, str]] = set()
    modes: list[int] = []
    refused = False
    chunks: list[Any] = []
    for servo_tick in range(380):
        now_ns = base.servo_time_ns(servo_tick)
        states = arms.measure(now_ns)
        operator: Any = blank(records.OPERATOR)
        operator["want"] = Mode.HOLD if servo_tick < 20 else Mode.POLICY
        seen = int(servo_tick > 30)
        outputs = core.step(
            TickInputs(servo_tick, now_ns, now_ns, states, arms.status, operator, now_ns, Link.READY, chunks, seen)
        )
        chunks = []
        if servo_tick == 30:
            path = np.tile(outputs.command["position"], (64, 1))
            path[:, [0, 7]] += np.linspace(0.0, 1.0, 64)[:, None] ** 2 * (-INWARD_RAD, INWARD_RAD)
            path[:, [1, 8]] += np.linspace(0.0, 1.0, 64)[:, None] * REACH_RAD[arm]
            view = outputs.view
            known = {"chunk_id": 1, "obs_seq": 1, "epoch": int(view["epoch"]), "cold": 1}
            chunks = [chunk_record(path, start_tick=base.tick(now_ns), t_obs_ns=now_ns, **known)]
        modes.append(int(outputs.command["mode"]))
        arms.command(now_ns, outputs.command, states)
        arms.advance()
        bodies = plant.model.geom_bodyid[plant.data.contact.geom]
        for pair in bodies.tolist():
            first, second = (str(plant.model.body(b).name) for b in pair)
            if (
                first[:4] != second[:4]
                and "world" not in {first, second}
                and not ("finger" in first and "finger" in second)
            ):
                touched.add((first, second))
        refused |= bool(int(outputs.tick["faults"]) & BIT["collision_ahead"])
    assert refused is checked
    return touched, modes, float(np.abs(plant.velocity()).max())


@pytest.mark.parametrize("arm", ARMS)
def test_the_arms_rest_apart_and_without_the_check_they_hit_each_other(arm: str) -> None:
    touched, modes, speed = play(arm, checked=True)
    assert Mode.POLICY in modes
    assert modes[-1] == Mode.HOLD
    assert not touched
    assert speed < 0.02
    touched, _, _ = play(arm, checked=False)
    assert touched
