"""ONNX Runtime's providers for NVIDIA GPUs: their options, and sessions that really use them.

ONNX Runtime takes the processor without a word when a provider cannot be loaded. Here that is an
error, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crosscam_deploy.runtime.onnxruntime_engine import session_options
from crosscam_kernels.errors import InputError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Provider = Literal["cuda", "tensorrt"]
Search = Literal["EXHAUSTIVE", "HEURISTIC", "DEFAULT"]
NAMES: dict[Provider, str] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_TAKES = {"cuda": "CUDA 12 or 13 and cuDNN 9", "tensorrt": "CUDA, cuDNN and TensorRT 10"}


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """How a provider works.

    Attributes:
        device: Index, among those that ``CUDA_VISIBLE_DEVICES`` leaves.
        memory_limit: Bytes that the CUDA provider's arena may take; None for all there are.
            TensorRT: workspace of a build; None for its own default.
        tf32: Whether CUDA computes products of float32 in TF32, where the GPU has it.
        search: How cuDNN's algorithm for a convolution is found: all tried, or told by a rule.
        graphs: Whether to use CUDA graphs; with TensorRT only where there is one bucket.
        half: Whether TensorRT may compute float32 in float16.
        int8: Whether TensorRT takes a graph's quantised nodes (Q/DQ) in int8.
    """

    device: int = 0
    memory_limit: int | None = None
    tf32: bool = True
    search: Search = "HEURISTIC"
    graphs: bool = True
    half: bool = False
    int8: bool = False

    def __post_init__(self) -> None:
        if self.device < 0 or (self.memory_limit is not None and self.memory_limit < 1 << 20):
            raise UsageError(
                f"device={self.device}, memory_limit={self.memory_limit}",
                expected="a device from 0 on, and at least 1 MiB",
            )


def available(provider: Provider) -> bool:
    """Whether the installed ONNX Runtime was built with a provider."""
    import onnxruntime as ort

    return NAMES[provider] in ort.get_available_providers()


def check_available(provider: Provider) -> None:
    """Refuse a provider that the installed ONNX Runtime lacks.

    Raises:
        RunError: It lacks it.
    """
    import onnxruntime as ort

    if available(provider):
        return
    here = ", ".join(
        name.removesuffix("ExecutionProvider") for name in ort.get_available_providers()
    )
    raise RunError(
        f"the installed ONNX Runtime {ort.__version__} has no {NAMES[provider]}, only {here}",
        expected="a build for GPUs",
        fix="pip uninstall onnxruntime && pip install onnxruntime-gpu (Jetson: NVIDIA's wheel), or "
        "use --runtime tensorrt",
    )


def cuda_provider(options: GpuOptions, stream: int) -> tuple[str, dict[str, str]]:
    """Return the CUDA provider with its options, for a session on a stream."""
    told = {
        "device_id": str(options.device),
        "user_compute_stream": str(stream),
        "cudnn_conv_algo_search": options.search,
        "cudnn_conv_use_max_workspace": "1",
        # Blocks of the size that is asked for: boxes have little memory, and buckets are few.
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": _flag(options.tf32),
        "enable_cuda_graph": _flag(options.graphs),
    }
    if options.memory_limit is not None:
        told["gpu_mem_limit"] = str(options.memory_limit)
    return NAMES["cuda"], told


def tensorrt_provider(
    options: GpuOptions,
    stream: int,
    *,
    cache: Path,
    image: str,
    size: tuple[int, int],
    buckets: Sequence[int],
    free_batch: bool,
) -> tuple[str, dict[str, str]]:
    """Return the TensorRT provider with its options, for a session on a stream.

    Args:
        options: How it works.
        stream: That it works on.
        cache: Folder for its engines and timings.
        image: Name of the graph's input.
        size: Height and width in pixels.
        buckets: Sizes of batches, by rising size; one profile takes all of them, and is tuned for
            the largest.
        free_batch: Whether the graph's batch is free: only then is there something to profile.
    """
    told = {
        "device_id": str(options.device),
        "user_compute_stream": str(stream),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_fp16_enable": _flag(options.half),
        "trt_int8_enable": _flag(options.int8),
        "trt_cuda_graph_enable": _flag(options.graphs and len(buckets) == 1),
    }
    if options.memory_limit is not None:
        told["trt_max_workspace_size"] = str(options.memory_limit)
    if free_batch:
        height, width = size
        for kind, count in (("min", buckets[0]), ("opt", buckets[-1]), ("max", buckets[-1])):
            told[f"trt_profile_{kind}_shapes"] = f"{image}:{count}x3x{height}x{width}"
    return NAMES["tensorrt"], told


def _flag(value: bool) -> str:
    return "1" if value else "0"


def gpu_session(
    graph: Path | bytes, providers: Sequence[tuple[str, dict[str, str]]], *, name: str
) -> Any:
    """Open a session whose first provider is really used.

    Args:
        graph: The ONNX file, or its content.
        providers: With their options, best first.
        name: Of the model, for messages.

    Raises:
        InputError: The file is not a graph that ONNX Runtime takes.
        RunError: The provider could not be loaded.
    """
    import onnxruntime as ort

    # What stays on the processor is arithmetic of shapes: more threads would only be woken up.
    options = session_options(threads=1)
    source = graph if isinstance(graph, bytes) else str(graph)
    wanted = providers[0][0]
    try:
        opened = ort.InferenceSession(source, options, providers=[*providers])
    except Exception as error:  # its classes are private and differ between versions
        line = (str(error).splitlines() or ["no reason given"])[0][:300]
        if "INVALID_PROTOBUF" in line or "INVALID_GRAPH" in line:
            raise InputError(
                f"ONNX Runtime cannot open {name}: {line}",
                expected="a valid ONNX graph of an opset that this version knows",
                fix="export the model again, or update onnxruntime",
            ) from error
        raise _not_loaded(name, wanted, line) from error
    opened.disable_fallback()
    if wanted not in opened.get_providers():
        raise _not_loaded(name, wanted, f"it took {', '.join(opened.get_providers())} instead")
    return opened


def _not_loaded(name: str, wanted: str, why: str) -> RunError:
    kind = next(kind for kind, each in NAMES.items() if each == wanted)
    return RunError(
        f"ONNX Runtime could not use its {wanted} for {name}: {why}",
        expected=f"{_TAKES[kind]} where the loader finds them, in the versions of this wheel",
        fix="look at nvidia-smi, and at ONNX Runtime's table of versions; --runtime onnxruntime "
        "runs on the processor",
    )
