"""The page of the faults, made from the table: `python -m bench.faults.handbook` writes docs/faults.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from bench.faults.plan import Kind
from bench.faults.table import ROWS, Row
from runtime.faults import FAULTS, Fault

PAGE: Final = Path(__file__).parents[2] / "docs" / "faults.md"
_WORDS: Final = {
    "note": "goes on, and says so",
    "drop": "leaves the data out",
    "refuse": "does not arm or engage",
    "hold": "brakes within limits and holds with torque, until the operator acts",
    "brake": "brakes both arms within limits and holds with torque, until the operator clears it",
    "auto": "by itself",
    "operator": "the operator",
    "configuration": "a person, in the configuration",
}
_HEAD: Final = f"""# Faults

What the runtime survives: what sees it, what the arms do, what clears it, and what you do. This page is made from
`runtime/faults.py` and `bench/faults/table.py` by `python -m bench.faults.handbook`; a test checks that it is current.

Whatever happens, the arms brake within their limits and then hold with torque. Torque is never taken away but at the
rest pose, by the operator. What ends a motion stays latched until the operator acts, and the policy then begins anew
from where the arms are: nothing that was planned before ever runs.

`leadtime bench faults --out DIR` injects each row into a whole run (real processes, real sockets, real time), measures
on the board how long it took to be seen, checks what the arms did by the independent check at the simulated device, and
then injects it again with the detector switched off: that must not hold. `--rows 1 12` takes single rows, and
`--physical-times` a physical rig's limits of time, on a host that is quiet enough for them.
`python -m bench.faults.schedules --count N --out DIR` plays random combinations of {len(Kind)} kinds of fault against
the same decisions in virtual time; a failure names its seed, and `--first SEED --count 1` plays it again.
"""


def build() -> str:
    """Return the page as Markdown."""
    numbers = sorted({row.number for row in ROWS})
    return _HEAD + "".join(_section(number) for number in numbers)


def _section(number: int) -> str:
    rows = [row for row in ROWS if row.number == number]
    entries = [fault for fault in FAULTS if fault.number == number]
    title = "; ".join(dict.fromkeys(row.title for row in rows))
    lines = [f"\n## {number}. {title[0].upper()}{title[1:]}\n"]
    for fault in entries:
        lines.append(_entry(fault))
    lines += [_tested(row) for row in rows]
    return "\n".join(lines) + "\n"


def _entry(fault: Fault) -> str:
    return (
        f"- **{fault.name}** ({fault.detected_by}): {fault.detection}.\n"
        f"  - The runtime {_WORDS[fault.action]}. Cleared by: {_WORDS[fault.clears]}.\n"
        f"  - It says: {fault.message}.\n"
        f"  - You: {fault.remedy}."
    )


def _tested(row: Row) -> str:
    bound = "" if row.bound_ms is None else f" To be seen within {row.bound_ms:g} ms."
    blind = " ".join(row.blind) or "the lock taken out of the second run"
    return f"\nInjected as row {row.key}: {row.injection}.{bound} Negative control: {blind}."


def main() -> int:
    """Write the page."""
    PAGE.write_text(build(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
