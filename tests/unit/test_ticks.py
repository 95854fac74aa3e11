"""Promises of the records a tick gives out."""

from __future__ import annotations

import numpy as np

from tests.fake_rig import FakeRig


def test_the_view_says_which_chunks_the_plan_has_taken_in() -> None:
    """The client asks again only when its last answer is in the plan; without this it would never ask again."""
    rig = FakeRig()
    rig.engage()
    rig.run(20)
    assert rig.inputs[-1].chunks_seen >= 1
    assert [int(o.view["chunks_seen"]) for o in rig.outputs] == [i.chunks_seen for i in rig.inputs]


def test_the_record_of_a_tick_holds_its_inputs_byte_for_byte() -> None:
    rig = FakeRig()
    rig.engage()
    rig.run(20)
    for seen, made in zip(rig.inputs, rig.outputs, strict=True):
        assert all(made.tick["arm"][i].tobytes() == arm.tobytes() for i, arm in enumerate(seen.arm))
        assert all(made.tick["guardian"][i].tobytes() == g.tobytes() for i, g in enumerate(seen.guardian))
        assert made.tick["operator"].tobytes() == seen.operator.tobytes()
        assert np.array_equal(made.tick["command"], made.command)
