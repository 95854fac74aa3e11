"""Replay: the control decisions of a recorded run made again, compared with what was commanded, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.blackbox import Run, load_run
from runtime.errors import LeadtimeError

NOT_DECIDED: Final = frozenset({"compute_ns", "skipped"})
"""Fields of a tick that the loop measures around the decisions."""
