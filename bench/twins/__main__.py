"""`python -m bench.twins --model pi0 --device cuda`: what a policy of these shapes costs on this device.

On CUDA the full width in bfloat16, in every way of running it, against the roofline of the same device. Elsewhere the
twin with next to no width, which shows that it runs and measures nothing that anyone would want to know.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import torch
import tyro

from bench.twins import measure, roofline
from bench.twins.registry import Entry, entry, size_of
from runtime.errors import LeadtimeError, UsageError, unknown_name
from runtime.files import make_folder
from runtime.inference.backends.torch_run import reason

SERVED: Final = ("captured", "compiled-captured")


@dataclass(frozen=True)
class Command:
    """Measure a latency twin."""

    model: str = "pi0"
    """pi0, fast-wam, gigaworld, lingbot-va or cosmos-policy."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it runs; its full width on cuda only."""
    ways: tuple[str, ...] = ()
    """Ways of running it that are measured beside eager; all by default."""
    requests: int = 50
    """Requests that are timed in each way."""
    limit_s: float = 220.0
    """Longest that one way may take, with what it is compiled in; one that takes longer is given up and said."""
    out: Path = Path("out")
    """Folder that receives results.json, anew after each way."""


@dataclass(frozen=True)
class Aim:
    """A ratio or a time that the served twin shall keep: at most `most` times a reference, which None makes 1 ms."""

    model: str
    reference: str | None
    most: float


AIMS: Final = (
    Aim("pi0", "roofline", 2.0),
    Aim("pi0", "compiled", 1 / 1.3),
    Aim("fast-wam", None, 25.0),
    Aim("fast-wam", "eager", 1 / 10),
)


class OutOfTime(BaseException):
    """A way took longer than it may. No `Exception`: a compiler tries on after one of those."""


@contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Raise OutOfTime in the work inside once it has taken so long; for the main thread alone."""

    def ring(_signal: int, _frame: Any) -> NoReturn:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def run(command: Command) -> dict[str, Any]:
    """Measure, write results.json, and return what is in it.

    A way that fails or takes too long is said with its reason, and the others go on. While a way is under way the file
    says of it that it did not end.

    Raises:
        UsageError: there is no such twin, no such way or no such device here, or even eager takes too long.
    """
    chosen = entry(command.model)
    if command.requests < 1 or not command.limit_s > 0.0:
        raise UsageError("--requests and --limit-s must be above 0")
    if command.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu for the tiny twin")
    full = command.device == "cuda"
    make_folder(command.out)
    work = roofline.work_of(chosen)
    results = describe(command, chosen, work, full=full)
    twin = measure.build(chosen, command.device, full=full)
    makes = selected(measure.ways(twin, command.device), command.ways)
    if full:
        rates = roofline.measure_rates(command.device)
        results["rates"] = {"TB_per_s": rates.bytes_per_s / 1e12, "TFLOP_per_s": rates.flops_per_s / 1e12}
        by_phase = {name: rates.least_ms(part) for name, part in work.items()}
        results["roofline_ms"] = {**by_phase, "all": sum(by_phase.values())}
    reference: Any = None
    for name, make in makes.items():
        results["ways"][name] = {"failed": "it did not end"}
        write(command, results)
        try:
            with limited(command.limit_s):
                took_ms, actions = measure.timed(twin, make, command.requests)
        except (Exception, OutOfTime) as error:  # a compiler's, or a capture's
            late = f"not done after {command.limit_s:g} s (--limit-s)" if isinstance(error, OutOfTime) else ""
            if reference is None and late:
                raise UsageError(f"eager is {late}: allow more") from None
            if reference is None:
                raise
            results["ways"][name] = {"failed": late or reason(error)}
            if full:
                # Where a capture of the compiler's own fails torch stays on its stream.
                torch.cuda.set_stream(torch.cuda.default_stream())
        else:
            reference = actions if reference is None else reference
            apart = float((actions - reference).abs().max() / reference.abs().max())
            results["ways"][name] = {
                **measure.quantiles(took_ms),
                "requests": command.requests,
                "apart_from_eager": apart,
            }
        results["aims"] = judged(command.model, results) if full else []
        write(command, results)
    return results


def write(command: Command, results: dict[str, Any]) -> None:
    """Write what is known so far."""
    (command.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def selected(ways: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the ways of these names, all where none is named, and eager before them.

    Raises:
        UsageError: there is none of a name.
    """
    for name in names:
        if name not in ways:
            raise unknown_name("way", name, ways)
    return {name: make for name, make in ways.items() if not names or name in {"eager", *names}}


def describe(command: Command, chosen: Entry, work: dict[str, roofline.Work], *, full: bool) -> dict[str, Any]:
    """Return what is measured and where, and the work of the full width."""
    with torch.device("meta"):
        whole = chosen.make(full=True)
    return {
        "model": command.model,
        "width": "full" if full else "tiny: this is no measurement of the policy",
        "dtype": str(roofline.DTYPE if full else torch.float32).removeprefix("torch."),
        "device": command.device,
        "hardware": torch.cuda.get_device_name() if full else f"{platform.machine()}, {os.cpu_count()} processors",
        "torch": torch.__version__,
        "left_out": chosen.left_out,
        "published_latency": chosen.latency,
        "parameters": size_of(whole, ()),
        "work": {
            name: {"calls": part.calls, "GFLOP": round(part.flops / 1e9, 3), "GB": round(part.bytes / 1e9, 4)}
            for name, part in work.items()
        },
        "ways": {},
        "aims": [],
    }


def judged(model: str, results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the aims of a twin and whether its fastest served way keeps them; those that were measured."""
    p50_ms = {name: row["p50_ms"] for name, row in results["ways"].items() if "p50_ms" in row}
    served = [p50_ms[name] for name in SERVED if name in p50_ms]
    references = {None: 1.0, "roofline": results["roofline_ms"]["all"], **p50_ms}
    kept = []
    for aim in AIMS:
        if aim.model != model or aim.reference not in references or not served:
            continue
        value = min(served) / references[aim.reference]
        kept.append({"against": aim.reference or "1 ms", "value": value, "most": aim.most, "met": value <= aim.most})
    return kept


def main() -> None:
    """Entry of the program."""
    try:
        results = run(tyro.cli(Command, prog="python -m bench.twins"))
    except LeadtimeError as error:
        sys.stderr.write(f"bench.twins: {error}\n")
        sys.exit(error.exit_status)
    sys.stdout.write(f"{results['model']} on {results['hardware']}, {results['width']}\n")
    for name, row in results["ways"].items():
        took = "failed: {failed}" if "failed" in row else "p50 {p50_ms:9.3f} ms  p99 {p99_ms:9.3f} ms"
        sys.stdout.write(f"  {name:18} {took.format(**row)}\n")
    if "roofline_ms" in results:
        sys.stdout.write(f"  roofline           {results['roofline_ms']['all']:9.3f} ms\n")
    for aim in results["aims"]:
        sys.stdout.write(f"  {aim['value']:.3f} of {aim['against']}, at most {aim['most']:.3f}: {aim['met']}\n")


if __name__ == "__main__":
    main()
