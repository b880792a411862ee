"""OpenVINO: the default engine on CPUs, two to four times as fast as the others there."""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime import compiled_cache
from crosscam_deploy.runtime.base import PooledRuntime, check_outputs
from crosscam_deploy.runtime.onnxruntime_engine import usable_cores
from crosscam_deploy.runtime.openvino_graph import check_once, core, graph, load, reason, shape_of
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs, Precision

_log = get_logger("openvino")
_CAPABILITIES = "OPTIMIZATION_CAPABILITIES"
_BATCHES = (4, 2, 1)
"""What batches of a free graph are put together from: OpenVINO keeps code and buffers for every
size that it has met, up to 40 MiB each, and more than four images go hardly faster (ADR 0033)."""


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
                f"OpenVINO failed on {self.bundle.manifest.name}: {reason(error)}",
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
            _log.info("kept graph not taken", model=bundle.manifest.name, reason=reason(error))
    try:
        compiled = core().compile_model(graph(bundle, size), "CPU", properties)
    except RuntimeError as error:
        raise RunError(
            f"OpenVINO cannot compile {bundle.manifest.name}: {reason(error)}",
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
        _log.info("graph not kept", model=bundle.manifest.name, reason=reason(error))
        return
    compiled_cache.keep(key, content)
