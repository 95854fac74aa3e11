"""Mutants that change nothing that could be seen, each with the reason; by module and the mutant's name."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[dict[str, dict[str, str]]] = {}
