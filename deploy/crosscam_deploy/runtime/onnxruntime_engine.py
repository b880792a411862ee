"""ONNX Runtime: runs ONNX graphs everywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.runtime.base import (
    PooledRuntime,
    check_graph,
    check_outputs,
    no_other_size,
)
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs

_ERRORS_ONLY = 3


def session(path: Path, *, threads: int = 0, optimise: bool = True) -> Any:
    """Open an ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        path: The ONNX file.
        threads: Threads inside an operator; 0 for one a core.
        optimise: Whether to rewrite the graph (off: only to look at it).

    Raises:
        InputError: The file is not a graph that ONNX Runtime takes.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    # idle threads sleep instead of taking the cores from decoding and tracking
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are private and differ between versions
        raise InputError(
            f"ONNX Runtime cannot open {path.name}: {str(error).splitlines()[0][:300]}",
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


class OnnxRuntimeEngine(PooledRuntime):
    """A bundle in ONNX Runtime. A static batch is looped over, the last call filled with zeros."""

    name = "onnxruntime"

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        streams: int,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        if bundle.manifest.format != "onnx":
            raise InputError(
                f"{bundle.manifest.name} is an OpenVINO model, ONNX Runtime cannot run it",
                expected="an ONNX bundle",
                fix="use --runtime openvino",
            )
        share = max(1, (threads or usable_cores()) // max(1, streams))
        self._session = session(bundle.model_path, threads=share)
        inputs = {i.name: [free_or_size(d) for d in i.shape] for i in self._session.get_inputs()}
        outputs = {o.name: [free_or_size(d) for d in o.shape] for o in self._session.get_outputs()}
        check_graph(bundle, inputs, outputs)
        super().__init__(bundle, streams, input_size)
        sizes = inputs[bundle.manifest.input_name][2:]
        if any(have not in (want, None) for have, want in zip(sizes, self.input_size, strict=True)):
            raise no_other_size(bundle, self.input_size)
        self.device = "CPU"
        self.precision = "f32"
        self.max_batch = inputs[bundle.manifest.input_name][0]

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
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
