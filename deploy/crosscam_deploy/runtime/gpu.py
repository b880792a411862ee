"""Engines of this machine: found in the store or built, and opened.

Engines that travel with the bundle come first. The store keeps an engine for each model, picture
size, TensorRT and GPU. Engines that are damaged, or that TensorRT does not read any more, are built
anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines.api import find_tensorrt
from crosscam_deploy.engines.beside import find_beside
from crosscam_deploy.engines.builder import EngineBuilder
from crosscam_deploy.engines.options import EngineOptions, options_told
from crosscam_deploy.engines.store import EngineStore
from crosscam_deploy.log import get_logger
from crosscam_deploy.manifest import compute_model_id
from crosscam_deploy.resize_graph import resized
from crosscam_deploy.runtime.base import native_size
from crosscam_deploy.runtime.cuda import open_cuda
from crosscam_deploy.runtime.onnxruntime_engine import takes_any_size
from crosscam_deploy.runtime.tensorrt_engine import TensorRtEngine
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.engines.api import Flavour, TensorRT
    from crosscam_deploy.engines.builder import Progress
    from crosscam_deploy.engines.store import Engine
    from crosscam_deploy.runtime.cuda import Cuda

_log = get_logger("engines")
# Frames come from few cameras at a time and are large, crops come in dozens.
BUCKETS = {"detect": (1, 2, 4, 8), "embed": (1, 4, 8, 16, 32, 64)}
_POLL_SECONDS = 0.5


def open_engine(
    bundle: Bundle,
    flavour: Flavour,
    *,
    streams: int = 1,
    input_size: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> TensorRtEngine:
    """Open a bundle on the GPU, which takes minutes when its engine must be built.

    Args:
        bundle: In ONNX.
        flavour: Which TensorRT.
        streams: Batches that run at the same time.
        input_size: Height and width to run at instead of the manifest's.
        progress: Is told the step of a build and its share in [0, 1]; may raise to stop it.

    Raises:
        InputError: TensorRT cannot read the graph, or it does not take `input_size`.
        RunError: No TensorRT, no GPU, no memory, or the build failed.
        UsageError: The bundle is not in ONNX.
    """
    if bundle.manifest.format != "onnx":
        raise UsageError(
            f"{bundle.manifest.name} is in the format {bundle.manifest.format}",
            expected="an ONNX bundle: TensorRT reads no other",
            fix="use --runtime openvino",
        )
    tensorrt, cuda, store = find_tensorrt(flavour), open_cuda(), EngineStore()
    options = options_for(bundle, flavour)
    with at_size(bundle, input_size or native_size(bundle)) as source:
        key = store.key(source, options, tensorrt, cuda.device)

        def opened(engine: Engine) -> TensorRtEngine:
            return TensorRtEngine(
                bundle, engine, tensorrt, cuda, streams=streams, built_from=source
            )

        with _one_build_at_a_time(store, progress):
            beside = find_beside(bundle, tensorrt, cuda.device) if source is bundle else None
            for kept in (beside, _find(store, key)):
                if kept is None:
                    continue
                try:
                    return opened(kept)
                except InputError as error:
                    _log.warning("the kept engine is built anew", reason=str(error))
            engine = _build(store, key, source, options, tensorrt, cuda, progress)
        return opened(engine)


def options_for(bundle: Bundle, flavour: Flavour) -> EngineOptions:
    """Return how an engine of a bundle is built here: as its manifest says, if it says so."""
    chosen = bundle.manifest.run_with
    if chosen is None or chosen.engine is None:
        return EngineOptions(buckets=BUCKETS[bundle.manifest.task])
    return options_told(chosen.engine, rtx=flavour == "tensorrt-rtx")


@contextmanager
def at_size(bundle: Bundle, size: tuple[int, int]) -> Iterator[Bundle]:
    """Give a bundle whose manifest and graph are for pictures of `(height, width)` pixels.

    Raises:
        InputError: The graph does not take the size.
    """
    if size == native_size(bundle):
        yield bundle
    elif takes_any_size(bundle):
        yield _sized(bundle, size, bundle.path, dict(bundle.manifest.files))
    else:
        content = resized(bundle, size)
        with tempfile.TemporaryDirectory(prefix="crosscam-sized-") as folder:
            name = bundle.manifest.model_file
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            hashes = {name: hashlib.sha256(content).hexdigest()}
            yield _sized(bundle, size, Path(folder), hashes)


def _sized(bundle: Bundle, size: tuple[int, int], path: Path, files: dict[str, str]) -> Bundle:
    manifest = bundle.manifest
    height, width = size
    prep = manifest.preprocessing.model_copy(update={"height": height, "width": width})
    model_id = compute_model_id(
        task=manifest.task,
        files=files,
        output_names=manifest.output_names,
        preprocessing=prep,
        decoder=manifest.decoder,
    )
    changes = {"files": files, "preprocessing": prep, "model_id": model_id}
    return Bundle(path, manifest.model_copy(update=changes))


def _find(store: EngineStore, key: str) -> Engine | None:
    try:
        return store.find(key)
    except InputError as error:
        _log.warning("the kept engine is built anew", reason=str(error))
        return None


def _build(
    store: EngineStore,
    key: str,
    source: Bundle,
    options: EngineOptions,
    tensorrt: TensorRT,
    cuda: Cuda,
    progress: Progress | None,
) -> Engine:
    about = f"{tensorrt.version} {cuda.device.name} {cuda.device.capability}"
    timings = store.root / f"timings-{hashlib.sha256(about.encode()).hexdigest()[:16]}"
    _log.info("building an engine", model=source.manifest.name, device=cuda.device.name)
    with cuda.current():
        builder = EngineBuilder(tensorrt, cuda.device, timings=timings, progress=progress)
        built = builder.build(source, options)
    _log.info("engine built", model=source.manifest.name, seconds=built.manifest.seconds)
    return store.keep(key, built)


@contextmanager
def _one_build_at_a_time(store: EngineStore, progress: Progress | None) -> Iterator[None]:
    """Wait for builds of other threads and processes: two at once would spoil each other's timings.

    The progress is told of it, so that waiting can be stopped like a build.
    """
    store.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.root / "building.lock", thread_local=False)
    while True:
        try:
            lock.acquire(timeout=_POLL_SECONDS)
            break
        except Timeout:
            if progress is not None:
                progress("waiting for another build", 0.0)
    try:
        yield
    finally:
        lock.release()
