"""Promises of the marks of interventions: each is one, with its ends, its sides and what it interrupted."""

from __future__ import annotations

import numpy as np

from runtime.interventions import interventions
from tests.fake_rig import T0_NS
from tests.unit.test_core import running
from tests.unit.test_teleop import leading


def test_each_stretch_that_a_person_leads_is_one_intervention() -> None:
    rig = leading(running(), 0.1)
    first = rig.servo_tick
    rig.clutch = [True, False]
    rig.run(80)
    rig.clutch = [False, False]
    rig.run(40)
    leading(rig, 0.0)
    rig.clutch = [True, True]
    rig.run(20)
    found = interventions(np.array([o.tick for o in rig.outputs]), T0_NS)
    assert [(event.interrupted, event.sides) for event in found] == [("POLICY", ("left",)), ("HOLD", ("left", "right"))]
    assert (found[0].start_tick, found[0].end_tick) == (first, first + 80)
    assert found[0].duration_s == 79 * 0.005
    assert found[0].to_control_s is not None
    assert 0.0 < found[0].to_control_s < found[0].duration_s
    assert found[1].to_control_s == 0.0
    assert found[1].as_dict()["sides"] == ["left", "right"]


def test_a_run_without_a_person_has_none() -> None:
    rig = running()
    assert interventions(np.array([o.tick for o in rig.outputs]), T0_NS) == []
