"""`Lane`: a stream with the contexts, buffers and graphs of an engine that run on it.

A context and its graph for each bucket, as NVIDIA advises ("TensorRT Developer Guide", CUDA
Graphs): a graph that was captured from a context may not run any more once the context has another
shape. The contexts of a lane run one after the other, so they share the memory that they work in.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime.cuda import DeviceBuffer, Graph, PinnedBuffer, Stream
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.runtime.base import Outputs
    from crosscam_deploy.runtime.cuda import Cuda
    from crosscam_deploy.runtime.tensorrt_plan import Bucket, Plan, Port

_log = get_logger("tensorrt")


class Lane:
    """What one batch at a time runs on; all of it inside ``with cuda.current():``.

    Args:
        plan: To run.
        cuda: Where.
        outputs: How many of the plan's are wanted, the first ones.
        graphs: Whether to capture; goes off for good where capturing fails.
    """

    def __init__(self, plan: Plan, cuda: Cuda, outputs: int, *, graphs: bool) -> None:
        self.plan, self.cuda, self.wanted = plan, cuda, outputs
        self.graphs = graphs and cuda.graphs
        self._slots: dict[Bucket, _Slot] = {}
        self._owned = ExitStack()
        with ExitStack() as owned:
            self.stream = Stream(cuda)
            owned.callback(self.stream.close)
            self.scratch = DeviceBuffer(cuda, plan.scratch)
            owned.callback(self.scratch.close)
            self._owned = owned.pop_all()

    def run(self, part: NDArray[np.float32], bucket: Bucket) -> Outputs:
        """Run at most as many pictures as the bucket takes; the rest of it is black.

        Raises:
            RunError: No memory for this bucket, or the engine failed.
        """
        slot = self._slots.get(bucket)
        if slot is None:
            slot = self._slots[bucket] = _Slot(self, bucket)
        try:
            answer = slot.run(part)
        except CrosscamError:
            self._settle()
            raise
        if self.graphs and not slot.captured:
            self.graphs = slot.capture()
        return answer

    def _settle(self) -> None:
        """Wait for what a failed batch left on the stream."""
        try:
            self.cuda.synchronise(self.stream.handle)
        except RunError as error:
            _log.warning("the stream failed, too", reason=str(error))

    def close(self) -> None:
        """Give everything back."""
        with self._owned, ExitStack() as slots:
            for slot in self._slots.values():
                slots.callback(slot.close)
            self._slots = {}


class _Slot:
    """A context for one size of batch, with its buffers."""

    def __init__(self, lane: Lane, bucket: Bucket) -> None:
        self._lane, self._bucket = lane, bucket
        self._graph: Graph | None = None
        with ExitStack() as owned:
            self._context = _context(lane, bucket)
            owned.callback(self._drop_context)
            plan = lane.plan
            self._input = self._buffers(plan.input, owned)
            self._outputs = [
                self._buffers(port, owned, on_host=place < lane.wanted)
                for place, port in enumerate(plan.outputs)
            ]
            self._owned = owned.pop_all()

    @property
    def captured(self) -> bool:
        """Whether it runs as a graph."""
        return self._graph is not None

    def run(self, part: NDArray[np.float32]) -> Outputs:
        """Run and wait."""
        count, (host, _) = len(part), self._input
        assert host is not None
        host.array[:count] = part
        host.array[count:] = 0
        if self._graph is None:
            self._enqueue()
        else:
            self._lane.cuda.launch(self._graph.handle, self._lane.stream.handle)
        self._lane.cuda.synchronise(self._lane.stream.handle)
        # copies: the next batch overwrites these buffers
        return [memory.array[:count].astype(np.float32) for memory, _ in self._outputs if memory]

    def capture(self) -> bool:
        """Try to make a graph of what `run` does, after it ran once; False where that fails."""
        lane = self._lane
        capturable = getattr(self._context, "is_stream_capturable", None)  # TensorRT-RTX
        try:
            if capturable is not None and not capturable(lane.stream.handle):
                raise RunError("TensorRT-RTX says that the engine cannot be captured")
            self._graph = Graph(lane.cuda, lane.stream, self._enqueue)
            self._owned.callback(self._graph.close)
        except CrosscamError as error:
            _log.warning("no CUDA graphs, somewhat slower", reason=str(error))
            return False
        return True

    def close(self) -> None:
        """Give everything back: the graph first, the context last."""
        self._owned.close()

    def _enqueue(self) -> None:
        lane, stream = self._lane, self._lane.stream.handle
        host, device = self._input
        assert host is not None
        lane.cuda.copy_in(device.handle, host.array, stream)
        with lane.plan.told("run"):
            done = self._context.execute_async_v3(stream)
        if not done:
            raise lane.plan.failed("run")
        for memory, source in self._outputs:
            if memory is not None:
                lane.cuda.copy_out(memory.array, source.handle, stream)

    def _buffers(
        self, port: Port, owned: ExitStack, *, on_host: bool = True
    ) -> tuple[PinnedBuffer | None, DeviceBuffer]:
        """Make room for a tensor and tell the context of it."""
        shape = tuple(int(n) for n in self._context.get_tensor_shape(port.name))
        if -1 in shape or not shape or shape[0] != self._bucket.size:
            raise RunError(
                f"{port.name!r} of the engine has shape {shape} for a batch of {self._bucket.size}",
                expected="a shape that follows from the batch, which is its first size",
                fix="export the model without operators whose results vary in number (NonZero, "
                "NMS), and build it again",
            )
        host = PinnedBuffer(self._lane.cuda, shape, port.dtype) if on_host else None
        if host is not None:
            owned.callback(host.close)
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(port.dtype).itemsize
        device = DeviceBuffer(self._lane.cuda, size)
        owned.callback(device.close)
        if not self._context.set_tensor_address(port.name, device.handle):
            raise self._lane.plan.failed(f"use memory for {port.name!r} of")
        return host, device

    def _drop_context(self) -> None:
        self._context = None


def _context(lane: Lane, bucket: Bucket) -> Any:
    """Return a context for a bucket, which works in the lane's memory."""
    plan, stream = lane.plan, lane.stream.handle
    context = plan.context()
    shape = (bucket.size, 3, *plan.size)
    with plan.told(f"prepare batches of {bucket.size} for"):
        context.set_device_memory(lane.scratch.handle, lane.scratch.size)
        done = context.set_optimization_profile_async(bucket.profile, stream)
        lane.cuda.synchronise(stream)  # before the stream is used for anything else
        done = done and context.set_input_shape(plan.input.name, shape)
        missing = context.infer_shapes() if done else []
    if not done or missing:
        raise plan.failed(f"prepare batches of {bucket.size} for")
    return context
