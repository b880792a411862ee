"""`GpuLane`: what one batch at a time runs on in ONNX Runtime on a GPU.

A stream of our own, on which the session works too, and for each size of batch pinned and device
buffers at fixed addresses, bound to the session's inputs and outputs: ONNX Runtime copies nothing,
and may capture what it does as a CUDA graph, one for each size (``gpu_graph_id``).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime.cuda import DeviceBuffer, OutOfMemoryError, PinnedBuffer
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.manifest import Manifest
    from crosscam_deploy.runtime.base import Outputs
    from crosscam_deploy.runtime.cuda import Cuda, Stream

_log = get_logger("onnxruntime")
_NO_GRAPH = "-1"
_MEMORY = ("Failed to allocate", "out of memory", "OutOfMemory")


class GpuLane:
    """A session with the stream that it works on; used inside ``with cuda.current():``.

    Args:
        session: An ``onnxruntime.InferenceSession`` on the stream.
        stream: Owned from now on.
        cuda: Where.
        manifest: Of the model.
        size: Height and width of the pictures in pixels.
    """

    def __init__(
        self, session: Any, stream: Stream, cuda: Cuda, manifest: Manifest, size: tuple[int, int]
    ) -> None:
        self.session, self.stream, self.cuda = session, stream, cuda
        self.manifest, self.size = manifest, size
        self._slots: dict[int, _Slot] = {}

    def run(self, part: NDArray[np.float32], bucket: int) -> Outputs:
        """Run at most `bucket` pictures; the rest of it is black.

        Raises:
            OutOfMemoryError: There is no memory for this bucket.
            RunError: ONNX Runtime failed.
        """
        try:
            slot = self._slots.get(bucket)
            if slot is None:
                slot, answer = _Slot.first(self, bucket, part)
                self._slots[bucket] = slot
                return answer
            return slot.run(part)
        except CrosscamError:
            self.settle()
            raise

    def call(self, binding: Any, graph: str) -> None:
        """Run the session on what is bound."""
        import onnxruntime as ort

        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", graph)
        try:
            self.session.run_with_iobinding(binding, options)
        except Exception as error:  # its classes are private and differ between versions
            line = (str(error).splitlines() or ["no reason given"])[0][:300]
            found = f"ONNX Runtime failed on {self.manifest.name} on the GPU: {line}"
            if any(word in str(error) for word in _MEMORY):
                fix = "smaller batches, fewer streams or models, or a higher memory_limit"
                raise OutOfMemoryError(found, fix=fix) from error
            raise RunError(
                found, fix="try --runtime onnxruntime, and report the model if it works there"
            ) from error

    def settle(self) -> None:
        """Wait for what a failed batch left on the stream."""
        try:
            self.cuda.synchronise(self.stream.handle)
        except RunError as error:
            _log.warning("the stream failed, too", reason=str(error))

    def close(self) -> None:
        """Give everything back: the session first, which still knows the stream."""
        slots, self._slots, self.session = self._slots, {}, None
        with ExitStack() as owned:
            owned.callback(self.stream.close)
            for slot in slots.values():
                owned.callback(slot.close)


class _Slot:
    """Bound buffers for one size of batch."""

    def __init__(self, lane: GpuLane, bucket: int) -> None:
        self._lane, self._bucket = lane, bucket
        self._owned = ExitStack()
        shape = (bucket, 3, *lane.size)
        with ExitStack() as owned:
            self._host, self._device = self._buffers(owned, shape, np.dtype(np.float32))
            self._outputs: list[tuple[PinnedBuffer, DeviceBuffer]] = []
            self._binding: Any = lane.session.io_binding()
            self._bind_input(shape)
            self._owned = owned.pop_all()

    @classmethod
    def first(cls, lane: GpuLane, bucket: int, part: NDArray[np.float32]) -> tuple[_Slot, Outputs]:
        """Make a slot by running a batch, which tells the shapes of the outputs."""
        slot = cls(lane, bucket)
        try:
            answer = slot._learn(part)
        except BaseException:
            lane.settle()
            slot.close()
            raise
        return slot, answer

    def run(self, part: NDArray[np.float32]) -> Outputs:
        """Copy in, run, copy out, and wait."""
        lane = self._lane
        self._copy_in(part)
        lane.call(self._binding, str(self._bucket))
        for host, device in self._outputs:
            lane.cuda.copy_out(host.array, device.handle, lane.stream.handle)
        lane.cuda.synchronise(lane.stream.handle)
        return [np.array(host.array[: len(part)]) for host, _ in self._outputs]

    def close(self) -> None:
        """Give the buffers back."""
        self._binding = None
        self._owned.close()

    def _learn(self, part: NDArray[np.float32]) -> Outputs:
        """Run with outputs that ONNX Runtime allocates, and make room for such ones."""
        lane = self._lane
        names = lane.manifest.output_names
        for name in names:
            self._binding.bind_output(name, "cpu")
        self._copy_in(part)
        lane.call(self._binding, _NO_GRAPH)
        answers = [np.asarray(each) for each in self._binding.copy_outputs_to_cpu()]
        lane.cuda.synchronise(lane.stream.handle)
        for name, answer in zip(names, answers, strict=True):
            if answer.ndim == 0 or len(answer) != self._bucket:
                raise RunError(
                    f"the output {name!r} of {lane.manifest.name} has shape {answer.shape} for a "
                    f"batch of {self._bucket}",
                    expected=f"first size {self._bucket}",
                    fix="import it again: the graph does not treat the first size as a batch",
                )
        self._binding = lane.session.io_binding()
        self._bind_input((self._bucket, 3, *lane.size))
        for name, answer in zip(names, answers, strict=True):
            host, device = self._buffers(self._owned, answer.shape, answer.dtype)
            self._outputs.append((host, device))
            self._bind("output", name, answer.dtype, answer.shape, device)
        return [answer[: len(part)] for answer in answers]

    def _copy_in(self, part: NDArray[np.float32]) -> None:
        lane = self._lane
        self._host.array[: len(part)] = part
        self._host.array[len(part) :] = 0
        lane.cuda.copy_in(self._device.handle, self._host.array, lane.stream.handle)

    def _bind_input(self, shape: tuple[int, ...]) -> None:
        name = self._lane.manifest.input_name
        self._bind("input", name, np.dtype(np.float32), shape, self._device)

    def _bind(
        self, kind: str, name: str, dtype: Any, shape: tuple[int, ...], device: DeviceBuffer
    ) -> None:
        bind = getattr(self._binding, f"bind_{kind}")
        bind(name, "cuda", self._lane.cuda.index, dtype.type, list(shape), device.handle)

    def _buffers(
        self, owned: ExitStack, shape: tuple[int, ...], dtype: Any
    ) -> tuple[PinnedBuffer, DeviceBuffer]:
        host = PinnedBuffer(self._lane.cuda, shape, dtype)
        owned.callback(host.close)
        device = DeviceBuffer(self._lane.cuda, int(np.prod(shape)) * dtype.itemsize)
        owned.callback(device.close)
        return host, device
