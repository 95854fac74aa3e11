"""Which of ONNX Runtime's execution providers are tried for a device, and which of them then really runs a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runtime.errors import UsageError
from runtime.inference.backends.cache import cache_folder

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
DEVICES: Final = ("auto", "cpu", "cuda")
GPU_REMEDY: Final = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]', or use device 'cpu'"
)
"""The two packages write the same folder, and the one that was installed last is there."""

Provider = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Attempt:
    """Providers to make a session with, the wanted one first. `captured`: its kernels are launched as one CUDA graph,
    which ONNX Runtime refuses where a graph has control flow or a node that runs elsewhere.
    """

    providers: list[Provider]
    captured: bool = False

    @property
    def wanted(self) -> str:
        """The provider that is meant to run the graph."""
        return self.providers[0][0]

    @property
    def on_gpu(self) -> bool:
        """Whether inputs and outputs belong in a GPU's memory."""
        return self.wanted != CPU


def attempts(device: str, precision: str, available: Sequence[str]) -> tuple[Attempt, ...]:
    """Return what to try, best first: each provider of the GPU with and without a captured graph, then the processor.

    One that cannot keep to a precision is not tried for it.

    Raises:
        UsageError: the device is unknown, or ONNX Runtime was built without it.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; valid: {', '.join(DEVICES)}")
    if device == "cuda" and CUDA not in available:
        raise UsageError(f"device 'cuda': this ONNX Runtime runs on the processor only; {GPU_REMEDY}")
    processor = Attempt([(CPU, {})])
    if device == "cpu" or CUDA not in available:
        return (processor,)
    tries = [Attempt([_cuda(precision, captured), (CPU, {})], captured) for captured in (True, False)]
    if device == "cuda":
        return tuple(tries)
    if TENSORRT in available and precision == "bf16":
        # What TensorRT has no kernel for is CUDA's.
        rest: list[Provider] = [_cuda(precision, captured=False), (CPU, {})]
        tries = [Attempt([_tensorrt(captured), *rest], captured) for captured in (True, False)] + tries
    return (*tries, processor)


def in_words(session: Any, attempt: Attempt, why: Mapping[str, str]) -> str:
    """Return what really runs a session's graph, with each provider's share of the nodes where several have some.

    `why` names the attempts before by provider, and the reason for which each came to nothing.
    """
    name = str(session.get_providers()[0])
    counts = _nodes(session)
    if len(counts) > 1:
        name += f" ({', '.join(f'{count} nodes on {other}' for other, count in counts.most_common())})"
    failed = [f"{other} could not run it: {reason}" for other, reason in why.items() if other != attempt.wanted]
    if failed:
        name += f" ({'; '.join(failed)})"
    return name + (", CUDA graph" if attempt.captured else "")


def _nodes(session: Any) -> Counter[str]:
    """Return how many nodes each provider has been given; empty where this ONNX Runtime does not say."""
    try:
        parts = session.get_provider_graph_assignment_info()
    except (AttributeError, RuntimeError):
        return Counter()
    counts: Counter[str] = Counter()
    for part in parts:
        counts[part.ep_name] += len(part.get_nodes())
    return counts


def _cuda(precision: str, captured: bool) -> Provider:
    # TF32 rounds what is multiplied to 10 bits: 1e-3, not the 1e-5 that fp32 promises.
    return CUDA, {"enable_cuda_graph": str(int(captured)), "use_tf32": str(int(precision != "fp32"))}


def _tensorrt(captured: bool) -> Provider:
    # It multiplies fp32 in TF32 and has no option against that (microsoft/onnxruntime#26029): for bf16 only.
    folder = str(cache_folder())
    return TENSORRT, {
        "trt_cuda_graph_enable": str(int(captured)),
        "trt_bf16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
