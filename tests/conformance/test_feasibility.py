"""The table of systems says of each what its adapter, opened, and a rig agree on: one source for both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from runtime.commands.policies import survey
from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.adapters.base import Adapter
from runtime.inference.adapters.registry import ADAPTERS, ARMS, EMBODIMENT
from runtime.inference.adapters.vjepa2_ac import VJepa2AcSettings
from runtime.inference.handshake import rig_schema
from runtime.inference.server.hosted import Hosted
from runtime.systems import SYSTEMS
from tests.conformance import peers_table, test_in_process, websocket_table
from tests.conformance.suite import Row

ROWS = (*websocket_table.ROWS, *peers_table.ROWS)
NAMES = {
    "openpi": ("pi0", "pi0.5"),
    "lingbot-va": ("LingBot-VA",),
    "dreamzero": ("DreamZero",),
    "starvla": ("starVLA",),
    "vla-jepa": ("VLA-JEPA",),
    "xpolicylab": ("XPolicyLab",),
    "cosmos-policy": ("Cosmos-Policy",),
    "gigaworld": ("GigaWorld-Policy",),
    "gr00t": ("Isaac-GR00T",),
    "fast-wam": ("Fast-WAM",),
    "motus": ("MOTUS",),
    "vjepa2-ac": ("V-JEPA 2-AC",),
}
"""Scheme of an adapter -> its rows in the table."""
OPEN_S = 10.0


def check(scheme: str, adapter: Adapter, card: Any, rate_hz: int) -> None:
    rig = msgspec.structs.replace(load_rig("sim-x5"), policy_hz=rate_hz)
    schema = Hosted(adapter, card, "", 0.0).agree(wire.Hello(client="c", rig=rig_schema(rig), task="t"))
    rows = [row for row in survey(rig) if row.system.name in NAMES[scheme]]
    assert len(rows) == len(NAMES[scheme])
    for row in rows:
        told = row.system
        assert (told.card.horizon, told.card.execute_steps) == (card.horizon, card.execute_steps)
        assert told.card.rate_hz == card.rate_hz
        assert told.ticks(told.card.horizon, rate_hz) == schema.horizon
        assert told.ticks(told.card.execute_steps, rate_hz) == schema.execute_steps
        if row.execution is not None:
            assert row.execution.horizon_ticks == schema.horizon
            assert f"chunk of {schema.horizon} at {rate_hz} Hz" in row.text


@pytest.mark.parametrize("rate_hz", [25, 50])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_is_what_a_rig_agrees_on_with_the_peer(row: Row, rate_hz: int) -> None:
    peer = row.peer()
    adapter = row.adapter(peer.endpoint)
    try:
        check(row.name, adapter, adapter.open(OPEN_S), rate_hz)
    finally:
        adapter.close()
        peer.close()


@pytest.mark.parametrize(("scheme", "make"), [("fast-wam", test_in_process.fast), ("motus", test_in_process.wam)])
def test_a_row_is_what_a_rig_agrees_on_with_a_checkout(scheme: str, make: Any, tmp_path: Path) -> None:
    adapter = make(tmp_path)
    check(scheme, adapter, adapter.open(OPEN_S), 50)
    adapter.close()


def test_a_row_is_what_a_rig_agrees_on_with_a_planner() -> None:
    check("vjepa2-ac", Mock(spec=Adapter), VJepa2AcSettings(goal="").card(), 50)


def test_what_a_row_tells_to_declare_is_something_that_its_endpoint_takes() -> None:
    told = []
    for scheme, names in NAMES.items():
        kind = ADAPTERS[scheme]
        known = {each.name for each in msgspec.structs.fields(kind.settings)}
        known |= {ARMS} if kind.hands else set()
        known |= {EMBODIMENT} if kind.embodies else set()
        for system in (each for each in SYSTEMS if each.name in names and each.obstacle):
            settings = re.findall(r"(\w+)[\w.]*=", system.obstacle)
            assert settings
            assert {*settings} <= known
            told.append(system.name)
    assert told == ["LingBot-VA", "DreamZero", "VLA-JEPA", "V-JEPA 2-AC"]


def test_every_adapter_and_system_is_asked_about() -> None:
    assert NAMES.keys() == ADAPTERS.keys()
    assert NAMES.keys() - {row.name for row in ROWS} == {"fast-wam", "motus", "vjepa2-ac"}
    assert {name for names in NAMES.values() for name in names} == {each.name for each in SYSTEMS if each.hosted}
