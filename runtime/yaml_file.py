"""Reading a YAML file that a user wrote: rigs, manifests, calibrations, embodiments."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
import yaml

from runtime.devices import driver_names
from runtime.errors import UsageError

_STEP: Final = re.compile(r"\[\.{3}\]|\[\d+\]|[^.\[\]`]+")
"""A step of msgspec's into a value: a field, an item of a list, or an entry of a mapping, which it does not name."""


class _TwiceError(yaml.MarkedYAMLError):
    """A key that a mapping has already."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice: YAML takes the last, and what the first one said would be lost unseen."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _TwiceError(problem=f"key {key.value!r} comes twice; leave one", problem_mark=key.start_mark)
                seen.add(key.value)
        return node


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, as plain dicts, lists and values.

    Raises:
        UsageError: the file cannot be read, is not valid YAML, or gives a key twice; names the file and the line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  a safe loader
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a YAML file") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply; write one 'key: value' a line") from None
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        what = error.problem if isinstance(error, _TwiceError) else "not valid YAML; write one 'key: value' a line"
        raise UsageError(f"{path}{line}: {what}") from None


def convert(raw: Any, kind: Any, path: Path | str, *, strict: bool = True) -> Any:
    """Turn parsed YAML, or the settings of an address, into a Struct; errors name it, the key and what would be right.

    Numbers may be written as text where it is not `strict`.
    """
    try:
        made = msgspec.convert(raw, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {_explain(str(error), raw, kind, strict=strict)}") from None
    for key, number in _not_finite(msgspec.to_builtins(made), ""):
        raise UsageError(f"{path}: key {key!r}: {number} is not finite; give a number that is")
    return made


def _not_finite(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """Yield every NaN and infinity with its key: no comparison refuses a NaN, so a check against one always passes."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _not_finite(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _not_finite(inner, f"{key}[{i}]")


def _explain(message: str, raw: Any, kind: Any, *, strict: bool) -> str:
    """Return what msgspec says of a value, with its whole key, which it leaves out of a mapping, and what is valid."""
    text, _, place = message.partition(" - at ")
    where = ""
    for step in _STEP.findall(place.rpartition("$")[2]):
        name, raw, kind = _inside(raw, kind, step, strict=strict)
        where += name if step.startswith("[") and name == step else f".{name}"
    where = where.removeprefix(".")
    chosen = _chosen(raw, kind)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown is not None:
        close = difflib.get_close_matches(unknown[1], _fields(chosen), n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(_fields(chosen)))}"
        return f"unknown key {f'{where}.{unknown[1]}'.removeprefix('.')!r}; {hint}"
    if place.startswith("`key`"):
        where, chosen = f"{where}.*".removeprefix("."), get_args(chosen)[0] if get_args(chosen) else str
    if get_origin(chosen) is Literal:
        text += f"; valid: {', '.join(map(str, get_args(chosen)))}"
    elif where.endswith(".driver"):
        text += f"; valid drivers: {', '.join(driver_names(kind))}"
    return f"key {where!r}: {text}" if where else text


def _inside(raw: Any, kind: Any, step: str, *, strict: bool) -> tuple[str, Any, Any]:
    """Return what lies a step of msgspec's further in: its name, the value, and the type that it should have."""
    chosen = _chosen(raw, kind)
    if step == "[...]":
        kind = get_args(chosen)[1]
        name = next(key for key, value in raw.items() if not _fits(value, kind, strict=strict))
        return name, raw[name], kind
    if step.startswith("["):
        kinds, i = get_args(chosen), int(step[1:-1])
        return step, raw[i], kinds[i] if len(kinds) == len(raw) and Ellipsis not in kinds else kinds[0]
    # A driver is no field of any of the devices that it chooses between.
    return step, raw.get(step), _fields(chosen).get(step, kind)


def _chosen(raw: Any, kind: Any) -> Any:
    """Return which of the types that a value may have it is closest to."""
    if get_origin(kind) is Annotated:
        return _chosen(raw, get_args(kind)[0])
    if get_origin(kind) not in (Union, UnionType):
        return kind
    options = [_chosen(raw, option) for option in get_args(kind) if option is not NoneType]
    if isinstance(raw, dict):
        options = [option for option in options if get_origin(option) is dict or _is_tagged(raw, option)]
    return options[0] if len(options) == 1 else kind


def _is_tagged(raw: dict[str, Any], kind: Any) -> bool:
    """Whether a mapping is said to be a Struct of this type; one that has no driver needs not be."""
    return bool(_fields(kind)) and kind.__struct_config__.tag in (None, raw.get("driver"))


def _fields(kind: Any) -> dict[str, Any]:
    """Return the keys of a Struct with their types; none of any other type."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def _fits(value: Any, kind: Any, *, strict: bool) -> bool:
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        return False
    return True
