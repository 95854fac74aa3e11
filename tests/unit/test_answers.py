"""A peer's answer is read where it is whole, finite and of its shape, and else it is one line of the adapter's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from runtime.inference.adapters import answers
from runtime.inference.adapters.base import AdapterError

HUGE = 10**400
"""A whole number that no float64 holds; JSON sends it as any other."""


def test_numbers_are_read() -> None:
    for value in ([[1, 2], [3, 4]], ((1, 2), (3, 4)), np.array([[1, 2], [3, 4]], np.int8)):
        read = answers.numbers(value, "x", (None, 2), AdapterError)
        assert (read.dtype, read.tolist()) == (np.float64, [[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (None, "answered without 'x'"),
        (3.0, "'x' that is no array"),
        ([[HUGE, 0]], "'x' that is no array of numbers"),
        ([[0, -HUGE]], "'x' that is no array of numbers"),
        ([["a", "b"]], "'x' that is no array of numbers"),
        ([[1, 2], [3]], "'x' that is no array of numbers"),
        ([[1, 2, 3]], r"'x' of shape \(1, 3\); nx2 is needed"),
        ([[10**31, 0]], "'x' with NaN, infinity or more than 1e"),
        ([[math.nan, 0]], "'x' with NaN, infinity or more than 1e"),
        ([[math.inf, 0]], "'x' with NaN, infinity or more than 1e"),
    ],
)
def test_what_are_no_numbers_is_refused(value: Any, part: str) -> None:
    with pytest.raises(AdapterError, match=part):
        answers.numbers(value, "x", (None, 2), AdapterError)


def test_of_times_what_are_no_numbers_is_left_out() -> None:
    told = {
        "infer_ms": 5,
        "total_ms": 7.5,
        "huge": HUGE,
        "low": -HUGE,
        "nan": math.nan,
        "inf": math.inf,
        "text": "5",
        3: 1,
    }
    assert answers.timings(told, None, [1], {"other_ms": 1}) == {"infer_ms": 5.0, "total_ms": 7.5, "other_ms": 1.0}
