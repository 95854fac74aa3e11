"""The house: which rooms of `runtime` lead to which, read from every import of their files."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "runtime").rglob("*.py")
}
OUTSIDE = {"zmq", "socket", "asyncio", "subprocess", "threading", "pathlib", "os", "io", "logging", "runtime.net"}
"""What the control process must not reach for: sockets, files, other processes, locks, logs."""

Ways = dict[str, set[str]]


def imports_of(path: Path) -> Iterator[str]:
    """Everything that a file imports, wherever in it, by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str | None:
    """The file of the house that a name is in, None for other people's."""
    return next((found for found in (name, name.rpartition(".")[0]) if found in FILES), None)


def ways_between(room: str) -> Ways:
    """Which of the rooms and files directly inside a room lead to which."""
    inside = f"{room}."
    ways: Ways = defaultdict(set)
    for name, path in FILES.items():
        if not name.startswith(inside):
            continue
        here = name.removeprefix(inside).partition(".")[0]
        for imported in filter(None, map(module_of, imports_of(path))):
            if imported.startswith(inside):
                ways[here].add(imported.removeprefix(inside).partition(".")[0])
    return {here: there - {here} for here, there in ways.items()}


def circle_in(ways: Mapping[str, set[str]]) -> list[str]:
    """The first way found that leads back to where it began, empty without one."""
    done: set[str] = set()

    def walk(here: str, path: list[str]) -> list[str]:
        if here in path:
            return [*path[path.index(here) :], here]
        if here in done:
            return []
        for there in sorted(ways.get(here, ())):
            if found := walk(there, [*path, here]):
                return found
        done.add(here)
        return []

    return next((found for start in sorted(ways) if (found := walk(start, []))), [])


@pytest.mark.parametrize(
    "room",
    [
        "runtime",
        *sorted(f"runtime.{path.name}" for path in (ROOT / "runtime").iterdir() if (path / "__init__.py").is_file()),
    ],
)
def test_no_way_between_rooms_leads_back(room: str) -> None:
    assert circle_in(ways_between(room)) == []


def test_a_circle_is_seen() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}}) == ["b", "c", "b"]
    assert ways_between("runtime")["control"] >= {"layout", "records"}


def test_control_reaches_for_no_socket_file_or_lock() -> None:
    reached = {
        (name, imported)
        for name, path in FILES.items()
        if name.startswith("runtime.control.")
        for imported in imports_of(path)
        if any(imported == outside or imported.startswith(f"{outside}.") for outside in OUTSIDE)
    }
    assert reached == set()
