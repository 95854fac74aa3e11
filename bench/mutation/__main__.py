"""`python -m bench.mutation --out DIR`: change the product a little in every place, and see which tests notice.

Each mutant is tried in a forked process that has everything but the product imported, by the tests that are aimed at
its module and only until the first of them fails. A survivor is a test that is missing, or a change that changes
nothing: those are listed with the reason in `equivalents`.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

import tyro

from bench.mutation.equivalents import EQUIVALENT
from bench.mutation.mutants import Mutant, mutants
from bench.mutation.targets import TARGETS, Target
from bench.say import say
from runtime.files import make_folder

TIMEOUT_FACTOR: Final = 10.0
"""A mutant that takes this many times as long as the unchanged module hangs: it is killed too."""
TIMEOUT_LEAST_S: Final = 30.0
KILLED, SURVIVED, HANGS = "killed", "survived", "hangs"
NICENESS: Final = 15


@dataclass(frozen=True)
class Mutation:
    """Change the product a little in every place, and see which tests notice."""

    out: Path = Path("out")
    """Folder that receives mutation.json; what it holds already is not tried again."""
    targets: tuple[str, ...] = ()
    """Modules to change, by their last name; all when not given."""
    limit_s: float = 0.0
    """Begin no more mutants after this time; 0 for no limit."""
    again: bool = False
    """Try the survivors of an earlier run again, and only those."""


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree instead of its file."""

    def __init__(self, module: str, path: Path, tree: ast.Module) -> None:
        self._module, self._path, self._tree = module, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for the one module."""
        del path, target
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let the import system make it."""
        del spec
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)  # noqa: S102


def run(command: Mutation) -> int:
    """Try every mutant of the targets and write what came of each."""
    _preload()
    os.nice(NICENESS)
    make_folder(command.out)
    path = command.out / "mutation.json"
    found: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    began_s = time.monotonic()
    for target in TARGETS:
        if command.targets and target.name not in command.targets:
            continue
        verdicts = found.setdefault(target.module, {})
        _try_all(target, verdicts, command, began_s, path, found)
        say(_line(target, verdicts))
    return 0


def _try_all(
    target: Target,
    verdicts: dict[str, str],
    command: Mutation,
    began_s: float,
    path: Path,
    found: dict[str, dict[str, str]],
) -> None:
    whole = ast.parse(target.path.read_text(encoding="utf-8"))
    started = time.monotonic()
    if _try(target, Mutant("unchanged", 0, whole), 600.0) != SURVIVED:
        raise SystemExit(f"{target.module}: its tests fail without any change")
    patience_s = max(TIMEOUT_LEAST_S, TIMEOUT_FACTOR * (time.monotonic() - started))
    every = list(mutants(target.path.read_text(encoding="utf-8")))
    for gone in set(verdicts) - {mutant.name for mutant in every}:
        del verdicts[gone]
    for mutant in every:
        known = verdicts.get(mutant.name)
        if known in {KILLED, HANGS} or (known == SURVIVED and not command.again):
            continue
        if known is None and command.again:
            continue
        if command.limit_s and time.monotonic() - began_s > command.limit_s:
            return
        verdicts[mutant.name] = verdict = _try(target, mutant, patience_s)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if verdict == SURVIVED and mutant.name not in EQUIVALENT.get(target.module, {}):
            say(f"{target.path}:{mutant.line}: {mutant.name}")


def _line(target: Target, verdicts: dict[str, str]) -> str:
    same = EQUIVALENT.get(target.module, {})
    survived = [name for name, verdict in verdicts.items() if verdict == SURVIVED]
    equivalent = sum(name in same for name in survived)
    counted = len(verdicts) - equivalent
    killed = len(verdicts) - len(survived)
    share = 100.0 * killed / max(counted, 1)
    return f"{target.module}: {killed} of {counted} killed ({share:.1f} %), {equivalent} equivalent left out"


def _try(target: Target, mutant: Mutant, patience_s: float) -> str:
    """Run the target's tests on a mutant in a fork."""
    pid = os.fork()
    if pid == 0:
        # A session of its own, so that a hanging mutant goes with what it started.
        os.setsid()
        os._exit(_child(target, mutant))
    descriptor = os.pidfd_open(pid)
    ready, _, _ = select.select([descriptor], [], [], patience_s)
    os.close(descriptor)
    if not ready:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not ready:
        return HANGS
    return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED


def _child(target: Target, mutant: Mutant) -> int:
    import pytest  # noqa: PLC0415

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    sys.meta_path.insert(0, _Mutated(target.module, target.path, mutant.tree))
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "--timeout=0",
        "--tb=no",
        "--no-header",
    ]
    return int(pytest.main([*options, *target.tests]))


def _preload() -> None:
    """Import what every test needs, but nothing of the product: a fork then begins with it."""
    for name in ("numpy", "hypothesis", "pytest", "_pytest.assertion.rewrite", "ruckig", "msgspec", "yaml", "mujoco"):
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(run(tyro.cli(Mutation)))
