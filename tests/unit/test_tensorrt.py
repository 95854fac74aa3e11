"""What a TensorRT engine is given, on a stand-in for the library: addresses of memory in order, which stays."""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from runtime.inference.backends.tensorrt import _Engine


class Held:
    """Stands for a tensor on a GPU."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def contiguous(self) -> Held:
        return self if self.array.flags.c_contiguous else Held(np.ascontiguousarray(self.array))

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)


class Launched:
    """Stands for an engine and its context: it adds 1 to the float32 (2, 3) at the address that it is given."""

    num_io_tensors = 2

    def __init__(self) -> None:
        self.at: dict[str, int] = {}

    def get_tensor_name(self, i: int) -> str:
        return ("state", "actions")[i]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "state" else "out"

    def get_tensor_location(self, name: str) -> str:
        return "device"

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return 2, 3

    def create_execution_context(self) -> Launched:
        return self

    def set_tensor_address(self, name: str, address: int) -> None:
        self.at[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        seen, made = (
            np.ctypeslib.as_array(ctypes.cast(self.at[name], ctypes.POINTER(ctypes.c_float)), (2, 3))
            for name in ("state", "actions")
        )
        made[:] = seen + 1.0
        return True


class Logger:
    ERROR = 0

    def __init__(self, level: int) -> None: ...


def loaded(launched: Launched) -> _Engine:
    trt = SimpleNamespace(
        Logger=Logger,
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: launched),
        TensorIOMode=SimpleNamespace(INPUT="in"),
        TensorLocation=SimpleNamespace(DEVICE="device"),
    )
    torch = SimpleNamespace(
        float32=np.float32,
        empty=lambda shape, dtype, device: Held(np.zeros(shape, dtype)),
        cuda=SimpleNamespace(current_stream=lambda: SimpleNamespace(cuda_stream=0)),
    )
    return _Engine(trt, torch, b"plan", Path("a.onnx"))


def test_an_engine_is_given_memory_in_the_order_of_the_shape_and_it_stays() -> None:
    launched = Launched()
    turned = np.arange(6, dtype=np.float32).reshape(3, 2).T
    engine = loaded(launched)
    (actions,) = engine(state=Held(turned))
    assert np.array_equal(actions.array, turned + 1.0)
    assert launched.at["state"] != turned.ctypes.data
    kept = weakref.ref(engine._read["state"])
    assert kept().data_ptr() == launched.at["state"]
    straight = Held(np.ones((2, 3), np.float32))
    engine(state=straight)
    assert launched.at["state"] == straight.data_ptr()
    assert kept() is None
