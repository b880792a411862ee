"""`TorchLane`: what one batch at a time runs on, on a GPU through torch.

For each size of batch there are pinned buffers on the host and one on the device, always the same,
so that copies and kernels can be captured as one CUDA graph. Memory is taken when a size is first
used; what torch's allocator keeps is shared by all lanes.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime.cuda import OutOfMemoryError
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from crosscam_deploy.runtime.base import Outputs

_log = get_logger("torch")
_capturing = threading.Lock()  # torch captures one graph at a time


class TorchLane:
    """A stream of the device with its buffers and graphs.

    Args:
        torch: The module.
        work: The program: ``(B, 3, H, W)`` on the device to the outputs.
        size: Height and width of the pictures in pixels.
        exact: Whether TF32 is kept out of float32.
        graphs: Whether to capture; goes off for good where capturing fails.
        device: ``"cuda"``; ``"cpu"`` runs the same without stream, pinned memory and graphs.
        name: Of the model, for messages.
    """

    def __init__(
        self,
        torch: Any,
        work: Callable[[Any], Any],
        size: tuple[int, int],
        *,
        exact: bool,
        graphs: bool,
        device: str,
        name: str,
    ) -> None:
        self._torch, self._work, self._size, self._name = torch, work, size, name
        self._exact, self._device = exact, device
        self._graphs = graphs and device == "cuda"
        self._stream = torch.cuda.Stream() if device == "cuda" else None
        self._slots: dict[int, _Slot] = {}

    def run(self, part: NDArray[Any], bucket: int) -> Outputs:
        """Run at most `bucket` pictures; the rest of it is black.

        Raises:
            OutOfMemoryError: The device has no room for this bucket.
            RunError: The program failed.
        """
        with self._told(), self._on_stream(), self._torch.inference_mode(), self._exactly():
            slot = self._slots.get(bucket)
            if slot is None:
                slot = _Slot(self._torch, self._work, (bucket, 3, *self._size), self._device)
                self._slots[bucket] = slot
            answer = slot.run(part, self._stream)
            if self._graphs and slot.graph is None:
                self._graphs = self._capture(slot)
            return answer

    def close(self) -> None:
        """Give everything back."""
        self._slots = {}

    def _on_stream(self) -> AbstractContextManager[Any]:
        return self._torch.cuda.stream(self._stream) if self._stream is not None else nullcontext()

    def _exactly(self) -> AbstractContextManager[Any]:
        """Keep TF32 out of convolutions, where torch lets it in by default."""
        if not self._exact or self._device != "cuda":
            return nullcontext()
        cudnn = self._torch.backends.cudnn
        return cudnn.flags(  # type: ignore[no-any-return]
            enabled=True, benchmark=cudnn.benchmark, deterministic=False, allow_tf32=False
        )

    def _capture(self, slot: _Slot) -> bool:
        """Try to make a graph of what `run` does, after it ran once; False where that fails."""
        try:
            with _capturing:
                slot.capture(self._stream)
        except RuntimeError as error:
            slot.graph = None
            _log.warning("no CUDA graphs, somewhat slower", model=self._name, reason=str(error))
            return False
        return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn torch's errors into crosscam's."""
        try:
            yield
        except self._torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"torch has no memory left for {self._name}: {_first_line(error)}",
                fix="smaller batches, fewer streams or models, or close other programs on the GPU",
            ) from error
        except RuntimeError as error:
            raise RunError(
                f"torch failed on {self._name}: {_first_line(error)}",
                fix="try --runtime onnxruntime, and report the model if it works there",
            ) from error


class _Slot:
    """Buffers for one size of batch."""

    def __init__(
        self, torch: Any, work: Callable[[Any], Any], shape: tuple[int, ...], device: str
    ) -> None:
        self._torch, self._work = torch, work
        self._pinned = device == "cuda"
        self._host = torch.zeros(shape, dtype=torch.float32, pin_memory=self._pinned)
        self._images = torch.zeros(shape, dtype=torch.float32, device=device)
        self._answers: list[Any] = []
        self.graph: Any = None

    def run(self, part: NDArray[Any], stream: Any) -> Outputs:
        """Copy in, run, copy out, and wait."""
        count = len(part)
        host = self._host.numpy()
        host[:count] = part
        host[count:] = 0
        if self.graph is not None:
            self.graph.replay()
        else:
            self._enqueue()
        if stream is not None:
            stream.synchronize()
        # the buffers are overwritten by the next batch
        return [answer[:count].numpy().copy() for answer in self._answers]

    def capture(self, stream: Any) -> None:
        """Make a graph of one batch."""
        graph = self._torch.cuda.CUDAGraph()
        # Thread-local: what other threads do meanwhile does not break the capture.
        with self._torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self._enqueue()
        self.graph = graph

    def _enqueue(self) -> None:
        self._images.copy_(self._host, non_blocking=True)
        outputs = self._work(self._images)
        if not self._answers:
            self._answers = [
                self._torch.empty(each.shape, dtype=each.dtype, pin_memory=self._pinned)
                for each in outputs
            ]
        for answer, each in zip(self._answers, outputs, strict=True):
            answer.copy_(each, non_blocking=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
