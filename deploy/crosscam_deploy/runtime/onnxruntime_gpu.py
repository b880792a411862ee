"""ONNX Runtime on NVIDIA GPUs: its CUDA and its TensorRT provider."""

from __future__ import annotations

import queue
import shutil
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.log import get_logger
from crosscam_deploy.paths import cache_dir
from crosscam_deploy.resize_graph import resized
from crosscam_deploy.runtime import sealed
from crosscam_deploy.runtime.base import PooledRuntime, check_outputs, native_size
from crosscam_deploy.runtime.cuda import Stream, open_cuda
from crosscam_deploy.runtime.gpu import BUCKETS
from crosscam_deploy.runtime.onnxruntime_engine import free_or_size, takes_any_size
from crosscam_deploy.runtime.onnxruntime_lane import GpuLane
from crosscam_deploy.runtime.onnxruntime_providers import (
    GpuOptions,
    check_available,
    cuda_provider,
    gpu_session,
    tensorrt_provider,
)
from crosscam_deploy.runtime.tensorrt_engine import split
from crosscam_deploy.runtime.tensorrt_plan import Bucket
from crosscam_kernels.errors import CrosscamError, InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs
    from crosscam_deploy.runtime.cuda import Cuda
    from crosscam_deploy.runtime.onnxruntime_providers import Provider

_log = get_logger("onnxruntime")


class OnnxRuntimeGpuEngine(PooledRuntime):
    """A bundle in ONNX Runtime on a GPU; one session for each stream.

    Batches are filled up with black pictures to the next bucket, longer ones run in parts. The
    first batch of a bucket runs freely, and tells what memory the others need.

    Args:
        bundle: The model, in ONNX.
        provider: Which one. What TensorRT does not take, CUDA does.
        options: How it works; None for what fits the bundle.
        streams: Batches that run at the same time; each has a session, and so weights, of its own.
        input_size: Height and width in pixels instead of the manifest's.
        cuda: The device; None for the one that `options` names.

    Raises:
        InputError: The graph is not ONNX, no graph, does not fit its manifest or the size.
        RunError: The installed ONNX Runtime lacks the provider, it cannot be loaded, or there is no
            device.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider,
        *,
        options: GpuOptions | None = None,
        streams: int = 1,
        input_size: tuple[int, int] | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        if bundle.manifest.format != "onnx":
            raise InputError(
                f"{bundle.manifest.name} is an OpenVINO model, ONNX Runtime cannot run it",
                expected="an ONNX bundle",
                fix="use --runtime openvino",
            )
        check_available(provider)
        self._options = options or fitting(bundle)
        self._cuda = cuda or open_cuda(self._options.device)
        super().__init__(bundle, streams, input_size)
        self.name = f"onnxruntime-{provider}"
        self.device = self._cuda.device.name
        self.precision = bundle.manifest.precision
        self._provider: Provider = provider
        self._lanes: queue.SimpleQueue[GpuLane | None] = queue.SimpleQueue()
        self._sealing: tuple[Path, dict[str, str]] | None = None
        try:
            self._open()
        except CrosscamError:
            self._pool.shutdown()
            raise

    def _open(self) -> None:
        bundle, size = self.bundle, self.input_size
        graph: Path | bytes = bundle.model_path
        if not takes_any_size(bundle) and size != native_size(bundle):
            graph = resized(bundle, size)
        self.max_batch = None
        if not bundle.manifest.dynamic_batch:
            self.max_batch = fixed_batch(graph, bundle.manifest.input_name)
        sizes = (self.max_batch,) if self.max_batch else BUCKETS[bundle.manifest.task]
        self._buckets = tuple(Bucket(each, 0) for each in sizes)
        if self._provider == "tensorrt":
            self._sealing = _engines(bundle, size, sizes, self._options, self._cuda)
        with self._cuda.current(), ExitStack() as owned:
            for _ in range(self._streams):
                stream = Stream(self._cuda)
                owned.callback(stream.close)
                session = self._session(graph, stream.handle, self._options)
                lane = GpuLane(session, stream, self._cuda, bundle.manifest, size)
                owned.callback(lane.close)
                self._lanes.put(lane)
            self._owned = owned.pop_all()

    def _session(self, graph: Path | bytes, stream: int, options: GpuOptions) -> Any:
        """Open a session, without CUDA graphs where ONNX Runtime cannot make any of it."""
        name = self.bundle.manifest.name
        providers = [cuda_provider(options, stream)]
        if self._provider == "tensorrt":
            assert self._sealing is not None
            first = tensorrt_provider(
                options,
                stream,
                cache=self._sealing[0],
                image=self.bundle.manifest.input_name,
                size=self.input_size,
                buckets=[bucket.size for bucket in self._buckets],
                free_batch=self.max_batch is None,
            )
            # Two providers cannot capture one graph; what is left to CUDA then runs as it is.
            providers = [first, cuda_provider(replace(options, graphs=False), stream)]
        try:
            return gpu_session(graph, providers, name=name)
        except RunError as error:
            if not options.graphs or "graph" not in error.found.lower():
                raise
            _log.warning("no CUDA graphs, somewhat slower", model=name, reason=error.found)
            self._options = replace(options, graphs=False)
            return self._session(graph, stream, self._options)

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        lane = self._lanes.get()
        if lane is None:
            self._lanes.put(None)
            raise RunError("the runtime is closed", fix="open it again with open_runtime()")
        try:
            with self._cuda.current():
                parts = [
                    lane.run(batch[start : start + bucket.size], bucket.size)
                    for start, bucket in split(len(batch), self._buckets)
                ]
        finally:
            self._lanes.put(lane)
        joined = (
            parts[0] if len(parts) == 1 else [np.concatenate(c) for c in zip(*parts, strict=True)]
        )
        return check_outputs(self.bundle, len(batch), joined)

    def warm_up(self) -> None:
        """Run a black image once; what TensorRT built for it is sealed in the cache."""
        super().warm_up()
        self._seal()

    def _release(self) -> None:
        # Waits for batches that other threads still run: their memory is about to be freed.
        for _ in range(self._streams):
            self._lanes.get()
        self._lanes.put(None)
        self._seal()
        try:
            with self._cuda.current():
                self._owned.close()
        except RunError as error:  # after a fault of the device nothing can be freed any more
            _log.warning("session not freed", model=self.bundle.manifest.name, reason=str(error))

    def _seal(self) -> None:
        if self._sealing is None:
            return
        try:
            sealed.seal(*self._sealing)
        except OSError as error:  # built again next time
            _log.info("engines not kept", at=str(self._sealing[0]), error=str(error))


def fitting(bundle: Bundle, *, exact: bool = False) -> GpuOptions:
    """Return the options that fit a bundle: TensorRT may use the numbers that it was built for.

    Args:
        bundle: The model.
        exact: Whether to keep TF32 and float16 out.
    """
    precision = bundle.manifest.precision
    return GpuOptions(
        tf32=not exact,
        half=precision == "f16" and not exact,
        int8=precision in ("int8", "mixed"),
    )


def fixed_batch(graph: Path | bytes, image: str) -> int | None:
    """Return how many pictures a graph takes at once; None for any number."""
    import onnx

    if isinstance(graph, bytes):
        model = onnx.load_model_from_string(graph)
    else:
        model = onnx.load(graph, load_external_data=False)
    first = next(each for each in model.graph.input if each.name == image)
    return free_or_size(first.type.tensor_type.shape.dim[0].dim_value)


def _engines(
    bundle: Bundle, size: tuple[int, int], sizes: tuple[int, ...], options: GpuOptions, cuda: Cuda
) -> tuple[Path, dict[str, str]]:
    """Return the folder for TensorRT's engines and what they depend on.

    ONNX Runtime loads whatever lies in it. So it is emptied first where it is not what this machine
    left there.
    """
    import onnxruntime as ort

    facts = {
        "graph_sha256": sha256_file(bundle.model_path),
        "model_id": bundle.model_id,
        "size": "x".join(map(str, size)),
        "buckets": " ".join(map(str, sizes)),
        "onnxruntime": ort.__version__,
        "device": f"{cuda.device.name} {cuda.device.capability}",
        "half": str(options.half),
        "int8": str(options.int8),
    }
    folder = cache_dir() / "onnxruntime-tensorrt" / sealed.name_of(facts)
    if folder.exists() and not sealed.is_sealed(folder, facts):
        _log.warning("engines that this machine did not leave there are deleted", at=str(folder))
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder, facts
