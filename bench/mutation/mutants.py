"""The mutants of a module: one small change each, in the product's own source."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_COMPARE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BINARY: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_NAMES: Final = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "abs": "float",
}
_UNTOUCHED: Final = (ast.arguments, ast.arg, ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """A changed module: `name` says what was changed where, `tree` is the whole changed source."""

    name: str
    line: int
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Yield the mutants of a module's source; annotations, defaults, decorators and texts are left alone."""
    tree = ast.parse(source)
    seen: dict[str, int] = {}
    for path, node, where in _places(tree, (), ""):
        for changed in _changes(node):
            mutated = copy.deepcopy(tree)
            _put(mutated, path, changed)
            name = f"{where}: {ast.unparse(node)} -> {ast.unparse(changed)}"
            seen[name] = seen.get(name, 0) + 1
            number = f" #{seen[name]}" if seen[name] > 1 else ""
            yield Mutant(name + number, getattr(node, "lineno", 0), ast.fix_missing_locations(mutated))


Path = tuple[tuple[str, int | None], ...]


def _places(node: ast.AST, path: Path, where: str) -> Iterator[tuple[Path, ast.AST, str]]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        where = f"{where}.{node.name}".lstrip(".")
    if path and not isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield path, node, where
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases", "keywords"} and not isinstance(node, ast.Call):
            continue
        if isinstance(value, ast.AST) and not isinstance(value, _UNTOUCHED):
            yield from _places(value, (*path, (name, None)), where)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, ast.AST) and not isinstance(item, _UNTOUCHED):
                    yield from _places(item, (*path, (name, i)), where)


def _put(tree: ast.AST, path: Path, changed: ast.AST) -> None:
    here: ast.AST = tree
    for name, i in path[:-1]:
        value = getattr(here, name)
        here = value if i is None else value[i]
    name, i = path[-1]
    if i is None:
        setattr(here, name, changed)
    else:
        getattr(here, name)[i] = changed


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                changed = copy.deepcopy(node)
                changed.ops[i] = _COMPARE[type(op)]()
                yield changed
        case ast.BinOp(op=op) if type(op) in _BINARY:
            yield ast.BinOp(node.left, _BINARY[type(op)](), node.right)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp():
            yield node.operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float() as value):
            yield ast.Constant(value * 2.0 + (value == 0.0))
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield ast.Name(_NAMES[name], ast.Load())
        case ast.Attribute(value=value, attr=name, ctx=ast.Load()) if name in _NAMES:
            yield ast.Attribute(value, _NAMES[name], ast.Load())
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in _BINARY:
            yield ast.AugAssign(target, _BINARY[type(op)](), value)
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case _:
            return
