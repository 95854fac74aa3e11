"""What ONNX Runtime's providers need of the host: CUDA's libraries where they can be found, and what is missing."""

from __future__ import annotations

import ctypes
import functools
import io
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Final

import onnxruntime as ort

from runtime.inference.backends.providers import CUDA, TENSORRT

REASON_MAX: Final = 200
_NAMES: Final = {CUDA: "cuda", TENSORRT: "tensorrt"}


@functools.cache
def preload() -> None:
    """Load CUDA and cuDNN from pip's nvidia packages, where the dynamic loader does not look for them.

    ONNX Runtime can from 1.21 on, and does not by itself.
    """
    load = getattr(ort, "preload_dlls", None)
    if load is not None:
        # It prints what it does not find; `missing` has that for what is needed.
        with redirect_stdout(io.StringIO()), suppress(OSError, RuntimeError):
            load()


def missing(provider: str) -> str:
    """Return why a provider's library does not load, in the dynamic loader's words; empty where it does."""
    file = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{_NAMES.get(provider)}.so"
    if file.is_file():
        try:
            ctypes.CDLL(str(file))
        except OSError as error:
            return str(error)[:REASON_MAX]
    return ""


def said(error: BaseException) -> str:
    """Return what an error of ONNX Runtime says, without the place in its sources before it and what follows."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.split(r"[)\]] (?=[A-Z])", line)[-1].split(" ; ")[0][:REASON_MAX]
