"""Choice of the engine for a bundle."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal

from crosscam_kernels.errors import RunError, UsageError

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Precision, Runtime

RuntimeName = Literal["auto", "openvino", "onnxruntime"]


def available_runtimes() -> list[str]:
    """Return the engines whose packages are installed, best first."""
    return [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]


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
            its own (`Manifest.run_with`).
        precision: ``"auto"`` leaves it to the engine (OpenVINO: bf16 on CPUs that have it),
            ``"f32"`` is for comparisons.
        threads: Threads of the engine; 0 for one a core.
        streams: Batches that run at the same time (`submit`); each gets its share of the threads.
        input_size: Height and width in pixels to run at instead of the manifest's. Convolutional
            graphs can, and heads that hold the size are written anew (`resize_graph`); what the
            outputs then mean is for the caller to know.
        lazy: Check the graph now, prepare it at the first inference: for a runtime that may never
            be used.

    Raises:
        InputError: The manifest does not fit the graph, the file is not a valid graph, or the graph
            does not take `input_size`.
        RunError: No engine on this machine runs this format.
        UsageError: The engine cannot do what was asked.
    """
    installed = available_runtimes()
    chosen = bundle.manifest.run_with
    if chosen is not None and runtime in ("auto", chosen.runtime) and chosen.runtime in installed:
        runtime = chosen.runtime
        # bf16 stays auto: that is what OpenVINO takes wherever the CPU has it, and f32 elsewhere
        if precision == "auto" and chosen.precision == "f32":
            precision = "f32"
    if runtime == "auto":
        usable = [n for n in installed if n == "openvino" or bundle.manifest.format == "onnx"]
        if not usable:
            raise RunError(
                f"no installed engine runs {bundle.manifest.name} ({bundle.manifest.format})",
                expected="openvino, or onnxruntime for ONNX models",
                fix="pip install openvino (no wheel for this machine: use an ONNX model)",
            )
        integers = precision == "auto" and quantises_while_running(bundle)
        better = integers and "onnxruntime" in usable
        runtime = "openvino" if "openvino" in usable and not better else "onnxruntime"
    elif runtime not in installed:
        raise RunError(
            f"the engine {runtime!r} is not installed",
            expected=f"one of {installed}",
            fix=f"pip install {runtime}",
        )
    if threads < 0 or streams < 1:
        raise UsageError(
            f"threads={threads}, streams={streams}",
            expected="threads ≥ 0 and streams ≥ 1",
            fix="leave them at their defaults",
        )
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
