"""TensorRT and TensorRT-RTX: run engines on NVIDIA GPUs."""

from __future__ import annotations

import queue
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime.base import PooledRuntime, check_outputs, native_size
from crosscam_deploy.runtime.tensorrt_lane import Lane
from crosscam_deploy.runtime.tensorrt_plan import Plan
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.api import TensorRT
    from crosscam_deploy.engines.store import Engine
    from crosscam_deploy.runtime.base import Outputs
    from crosscam_deploy.runtime.cuda import Cuda
    from crosscam_deploy.runtime.tensorrt_plan import Bucket

_log = get_logger("tensorrt")


class TensorRtEngine(PooledRuntime):
    """An engine on a GPU, in either flavour of TensorRT.

    Batches are filled up with black pictures to the next bucket of the engine, longer ones are run
    in parts. Memory for a bucket is taken when it is first used. From the second batch of a bucket
    on, its copies and kernels run as one CUDA graph.

    Args:
        bundle: The model.
        engine: Built from it.
        tensorrt: That shall run it.
        cuda: Where.
        streams: Batches that run at the same time; each has buffers of its own.
        built_from: What the engine was built from, when that is the model at another picture size.
        graphs: Whether to use CUDA graphs.

    Attributes:
        engine: What was given.

    Raises:
        InputError: Another model's engine, or a plan that is damaged, refused or does not fit.
        RunError: It was built for another TensorRT or GPU, or there is no memory for it.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        tensorrt: TensorRT,
        cuda: Cuda,
        *,
        streams: int = 1,
        built_from: Bundle | None = None,
        graphs: bool = True,
    ) -> None:
        source = built_from or bundle
        super().__init__(bundle, streams, native_size(source))
        self.name = tensorrt.flavour
        self.device = cuda.device.name
        self.precision = bundle.manifest.precision
        self.engine = engine
        self._cuda = cuda
        self._lanes: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        try:
            self._open(engine, source, tensorrt, graphs=graphs)
        except CrosscamError as error:
            self._pool.shutdown()
            # the frames of a traceback would keep what TensorRT made beyond its logger
            raise error.with_traceback(None) from None
        self.max_batch = None if bundle.manifest.dynamic_batch else self._buckets[-1].size

    def _open(self, engine: Engine, source: Bundle, tensorrt: TensorRT, *, graphs: bool) -> None:
        wanted = len(source.manifest.output_names)
        with self._cuda.current(), ExitStack() as owned:
            self._plan = Plan(engine, source, tensorrt, self._cuda)
            owned.callback(self._plan.close)
            for _ in range(self._streams):
                lane = Lane(self._plan, self._cuda, wanted, graphs=graphs)
                owned.callback(lane.close)
                self._lanes.put(lane)
            self._buckets = self._plan.buckets
            self._owned = owned.pop_all()

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        lane = self._lanes.get()
        if lane is None:
            self._lanes.put(None)
            raise RunError("the runtime is closed", fix="open it again with open_runtime()")
        try:
            with self._cuda.current():
                parts = [
                    lane.run(batch[start : start + bucket.size], bucket)
                    for start, bucket in split(len(batch), self._buckets)
                ]
        except CrosscamError as error:
            raise error.with_traceback(None) from None
        finally:
            self._lanes.put(lane)
        joined = (
            parts[0] if len(parts) == 1 else [np.concatenate(c) for c in zip(*parts, strict=True)]
        )
        return check_outputs(self.bundle, len(batch), joined)

    def _release(self) -> None:
        # Waits for batches that other threads still run: their memory is about to be freed.
        for _ in range(self._streams):
            self._lanes.get()
        self._lanes.put(None)
        try:
            with self._cuda.current():
                self._owned.close()
        except RunError as error:  # after a fault of the device nothing can be freed any more
            _log.warning("engine not freed", model=self.bundle.manifest.name, reason=str(error))


def split(count: int, buckets: tuple[Bucket, ...]) -> list[tuple[int, Bucket]]:
    """Return where each part of a batch starts, and the bucket that takes it.

    The largest bucket as long as it is full; what remains goes into the smallest that takes it.

    Args:
        count: Pictures, ≥ 1.
        buckets: By rising size.
    """
    largest = buckets[-1]
    parts = [(start, largest) for start in range(0, count - largest.size + 1, largest.size)]
    done = len(parts) * largest.size
    if done < count:
        parts.append((done, next(b for b in buckets if b.size >= count - done)))
    return parts
