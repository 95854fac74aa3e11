"""`leadtime policies`: the systems that a rig could be driven by, and how their chunks would be executed on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runtime.cli import Policies
from runtime.config import RigConfig, load_rig
from runtime.control.strategy import Execution
from runtime.inference.adapters.base import Card
from runtime.inference.fit import RefusalError, check_fit
from runtime.inference.handshake import policy_schema, rig_schema
from runtime.inference.policy import load_policy, policy_names
from runtime.inference.server.hosted import agreement
from runtime.records import CHUNK_STEPS_MAX
from runtime.systems import JOINTS, SYSTEMS, System

PAGE_COLUMNS: Final = 160
"""Width of the table where no terminal limits it."""


@dataclass(frozen=True)
class Row:
    """A system on a rig: what is in the way of driving it, and how its chunks would be executed.

    `execution` is None where no latency is published; `text` says it in a sentence.
    """

    system: System
    obstacle: str
    execution: Execution | None
    text: str


def policies(command: Policies) -> int:
    """Print the table, or as JSON all that is known of each system; status 0. UsageError for an unknown rig."""
    rig = load_rig(command.rig)
    rows = survey(rig)
    if command.json:
        found = {"rig": rig.name, "policy_hz": rig.policy_hz, "policies": [_facts(row) for row in rows]}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PAGE_COLUMNS)
    with console.capture() as page:
        console.print(_table(rows, rig))
        for line in ("", *(_source(row.system) for row in rows), "", *_notes(rows, rig)):
            console.print(escape(line), highlight=False)
    sys.stdout.write(page.get())
    return 0


def survey(rig: RigConfig) -> list[Row]:
    """Return a row for every known system, then one for every built-in policy."""
    rows = [_row(system, rig, system.obstacle or _refusal(system, rig)) for system in SYSTEMS]
    return rows + [_builtin(name, rig) for name in policy_names()]


def _refusal(system: System, rig: RigConfig) -> str:
    """Return why a system that our server would host is refused by a rig, in a line; empty where it is not."""
    if system.hosted:
        try:
            agreement(system.card, rig_schema(rig), system.latency_ms or 0.0)
        except RefusalError as refusal:
            return str(refusal)
    return ""


def _row(system: System, rig: RigConfig, obstacle: str) -> Row:
    execution = system.execution(rig.policy_hz)
    if execution is not None:
        return Row(system, obstacle, execution, execution.text)
    longest = system.ticks(system.card.horizon, rig.policy_hz) // 2
    limit = f"{longest} ticks ({longest * 1000.0 / rig.policy_hz:.0f} ms)"
    return Row(system, obstacle, None, f"no latency published; feasible up to a delay of {limit}")


def _builtin(name: str, rig: RigConfig) -> Row:
    policy = load_policy(name)
    manifest, seen = policy.manifest, policy.manifest.observation
    system = System(
        name=manifest.name,
        repository="built in",
        card=Card(
            name=manifest.name,
            kind=manifest.policy_class,
            horizon=min(policy.horizon(task) for task in policy.tasks),
            execute_steps=manifest.execute_steps,
            rate_hz=manifest.rate_hz,
            cameras=seen.rig_cameras,
        ),
        actions=JOINTS,
        dof=manifest.action.dof,
        cameras=f"{len(seen.cameras)}, {seen.width_px}x{seen.height_px}" if seen.cameras else "none, object state",
        server="leadtime serve",
        latency_ms=None,
        hardware="",
        source="",
        tried="the simulated rig of its arms",
        hosted=False,
    )
    try:
        check_fit(policy_schema(policy, policy.tasks[0], latency_ms=0.0), rig_schema(rig))
    except RefusalError as refusal:
        return _row(system, rig, str(refusal))
    return _row(system, rig, "")


def _facts(row: Row) -> dict[str, Any]:
    """Return a row as JSON: the system's facts, its timing in ticks (null without a latency), and the sentence."""
    made = row.execution
    timing: dict[str, Any] = dict.fromkeys(("delay_ticks", "strategy", "feasible", "s_min_ticks", "s_max_ticks"))
    if made is not None:
        timing = {key: getattr(made, key) for key in timing} | {"strategy": made.strategy.name.lower()}
    facts = asdict(row.system)
    card = facts.pop("card")
    facts |= {key: card[key] for key in ("kind", "horizon", "execute_steps", "rate_hz")}
    return facts | {"obstacle": row.obstacle} | timing | {"text": row.text}


def _table(rows: list[Row], rig: RigConfig) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("system", "class", "chunk", "Hz", "latency", "d", f"at {rig.policy_hz} Hz"):
        table.add_column(column, no_wrap=column == "system")
    for row in rows:
        system, made = row.system, row.execution
        cells = (
            system.name,
            system.card.kind,
            f"{system.card.horizon} ({system.card.execute_steps})",
            str(system.card.rate_hz),
            _latency(system),
            "-" if made is None else str(made.delay_ticks),
            f"{row.obstacle}; {_brief(row, rig)}" if row.obstacle else _brief(row, rig),
        )
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _latency(system: System) -> str:
    return "-" if system.latency_ms is None else f"{system.latency_ms:.0f} ms"


def _source(system: System) -> str:
    """Return where a row is from, in one line."""
    latency = (
        f"{_latency(system)} ({system.hardware}) from {system.source}" if system.source else "no latency published"
    )
    what = f"{system.dof} numbers, {system.actions}; cameras {system.cameras}; {system.server}"
    return f"{system.name}, {system.repository}: {what}; {latency}"


def _notes(rows: list[Row], rig: RigConfig) -> Iterator[str]:
    for tried in dict.fromkeys(row.system.tried for row in rows):
        names = ", ".join(row.system.name for row in rows if row.system.tried == tried)
        yield f"Run against {tried}: {names}."
    yield (
        f"A tick of {rig.name} is {1000.0 / rig.policy_hz:g} ms. Delay d is the published latency alone; a run adds "
        "the age of the observation and the way to the server. Hardware differs: not like for like."
    )


def _brief(row: Row, rig: RigConfig) -> str:
    made, longest = row.execution, row.system.ticks(row.system.card.horizon, rig.policy_hz) // 2
    if made is None:
        return f"feasible while d <= {longest}"
    if made.feasible:
        return f"{made.strategy.name.lower()}, s in {made.s_min_ticks}..{made.s_max_ticks}"
    chunk = f" or a chunk of {2 * made.delay_ticks}" if 2 * made.delay_ticks <= CHUNK_STEPS_MAX else ""
    return f"infeasible, pauses: takes d <= {longest}{chunk}"
