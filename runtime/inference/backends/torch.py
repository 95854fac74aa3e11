"""PyTorch backend: a lab's own model, on the processor or a GPU, with the same named inputs as an ONNX graph.

A model is TorchScript (`.pt`), a program of `torch.export` (`.pt2`) or `module:function`, a function in a Python file
of the policy's folder. It is called as `function(device=torch.device, precision="fp32" or "bf16")` and returns the
model, any callable. A model is called with tensors by the names of `runtime.inference.backends.shape`, on its device,
and returns `actions` (horizon, 14), or that and its estimate of the objects (K,), as a tuple or by these names. A
generator yields its chunk as it grows (runtime.inference.backends.torch_stream).

Loading any of them runs what is in it: serve only what you would run.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.backends.base import ENTRY_POINT, Backend, ModelInputs, ModelOutputs
from runtime.inference.backends.providers import DEVICES
from runtime.inference.backends.shape import GraphShape, Tensor, check_inputs, values
from runtime.inference.backends.torch_run import StaticRun, allow_tf32, described, reason
from runtime.inference.backends.torch_steps import StepBackend, is_step
from runtime.inference.backends.torch_stream import TorchStream, read_answer

SIZES_MAX: Final = 4
"""Sizes of pictures that are kept ready at once: a rig may have another than the model."""
Model = Callable[..., Any]


def load_torch(
    folder: Path, name: str, shape: GraphShape, *, device: str = "auto", precision: str = "fp32", threads: int = 1
) -> Backend:
    """Load what a manifest names under `torch`, and run it once.

    Raises:
        UsageError: torch or the device is not there, the file is not what it should be, or the model fails on a blank
            observation or answers with something else than a chunk.
    """
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError:
        raise UsageError("backend 'torch' needs the extra: pip install 'leadtime[torch]'") from None
    torch.set_num_threads(threads)
    chosen = choose_device(torch, device)
    entry = ENTRY_POINT.fullmatch(name)
    if entry is not None:
        path = folder / f"{entry['module']}.py"
        model = _from_python(path, entry["function"], torch.device(chosen), precision)
    elif name.endswith(".pt"):
        path = folder / name
        model = _from_script(torch, path, shape, chosen)
    else:
        path = folder / name
        program = _read(path, torch.export.load, torch.__version__)
        if chosen != "cpu":
            program = importlib.import_module("torch.export.passes").move_to_device_pass(program, chosen)
        if is_step(program):
            return StepBackend(torch, path, program, shape, chosen, precision)
        model = _from_program(path, program, shape)
    whole = TorchBackend(torch, path, lambda: model, shape, chosen, precision)
    if whole.grows:
        return TorchStream(torch, model, shape, torch.device(chosen), precision, whole.provider)
    return whole


def choose_device(torch: Any, device: str) -> str:
    """Return the device that torch shall run on.

    Raises:
        UsageError: it is unknown, or there is no such.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; valid: {', '.join(DEVICES)}")
    there = bool(torch.cuda.is_available())
    if device == "cuda" and not there:
        raise UsageError(
            f"device 'cuda': torch {torch.__version__} finds no GPU; install a driver and a torch for CUDA, "
            "or use device 'cpu'"
        )
    return "cpu" if device == "cpu" or not there else "cuda"


class TorchBackend:
    """A whole policy: pictures are resized and scaled on its device, bf16 by autocast, sums in fp32.

    `make` gives the model, one for each size of pictures; it may be the same.
    """

    def __init__(
        self, torch: Any, path: Path, make: Callable[[], Model], shape: GraphShape, device: str, precision: str
    ) -> None:
        self._torch = torch
        self._make = make
        self._shape = shape
        self._device = device
        self._precision = precision
        self._runs: dict[tuple[int, ...], StaticRun] = {}
        self.grows = False
        """Whether the model is a generator, which yields its chunk as it grows."""
        allow_tf32(torch, device, precision)
        blank = {name: np.zeros(tensor.shape, tensor.dtype) for name, tensor in shape.inputs().items()}
        if shape.cameras:
            blank["images"] = np.zeros((shape.cameras, shape.height_px, shape.width_px, 3), dtype=np.uint8)
        try:
            self._ready(blank).run(blank)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        except Exception as error:  # whatever a lab's model raises
            raise UsageError(f"{path}: the model fails on a blank observation, {where(error)}") from error

    @property
    def provider(self) -> str:
        """Version, device, and whether the model is one CUDA graph."""
        return described(self._torch, self._device, self._precision, next(iter(self._runs.values())).how)

    @property
    def guided(self) -> bool:
        """A whole model is not pulled."""
        return False

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the chunk for one observation.

        Raises:
            UsageError: guidance is asked for.
        """
        if inputs.guidance is not None:
            raise UsageError("a guided chunk needs a guided graph; backend torch has none for this model")
        return self.chunk(inputs)

    def chunk(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the model's answer to whatever of the inputs it reads."""
        given = values(inputs)
        actions, *rest = self._ready(given).run(given)
        return ModelOutputs(actions, rest[0] if rest else None)

    def _ready(self, given: dict[str, Any]) -> StaticRun:
        """Return the run for pictures of the size given, made at its first use."""
        images = given["images"] if self._shape.cameras else np.zeros(0, dtype=np.uint8)
        run = self._runs.get(images.shape)
        if run is None:
            like: dict[str, NDArray[Any]] = {
                name: images if name == "images" else np.zeros(tensor.shape, tensor.dtype)
                for name, tensor in self._shape.inputs().items()
            }
            if len(self._runs) >= SIZES_MAX:
                del self._runs[next(iter(self._runs))]
            compute = functools.partial(self._compute, self._make())
            run = StaticRun(self._torch, self._device, like, compute, capturable=lambda: not self.grows)
            self._runs[images.shape] = run
        return run

    def _compute(self, model: Model, tensors: dict[str, Any]) -> list[Any]:
        torch = self._torch
        seen = dict(tensors)
        if "images" in seen:
            seen["images"] = self._shape.pictures.on_device(torch, seen["images"])
        half = self._precision == "bf16"
        with torch.autocast(self._device, dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            answer = model(**seen)
            if isinstance(answer, Generator):
                self.grows = True
                for grown in answer:
                    answer = grown
        return read_answer(torch, answer, self._shape.horizon)


def _read(path: Path, load: Callable[[str], Any], version: str) -> Any:
    try:
        with warnings.catch_warnings():
            # Torch is giving TorchScript up; what it can load is served.
            for kind in (DeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", kind)
            return load(str(path))
    except Exception:  # whatever is in the file, it is not what was wanted
        raise UsageError(f"{path} is not a program that torch {version} can load") from None


def _from_script(torch: Any, path: Path, shape: GraphShape, device: str) -> Model:
    script = _read(path, lambda file: torch.jit.load(file, map_location=device), torch.__version__)
    names = [argument.name for argument in script.forward.schema.arguments if argument.name != "self"]
    wanted = shape.inputs()
    check_inputs(path, {name: wanted.get(name) for name in names}, shape)
    model: Model = script.eval()
    return model


def _from_program(path: Path, program: Any, shape: GraphShape) -> Model:
    names = program.graph_signature.user_inputs
    kinds = {node.name: node.meta["val"] for node in program.graph.nodes if node.name in names}
    have = {name: Tensor(str(kind.dtype).removeprefix("torch."), _sizes(kind.shape)) for name, kind in kinds.items()}
    check_inputs(path, have, shape)
    model: Model = program.module()
    if program.example_inputs and program.example_inputs[1]:
        return model
    return lambda **tensors: model(*(tensors[name] for name in names))


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in shape)


def _from_python(path: Path, function: str, device: Any, precision: str) -> Model:
    """Import a file of the policy's folder, under a name of its own, and let it make its model."""
    name = f"leadtime_policy_{path.stem}"
    if str(path.parent) not in sys.path:
        # Last: the folder's own files are found, and can stand in for nothing else.
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        make = getattr(module, function, None)
        if not callable(make):
            raise UsageError(f"{path} has no function {function!r}; manifest key 'torch' names it")
        model = make(device=device, precision=precision)
    except UsageError:
        raise
    except Exception as error:  # whatever a lab's file raises
        raise UsageError(f"{path}: {function} gives no model, {where(error)}") from error
    if not callable(model):
        raise UsageError(f"{path}: {function} returns {type(model).__name__}; it must return the model, a callable")
    made: Model = model
    return made


def where(error: BaseException) -> str:
    """Return an error's kind, text and innermost line, for an operator."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {reason(error)} ({Path(last.filename).name}, line {last.lineno})"
