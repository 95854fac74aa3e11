"""What a TensorRT engine is given, on a stand-in for the library: addresses of memory in order, which stays."""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.inference.backends.tensorrt import _Engine


class Held:
    """Stands for a tensor on a GPU."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def contiguous(self) -> Held:
        return self if self.array.flags.c_contiguous else Held(np.ascontiguousarray(self.array))

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)


class Context:
    """Stands for a context: it adds 1 to the float32 (2, 3) at the address that it is given."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> None:
        self.at[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        seen, made = (
            np.ctypeslib.as_array(ctypes.cast(self.at[name], ctypes.POINTER(ctypes.c_float)), (2, 3))
            for name in ("state", "actions")
        )
        made[:] = seen + 1.0
        return True


class Engine:
    """Stands for an engine; `room` is for how many contexts the GPU has memory."""

    num_io_tensors = 2

    def __init__(self, room: int = 9) -> None:
        self.room = room
        self.contexts: list[Context] = []

    def get_tensor_name(self, i: int) -> str:
        return ("state", "actions")[i]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "state" else "out"

    def get_tensor_location(self, name: str) -> str:
        return "device"

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return 2, 3

    def create_execution_context(self) -> Context | None:
        if len(self.contexts) == self.room:
            return None
        self.contexts.append(Context())
        return self.contexts[-1]


class Logger:
    ERROR = 0

    def __init__(self, level: int) -> None: ...


def loaded(engine: Engine) -> _Engine:
    trt = SimpleNamespace(
        Logger=Logger,
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: engine),
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
    engine = Engine()
    turned = np.arange(6, dtype=np.float32).reshape(3, 2).T
    model = loaded(engine).context()
    (actions,) = model(state=Held(turned))
    (context,) = engine.contexts
    assert np.array_equal(actions.array, turned + 1.0)
    assert context.at["state"] != turned.ctypes.data
    kept = weakref.ref(model._read["state"])
    assert kept().data_ptr() == context.at["state"]
    straight = Held(np.ones((2, 3), np.float32))
    model(state=straight)
    assert context.at["state"] == straight.data_ptr()
    assert kept() is None


def test_each_size_of_pictures_has_a_context_of_its_own_with_its_own_answer() -> None:
    engine = Engine()
    held = loaded(engine)
    models = [held.context(), held.context()]
    answers = [model(state=Held(np.full((2, 3), i, np.float32)))[0].array for i, model in enumerate(models)]
    assert len(engine.contexts) == 2
    assert [float(answer[0, 0]) for answer in answers] == [1.0, 2.0]


def test_a_gpu_without_memory_for_another_context_says_so() -> None:
    held = loaded(Engine(room=1))
    held.context()
    with pytest.raises(RuntimeError, match="too little memory"):
        held.context()
