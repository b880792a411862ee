"""torch: runs a bundle's graph as a program of `torch.export`, as it is or compiled.

For machines that have torch anyway: the trainer's, and servers. On the CPU OpenVINO and ONNX
Runtime are faster to start, smaller, and the default.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime.base import PooledRuntime, check_outputs
from crosscam_deploy.runtime.gpu import BUCKETS
from crosscam_deploy.runtime.onnxruntime_engine import usable_cores
from crosscam_deploy.runtime.tensorrt_engine import split
from crosscam_deploy.runtime.tensorrt_plan import Bucket
from crosscam_deploy.runtime.torch_lane import TorchLane
from crosscam_deploy.runtime.torch_package import package
from crosscam_deploy.runtime.torch_program import import_torch, make_program, read_source
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs, Precision
    from crosscam_deploy.runtime.torch_program import Source

_log = get_logger("torch")


class TorchEngine(PooledRuntime):
    """A bundle in torch, on the GPU where torch sees one, else on the CPU.

    On the CPU a batch runs as it comes. On a GPU it is filled up to the next bucket and runs from
    pinned buffers, from the second batch of a bucket on as one CUDA graph.

    Args:
        bundle: The model, in ONNX.
        compiled: Whether AOTInductor compiles the program: once for a device, a minute or more.
        precision: ``"f32"`` keeps TF32 out; ``"auto"`` leaves it to torch, which lets it into
            convolutions on GPUs.
        threads: On the CPU; 0 leaves torch's. torch has one number for a whole process.
        streams: Batches that run at the same time.
        input_size: Height and width in pixels instead of the manifest's.
        device: ``"cpu"`` or ``"cuda"``; None chooses.
        graphs: Whether to use CUDA graphs.

    Raises:
        InputError: The graph cannot be carried over, was changed, or does not take `input_size`.
        MissingExtraError: torch is not installed.
        RunError: It cannot be exported or compiled here.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        compiled: bool,
        precision: Precision = "auto",
        threads: int = 0,
        streams: int = 1,
        input_size: tuple[int, int] | None = None,
        device: str | None = None,
        graphs: bool = True,
    ) -> None:
        self._torch = torch = import_torch()
        super().__init__(bundle, streams, input_size)
        self.name = "torch-inductor" if compiled else "torch"
        self.precision = "f32"
        self._kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._lanes: queue.SimpleQueue[TorchLane | None] = queue.SimpleQueue()
        try:
            source = read_source(bundle, self.input_size)
            self.max_batch = source.batch
            works = self._works(source, compiled=compiled)
        except CrosscamError:
            self._pool.shutdown()
            raise
        self._buckets = _buckets(bundle, self.max_batch)
        self._work: Callable[[Any], Any] | None = works[0]
        if self._kind == "cpu":
            self.device = "CPU"
            if threads or streams > 1:
                torch.set_num_threads(max(1, (threads or usable_cores()) // streams))
            return
        self.device = str(torch.cuda.get_device_name())
        for work in works:
            lane = TorchLane(
                torch,
                work,
                self.input_size,
                exact=precision == "f32",
                graphs=graphs,
                device=self._kind,
                name=bundle.manifest.name,
            )
            self._lanes.put(lane)

    def _works(self, source: Source, *, compiled: bool) -> list[Callable[[Any], Any]]:
        """Return what runs a batch: one for each stream on a GPU, one for all on the CPU."""
        torch = self._torch
        count = self._streams if self._kind == "cuda" else 1
        if not compiled:
            exported = make_program(source)
            if self._kind == "cuda":
                from torch.export.passes import move_to_device_pass

                exported = move_to_device_pass(exported, self._kind)
            # Guards check the shape, which was checked already.
            return [exported.module(check_guards=False)] * count
        from torch._inductor.package import load_package

        with package(torch, source, self._kind) as file:
            if self._kind == "cpu":
                return [load_package(str(file), num_runners=self._streams)]
            # One for each: with a thread's own, nothing has to wait, which a graph could not hold.
            return [load_package(str(file), run_single_threaded=True) for _ in range(count)]

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        if self._kind == "cpu":
            outputs = self._on_cpu(batch)
        else:
            lane = self._lanes.get()
            if lane is None:
                self._lanes.put(None)
                raise _closed()
            try:
                parts = [
                    lane.run(batch[start : start + bucket.size], bucket.size)
                    for start, bucket in split(len(batch), self._buckets)
                ]
            finally:
                self._lanes.put(lane)
            outputs = _joined(parts)
        return check_outputs(self.bundle, len(batch), outputs)

    def _on_cpu(self, batch: NDArray[np.float32]) -> Outputs:
        torch, step, work = self._torch, self.max_batch, self._work
        if work is None:
            raise _closed()
        if step is not None and len(batch) != step:
            parts = []
            for start in range(0, len(batch), step):
                part = batch[start : start + step]
                filled = np.zeros((step, *batch.shape[1:]), np.float32)
                filled[: len(part)] = part
                parts.append([output[: len(part)] for output in self._on_cpu(filled)])
            return _joined(parts)
        # torch does not like arrays that nobody may write
        images = torch.from_numpy(batch if batch.flags.writeable else batch.copy())
        try:
            with torch.inference_mode():
                return [output.numpy() for output in work(images)]
        except RuntimeError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RunError(
                f"torch failed on {self.bundle.manifest.name}: {lines[0][:300]}",
                fix="try --runtime onnxruntime, and report the model if it works there",
            ) from error

    def _release(self) -> None:
        if self._kind != "cpu":
            # Waits for batches that other threads still run: their memory is about to be freed.
            for lane in [self._lanes.get() for _ in range(self._streams)]:
                if lane is not None:
                    lane.close()
            self._lanes.put(None)
        self._work = None


def _closed() -> RunError:
    return RunError("the runtime is closed", fix="open it again with open_runtime()")


def _joined(parts: list[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _buckets(bundle: Bundle, fixed: int | None) -> tuple[Bucket, ...]:
    sizes = BUCKETS[bundle.manifest.task] if fixed is None else (fixed,)
    return tuple(Bucket(size, 0) for size in sizes)
