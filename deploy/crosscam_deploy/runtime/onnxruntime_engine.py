"""ONNX Runtime: runs ONNX graphs everywhere."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.graph import inspect
from crosscam_deploy.resize_graph import resized
from crosscam_deploy.runtime import verdicts
from crosscam_deploy.runtime.base import PooledRuntime, check_graph, check_outputs, native_size
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs

_ERRORS_ONLY = 3


def session_options(*, threads: int) -> Any:
    """Return ``onnxruntime.SessionOptions`` that suit a box with other work to do.

    Args:
        threads: Threads inside an operator.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads sleep instead of taking the cores from decoding and tracking. It costs a wake-up
    # for each operator that is shared out: benchmarks/ort_threads.py tells how much.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def session(graph: Path | bytes, *, threads: int = 0, optimise: bool = True) -> Any:
    """Open an ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        graph: The ONNX file, or its content.
        threads: Threads inside an operator; 0 for one a core.
        optimise: Whether to rewrite the graph (off: only to look at it).

    Raises:
        InputError: The file is not a graph that ONNX Runtime takes.
    """
    import onnxruntime as ort

    options = session_options(threads=threads or usable_cores())
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        source = graph if isinstance(graph, bytes) else str(graph)
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are private and differ between versions
        name = "the graph" if isinstance(graph, bytes) else graph.name
        raise InputError(
            f"ONNX Runtime cannot open {name}: {str(error).splitlines()[0][:300]}",
            expected="a valid ONNX graph of an opset that this version knows",
            fix="export the model again, or update onnxruntime",
        ) from error


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_or_size(dim: object) -> int | None:
    """Return a fixed dimension, or None for a symbolic one."""
    return dim if isinstance(dim, int) and dim > 0 else None


def open_at(bundle: Bundle, size: tuple[int, int], threads: int) -> Any:
    """Open a bundle's graph for images of `(height, width)` pixels.

    Raises:
        InputError: It is no graph, does not fit its manifest, or does not take the size.
    """
    if takes_any_size(bundle) or size == native_size(bundle):
        return session(bundle.model_path, threads=threads)
    return session(resized(bundle, size), threads=threads)


def takes_any_size(bundle: Bundle) -> bool:
    """Check a bundle's graph against its manifest and say whether its image size is free.

    The answer is kept in the cache for each model and ONNX Runtime version.

    Raises:
        InputError: It is no graph, or does not fit its manifest.
    """
    import onnxruntime as ort

    key = f"any size onnxruntime {ort.__version__} {bundle.manifest.digest()}"
    known = verdicts.get(key)
    if known is None:
        graph = inspect(bundle.model_path)
        check_graph(bundle, graph.inputs, graph.outputs)
        known = graph.inputs[bundle.manifest.input_name][2:] == (None, None)
        verdicts.put(key, value=known)
    return known


class OnnxRuntimeEngine(PooledRuntime):
    """A bundle in ONNX Runtime. A static batch is looped over, the last call filled with zeros.

    With `lazy` the graph is checked at once, but kept in memory only from the first inference on;
    until then `max_batch` is not known.
    """

    name = "onnxruntime"

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        streams: int,
        input_size: tuple[int, int] | None = None,
        lazy: bool = False,
    ) -> None:
        if bundle.manifest.format != "onnx":
            raise InputError(
                f"{bundle.manifest.name} is an OpenVINO model, ONNX Runtime cannot run it",
                expected="an ONNX bundle",
                fix="use --runtime openvino",
            )
        super().__init__(bundle, streams, input_size)
        self._threads = max(1, (threads or usable_cores()) // self._streams)
        self._opening = threading.Lock()
        self._session: Any = None
        self.device = "CPU"
        self.precision = "f32"
        self.max_batch = None
        if lazy:
            if not takes_any_size(bundle) and self.input_size != native_size(bundle):
                resized(bundle, self.input_size)
        else:
            self._prepare()

    def _prepare(self) -> None:
        """Open the graph if that is still to be done."""
        with self._opening:
            if self._session is None:
                opened = open_at(self.bundle, self.input_size, self._threads)
                self.max_batch = free_or_size(opened.get_inputs()[0].shape[0])
                self._session = opened

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        if self._session is None:
            self._prepare()
        step = self.max_batch
        if step is None or len(batch) == step:
            return self._call(batch)
        parts = []
        for start in range(0, len(batch), step):
            part = batch[start : start + step]
            missing = step - len(part)
            if missing:
                part = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
            parts.append([output[: step - missing] for output in self._call(part)])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _call(self, batch: NDArray[np.float32]) -> Outputs:
        manifest = self.bundle.manifest
        try:
            outputs = self._session.run(list(manifest.output_names), {manifest.input_name: batch})
        except Exception as error:
            raise RunError(
                f"ONNX Runtime failed on {manifest.name}: {str(error).splitlines()[0][:300]}",
                fix="try --runtime openvino, and report the model if it fails there too",
            ) from error
        return check_outputs(self.bundle, len(batch), outputs)

    def _release(self) -> None:
        self._session = None
