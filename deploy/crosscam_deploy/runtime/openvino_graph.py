"""Graphs as OpenVINO reads them: checked against their manifest, their batch free where that works.

Graphs with one fixed batch are opened to any batch when they allow it, which is tried and compared
with the original graph once, never assumed: some exports fold the batch into a reshape and would
silently mix the images.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.graph_safety import check_safe
from crosscam_deploy.log import get_logger
from crosscam_deploy.resize_graph import resized
from crosscam_deploy.runtime import verdicts
from crosscam_deploy.runtime.base import check_graph
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle

_log = get_logger("openvino")
_PROBE_BATCH = 3
# float32 sums in another order differ by far less, mixed-up images by far more
_PROBE_TOLERANCE = 5e-3


@cache
def load() -> Any:
    """Import openvino without its usage reports.

    ``import openvino`` sends an event to Google Analytics from a forked process. Its converter
    takes a stub instead when the package ``openvino_telemetry`` cannot be imported, so that is
    made so, for this process.

    Raises:
        ImportError: openvino is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


@cache
def core() -> Any:
    """Return the process's ``openvino.Core``."""
    return load().Core()


def read(graph: Path | bytes) -> Any:
    """Read a graph.

    Args:
        graph: An ONNX file, the ``.xml`` of an OpenVINO model, or the content of an ONNX file.

    Raises:
        InputError: The file is not a graph that OpenVINO takes, or one that `check_safe` refuses.
    """
    if not isinstance(graph, bytes) and graph.suffix.lower() == ".onnx":
        check_safe(graph)
    try:
        return core().read_model(graph if isinstance(graph, bytes) else str(graph))
    except RuntimeError as error:
        name = "the graph" if isinstance(graph, bytes) else graph.name
        raise InputError(
            f"OpenVINO cannot open {name}: {reason(error)}",
            expected="a valid ONNX graph or OpenVINO IR (.xml with its .bin)",
            fix="export the model again, or update openvino",
        ) from error


def reason(error: Exception) -> str:
    """Return the last line of what OpenVINO says of a failure, 300 characters of it at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def shape_of(port: Any) -> list[int | None]:
    """Return a port's shape with None for free sizes."""
    partial = port.get_partial_shape()
    if partial.rank.is_dynamic:
        return []
    return [dim.get_length() if dim.is_static else None for dim in partial]


def name_of(port: Any, fallback: str) -> str:
    """Return a port's tensor name; nameless ports get `fallback`."""
    names = sorted(port.get_names())
    return names[0] if names else fallback


def graph(bundle: Bundle, size: tuple[int, int]) -> Any:
    """Read a bundle's graph for images of `(height, width)` pixels, its batch free if that works.

    Raises:
        InputError: It is no graph, does not fit its manifest, or does not take the size.
    """
    model = read(bundle.model_path)
    inputs = {name_of(port, f"input{i}"): shape_of(port) for i, port in enumerate(model.inputs)}
    outputs = {
        name: shape_of(port)
        for i, port in enumerate(model.outputs)
        for name in (sorted(port.get_names()) or [f"output{i}"])
    }
    check_graph(bundle, inputs, outputs)
    shape = inputs[bundle.manifest.input_name]
    batch = shape[0]
    if shape[1:] != [3, *size]:  # a known image size makes the plan static but for the batch
        try:
            model.reshape([-1 if batch is None else batch, 3, *size])
        except RuntimeError:  # the size stands in the graph's head
            model = read(resized(bundle, size))
    if batch is not None and opens_to_any_batch(bundle):
        model.reshape(_any_batch(model))
    return model


def check_once(bundle: Bundle, size: tuple[int, int]) -> None:
    """Do what `graph` does to find errors, once for each model and OpenVINO version."""
    key = f"usable openvino {load().__version__} {bundle.manifest.digest()} {size}"
    if verdicts.get(key) is None:
        graph(bundle, size)
        verdicts.put(key, value=True)


def _any_batch(model: Any) -> list[int]:
    return [-1, *(dim.get_length() for dim in list(model.input(0).get_partial_shape())[1:])]


def opens_to_any_batch(bundle: Bundle) -> bool:
    """Say whether a graph with a fixed batch gives the same answers with any batch.

    The verdict is kept in the cache for each model and OpenVINO version.
    """
    key = f"any-batch openvino {load().__version__} {bundle.model_id}"
    known = verdicts.get(key)
    if known is None:
        known = _probe_any_batch(bundle)
        verdicts.put(key, value=known)
        _log.info("graph tried with any batch", model=bundle.manifest.name, works=known)
    return known


def _probe_any_batch(bundle: Bundle) -> bool:
    original = read(bundle.model_path)
    opened = read(bundle.model_path)
    fixed = original.input(0).get_partial_shape()[0].get_length()
    try:
        opened.reshape(_any_batch(opened))
        for before, after in zip(original.outputs, opened.outputs, strict=True):
            sizes = shape_of(after)
            if not sizes or sizes[0] is not None or sizes[1:] != shape_of(before)[1:]:
                return False
        properties = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        reference = core().compile_model(original, "CPU", properties).create_infer_request()
        candidate = core().compile_model(opened, "CPU", properties).create_infer_request()
        images = _noise(bundle, _PROBE_BATCH)
        together = [np.array(value) for value in candidate.infer({0: images}).values()]
        for index, image in enumerate(images):
            alone = reference.infer({0: np.repeat(image[None], fixed, axis=0)}).values()
            for many, one in zip(together, alone, strict=True):
                scale = float(np.abs(one[0]).max()) or 1.0
                error = float(np.abs(many[index] - one[0]).max())
                if not error <= _PROBE_TOLERANCE * scale:  # also when it is not a number
                    return False
    except RuntimeError:  # the graph cannot be reshaped: the answer, not a failure
        return False
    return True


def _noise(bundle: Bundle, count: int) -> NDArray[np.float32]:
    """Blocky random images, different from each other, as the model would see them."""
    prep = bundle.manifest.preprocessing
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 3, 8, 8))
    rows = np.arange(prep.height) * 8 // prep.height
    columns = np.arange(prep.width) * 8 // prep.width
    pixels = coarse[:, :, rows][:, :, :, columns] * prep.scale
    mean = np.array(prep.mean).reshape(3, 1, 1)
    std = np.array(prep.std).reshape(3, 1, 1)
    return np.ascontiguousarray((pixels - mean) / std, np.float32)
