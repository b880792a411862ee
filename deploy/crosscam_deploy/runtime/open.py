"""Choice of the engine for a bundle."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal

from crosscam_deploy.engines.api import is_installed
from crosscam_deploy.engines.device import find_device
from crosscam_deploy.log import get_logger
from crosscam_kernels.errors import CrosscamError, RunError, UsageError

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.api import Flavour
    from crosscam_deploy.engines.builder import Progress
    from crosscam_deploy.runtime.base import Precision, Runtime

RuntimeName = Literal[
    "auto",
    "openvino",
    "onnxruntime",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
    "torch-inductor",
]
BY_NAME = ("onnxruntime-cuda", "onnxruntime-tensorrt", "torch", "torch-inductor")
"""Runtimes that are never chosen by themselves."""
FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt-rtx")

_log = get_logger("runtime")


def available_runtimes() -> list[str]:
    """Return the engines for processors whose packages are installed, best first."""
    return [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]


def gpu_runtimes() -> list[Flavour]:
    """Return each TensorRT that can run engines here; none without a CUDA device."""
    flavours = [each for each in FLAVOURS if is_installed(each)]
    try:
        return flavours if flavours and find_device() is not None else []
    except CrosscamError as error:  # a driver that is out of order
        _log.warning("the GPU is not used", reason=str(error))
        return []


def quantises_while_running(bundle: Bundle) -> bool:
    """Return whether a graph computes in dynamic int8 (``ConvInteger``, ``MatMulInteger``)."""
    if bundle.manifest.format != "onnx":
        return False
    # Names of operators stand in an ONNX file as they are, before its weights or between them.
    content = bundle.model_path.read_bytes()
    return b"DynamicQuantizeLinear" in content and (
        b"ConvInteger" in content or b"MatMulInteger" in content
    )


def open_runtime(
    bundle: Bundle,
    *,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    threads: int = 0,
    streams: int = 1,
    input_size: tuple[int, int] | None = None,
    lazy: bool = False,
) -> Runtime:
    """Open a bundle for inference.

    Args:
        bundle: From `load_bundle` or `resolve`.
        runtime: Engine; ``"auto"`` takes OpenVINO where its wheel exists, else ONNX Runtime, and
            ONNX Runtime for graphs that quantise while running, which OpenVINO computes in float
            at half the speed (YOLOv8n on an AVX-512 CPU: 108 against 55 ms). A built model names
            its own (`Manifest.run_with`). Where TensorRT and a CUDA device are found, and
            `precision` is ``"auto"``, that engine serves until one for the GPU is built and agrees
            with it (`FirstUse`). ``"tensorrt"`` and ``"tensorrt-rtx"`` build before they return,
            ``"torch-inductor"`` and ``"onnxruntime-tensorrt"`` do, too. Those in `BY_NAME` are
            never chosen by themselves.
        precision: ``"auto"`` leaves it to the engine (OpenVINO: bf16 on CPUs that have it),
            ``"f32"`` is for comparisons. TensorRT computes in the types of the graph.
        threads: Threads of the engine; 0 for one a core.
        streams: Batches that run at the same time (`submit`); each gets its share of the threads.
        input_size: Height and width in pixels to run at instead of the manifest's. Convolutional
            graphs can, and heads that hold the size are written anew (`resize_graph`); what the
            outputs then mean is for the caller to know.
        lazy: Check the graph now, prepare it at the first inference: for a runtime that may never
            be used. Not for TensorRT.

    Raises:
        InputError: The manifest does not fit the graph, the file is not a valid graph, or the graph
            does not take `input_size`.
        RunError: No engine on this machine runs this format.
        UsageError: The engine cannot do what was asked.
    """
    if threads < 0 or streams < 1:
        raise UsageError(
            f"threads={threads}, streams={streams}",
            expected="threads ≥ 0 and streams ≥ 1",
            fix="leave them at their defaults",
        )
    if runtime in FLAVOURS:
        if precision == "bf16":
            raise UsageError(
                f"{runtime} computes in the types of the graph",
                expected="precision auto or f32",
                fix="build the model in bf16 with `crosscam build`",
            )
        return _on_gpu(bundle, runtime, streams, input_size, None)
    if runtime in BY_NAME:
        return _by_name(bundle, runtime, precision, threads, streams, input_size)
    installed = available_runtimes()
    chosen = bundle.manifest.run_with
    if chosen is not None and runtime in ("auto", chosen.runtime) and chosen.runtime in installed:
        runtime = chosen.runtime
        # bf16 stays auto: that is what OpenVINO takes wherever the CPU has it, and f32 elsewhere
        if precision == "auto" and chosen.precision == "f32":
            precision = "f32"
    flavour: Flavour | None = None
    if runtime == "auto":
        integers = precision == "auto" and quantises_while_running(bundle)
        runtime = _best(bundle, installed, integers=integers)
        if precision == "auto" and bundle.manifest.format == "onnx" and not integers:
            flavour = _gpu_runtime(chosen.runtime if chosen is not None else None)
    elif runtime not in installed:
        raise RunError(
            f"the engine {runtime!r} is not installed",
            expected=f"one of {installed}",
            fix=f"pip install {runtime}",
        )
    serving = _on_processor(bundle, runtime, precision, threads, streams, input_size, lazy=lazy)
    if flavour is None:
        return serving
    from crosscam_deploy.runtime.first_use import FirstUse

    asked: Flavour = flavour
    return FirstUse(serving, lambda told: _on_gpu(bundle, asked, streams, input_size, told), asked)


def _gpu_runtime(wanted: str | None) -> Flavour | None:
    """Return the TensorRT that a model was built for, or else any, that can run engines here."""
    usable = gpu_runtimes()
    return next((each for each in usable if each == wanted), usable[0] if usable else None)


def _best(bundle: Bundle, installed: list[str], *, integers: bool) -> RuntimeName:
    usable = [n for n in installed if n == "openvino" or bundle.manifest.format == "onnx"]
    if not usable:
        raise RunError(
            f"no installed engine runs {bundle.manifest.name} ({bundle.manifest.format})",
            expected="openvino, or onnxruntime for ONNX models",
            fix="pip install openvino (no wheel for this machine: use an ONNX model)",
        )
    better = integers and "onnxruntime" in usable
    return "openvino" if "openvino" in usable and not better else "onnxruntime"


def _on_gpu(
    bundle: Bundle,
    flavour: Flavour,
    streams: int,
    input_size: tuple[int, int] | None,
    progress: Progress | None,
) -> Runtime:
    from crosscam_deploy.runtime.gpu import open_engine

    return open_engine(bundle, flavour, streams=streams, input_size=input_size, progress=progress)


def _by_name(
    bundle: Bundle,
    runtime: RuntimeName,
    precision: Precision,
    threads: int,
    streams: int,
    input_size: tuple[int, int] | None,
) -> Runtime:
    if precision == "bf16":
        raise UsageError(
            f"{runtime} computes in the types of the graph",
            expected="precision auto or f32",
            fix="use --runtime openvino",
        )
    if runtime in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
        from crosscam_deploy.runtime.onnxruntime_gpu import OnnxRuntimeGpuEngine, fitting

        return OnnxRuntimeGpuEngine(
            bundle,
            "cuda" if runtime == "onnxruntime-cuda" else "tensorrt",
            options=fitting(bundle, exact=precision == "f32"),
            streams=streams,
            input_size=input_size,
        )
    from crosscam_deploy.runtime.torch_engine import TorchEngine

    return TorchEngine(
        bundle,
        compiled=runtime == "torch-inductor",
        precision=precision,
        threads=threads,
        streams=streams,
        input_size=input_size,
    )


def _on_processor(
    bundle: Bundle,
    runtime: RuntimeName,
    precision: Precision,
    threads: int,
    streams: int,
    input_size: tuple[int, int] | None,
    *,
    lazy: bool,
) -> Runtime:
    if runtime == "openvino":
        from crosscam_deploy.runtime.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(
            bundle,
            precision=precision,
            threads=threads,
            streams=streams,
            input_size=input_size,
            lazy=lazy,
        )
    if precision == "bf16":
        raise UsageError(
            "ONNX Runtime does not compute in bf16 on the CPU",
            expected="precision auto or f32",
            fix="use --runtime openvino",
        )
    from crosscam_deploy.runtime.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(
        bundle, threads=threads, streams=streams, input_size=input_size, lazy=lazy
    )
