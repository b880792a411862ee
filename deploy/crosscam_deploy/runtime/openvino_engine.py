"""OpenVINO: the default engine on CPUs, two to four times as fast as the others there.

Graphs with one fixed batch are opened to any batch when they allow it, which is tried and compared
with the original graph once, never assumed: some exports fold the batch into a reshape and would
silently mix the images.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.graph_safety import check_safe
from crosscam_deploy.log import get_logger
from crosscam_deploy.resize_graph import resized
from crosscam_deploy.runtime import compiled_cache, verdicts
from crosscam_deploy.runtime.base import (
    PooledRuntime,
    check_graph,
    check_outputs,
)
from crosscam_deploy.runtime.onnxruntime_engine import usable_cores
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs, Precision

_log = get_logger("openvino")
_CAPABILITIES = "OPTIMIZATION_CAPABILITIES"
_BATCHES = (4, 2, 1)
"""What batches of a free graph are put together from: OpenVINO keeps code and buffers for every
size that it has met, up to 40 MiB each, and more than four images go hardly faster (ADR 0033)."""
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
            f"OpenVINO cannot open {name}: {_reason(error)}",
            expected="a valid ONNX graph or OpenVINO IR (.xml with its .bin)",
            fix="export the model again, or update openvino",
        ) from error


def _reason(error: Exception) -> str:
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


def cpu_properties(precision: Precision, *, threads: int, streams: int) -> dict[str, Any]:
    """Return how a graph is compiled for the CPU.

    Args:
        precision: ``"auto"`` leaves it to OpenVINO.
        threads: In all; 0 for one for each core that this process may use.
        streams: Batches that run at the same time; one is run for the shortest answer, several for
            throughput, with their number given: the hint would choose it by itself.
    """
    cores = os.cpu_count() or 1
    allowed = min(threads or cores, usable_cores())
    properties: dict[str, Any] = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": allowed if allowed < cores else threads,
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
    }
    if streams > 1:
        properties["PERFORMANCE_HINT_NUM_REQUESTS"] = streams
    if allowed < cores:
        # Pinned, the threads of every model and process would sit on the same first cores.
        properties["ENABLE_CPU_PINNING"] = False
    if precision != "auto":
        properties["INFERENCE_PRECISION_HINT"] = precision
    return properties


class OpenVinoEngine(PooledRuntime):
    """A bundle in OpenVINO on the CPU.

    With `lazy` the graph is checked at once, but compiled at the first inference; until then
    `max_batch` is not known and `precision` is the one that OpenVINO prefers on this machine.
    """

    name = "openvino"

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision,
        threads: int,
        streams: int,
        input_size: tuple[int, int] | None = None,
        lazy: bool = False,
    ) -> None:
        super().__init__(bundle, streams, input_size)
        self._properties = cpu_properties(precision, threads=threads, streams=self._streams)
        self._compiling = threading.Lock()
        self._compiled: Any = None
        self._ports: list[Any] = []
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.device = "CPU"
        self.max_batch = None
        if lazy:
            check_once(bundle, self.input_size)
            default = core().get_property("CPU", "INFERENCE_PRECISION_HINT")
            self.precision = _precision(default) if precision == "auto" else precision
        else:
            self._prepare()

    def _prepare(self) -> None:
        """Compile the graph if that is still to be done."""
        with self._compiling:
            if self._compiled is not None:
                return
            compiled = compiled_graph(self.bundle, self.input_size, self._properties)
            self.max_batch = shape_of(compiled.inputs[0])[0]
            self._ports = [compiled.output(name) for name in self.bundle.manifest.output_names]
            for _ in range(self._streams):
                self._requests.put(compiled.create_infer_request())
            self.precision = _precision(compiled.get_property("INFERENCE_PRECISION_HINT"))
            self._compiled = compiled

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        if self._compiled is None:
            self._prepare()
        outputs = self._run_sizes(batch, parts_of(len(batch), self.max_batch))
        return check_outputs(self.bundle, len(batch), outputs)

    def _run_sizes(self, batch: NDArray[np.float32], sizes: list[int]) -> Outputs:
        try:
            return self._run_parts(batch, sizes)
        except RuntimeError as error:
            raise RunError(
                f"OpenVINO failed on {self.bundle.manifest.name}: {_reason(error)}",
                fix="try --runtime onnxruntime, and report the model if it fails there too",
            ) from error

    def warm_up(self) -> None:
        """Run black images in every size of batch on every stream, which keep code for each."""
        self._checked(np.zeros((0, 3, *self.input_size), np.float32))  # raises when closed
        self._prepare()
        for size in _BATCHES if self.max_batch is None else (self.max_batch,):
            black = np.zeros((size * self._streams, 3, *self.input_size), np.float32)
            self._run_sizes(black, [size] * self._streams)

    def _read(self, request: Any) -> Outputs:
        # a request's tensors are overwritten by its next run
        return [np.array(request.get_tensor(port).data) for port in self._ports]

    def _run_parts(self, batch: NDArray[np.float32], sizes: list[int]) -> Outputs:
        """Run a batch in parts, on as many streams as are idle; the last is filled up."""
        missing = sum(sizes) - len(batch)
        if missing:
            batch = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.float32)])
        parts = np.split(batch, np.cumsum(sizes[:-1]))
        mine = [self._requests.get()]
        while len(mine) < len(parts):
            try:
                mine.append(self._requests.get_nowait())
            except queue.Empty:
                break
        try:
            results: list[Outputs] = []
            for start in range(0, len(parts), len(mine)):
                wave = list(zip(mine, parts[start : start + len(mine)], strict=False))
                for request, part in wave:
                    request.start_async({0: part}, share_inputs=True)
                for request, _ in wave:
                    request.wait()
                    results.append(self._read(request))
        finally:
            for request in mine:
                request.wait()
                self._requests.put(request)
        if len(results) == 1 and not missing:
            return results[0]
        return [
            np.concatenate(column)[: len(batch) - missing] for column in zip(*results, strict=True)
        ]

    def _release(self) -> None:
        self._requests = queue.SimpleQueue()
        self._ports = []
        self._compiled = None


def parts_of(count: int, fixed: int | None) -> list[int]:
    """Return the batches that a number of images is run in.

    Args:
        count: Images, >= 1.
        fixed: The only size that the graph takes; None for any.

    Returns:
        Sizes, whose sum is `count`; with a fixed one up to `fixed` - 1 more.
    """
    if fixed is not None:
        return [fixed] * -(-count // fixed)
    sizes, left = [], count
    for size in _BATCHES:
        sizes += [size] * (left // size)
        left %= size
    return sizes


def _precision(hint: object) -> str:
    # "<Type: 'bfloat16'>" in most versions
    name = str(hint).removeprefix("<Type: '").removesuffix("'>")
    return {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}.get(name, name)


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


def compiled_graph(bundle: Bundle, size: tuple[int, int], properties: dict[str, Any]) -> Any:
    """Return an ``openvino.CompiledModel``, from the cache where it was compiled before.

    The cache's key holds all that the compiled graph depends on: OpenVINO's version, the CPU and
    what it can do, the manifest with the hashes of the model's files, the size and the properties.

    Raises:
        InputError: See `graph`.
        RunError: OpenVINO cannot compile the graph.
    """
    cpu = [core().get_property("CPU", name) for name in ("FULL_DEVICE_NAME", _CAPABILITIES)]
    key = f"openvino {load().__version__} {cpu} {bundle.manifest.digest()} {size} {properties}"
    kept = compiled_cache.load(key)
    if kept is not None:
        try:
            return core().import_model(kept, "CPU", properties)
        except RuntimeError as error:
            _log.info("kept graph not taken", model=bundle.manifest.name, reason=_reason(error))
    try:
        compiled = core().compile_model(graph(bundle, size), "CPU", properties)
    except RuntimeError as error:
        raise RunError(
            f"OpenVINO cannot compile {bundle.manifest.name}: {_reason(error)}",
            fix="try --runtime onnxruntime",
        ) from error
    _keep(key, compiled, bundle)
    return compiled


def _keep(key: str, compiled: Any, bundle: Bundle) -> None:
    weights = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files)
    if weights > compiled_cache.LARGEST:  # a copy of it in memory would be in vain
        return
    try:
        content = compiled.export_model().getvalue()
    except RuntimeError as error:
        _log.info("graph not kept", model=bundle.manifest.name, reason=_reason(error))
        return
    compiled_cache.keep(key, content)


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
