"""Reading a YAML file that a user wrote: rigs, manifests, calibrations, embodiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from runtime.errors import UsageError


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
