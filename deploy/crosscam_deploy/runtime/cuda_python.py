"""`Cuda` through NVIDIA's cuda-python: the runtime API, which has primary contexts only."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.engines.device import find_device
from crosscam_deploy.runtime.cuda import Cuda, OutOfMemoryError
from crosscam_kernels.errors import MissingExtraError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_FIX = "look at nvidia-smi and `crosscam doctor`; models run on the processor meanwhile"


class CudaPython(Cuda):
    """A device through ``cuda.bindings.runtime``.

    Args:
        index: Of the device.

    Raises:
        RunError: There is no such device, or no driver.
    """

    graphs = True

    def __init__(self, index: int = 0) -> None:
        self._api = runtime()
        device = find_device(index)
        if device is None:
            raise RunError(f"there is no CUDA device {index}, or no driver for it", fix=_FIX)
        self.index, self.device = index, device
        with self.current():
            self._do("cudaFree", 0)  # makes the context, and fails here if it cannot be made

    @contextmanager
    def current(self) -> Iterator[None]:
        """Choose the device for this thread, and the one before it again afterwards."""
        before = self._do("cudaGetDevice")
        if before != self.index:
            self._do("cudaSetDevice", self.index)
        try:
            yield
        finally:
            if before != self.index:
                self._do("cudaSetDevice", before)

    def make_stream(self) -> int:
        """See `Cuda`."""
        return int(self._do("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking))

    def drop_stream(self, stream: int) -> None:
        """See `Cuda`."""
        self._do("cudaStreamDestroy", stream)

    def synchronise(self, stream: int) -> None:
        """See `Cuda`."""
        self._do("cudaStreamSynchronize", stream)

    def allocate(self, size: int) -> int:
        """See `Cuda`."""
        return int(self._do("cudaMalloc", size))

    def free(self, address: int) -> None:
        """See `Cuda`."""
        self._do("cudaFree", address)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """See `Cuda`."""
        address = int(self._do("cudaMallocHost", size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """See `Cuda`."""
        self._do("cudaFreeHost", memory.ctypes.data)

    def copy_in(self, address: int, host: NDArray[Any], stream: int) -> None:
        """See `Cuda`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, stream)

    def copy_out(self, host: NDArray[Any], address: int, stream: int) -> None:
        """See `Cuda`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, stream)

    def make_event(self) -> int:
        """See `Cuda`."""
        return int(self._do("cudaEventCreateWithFlags", self._api.cudaEventDefault))

    def drop_event(self, event: int) -> None:
        """See `Cuda`."""
        self._do("cudaEventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        """See `Cuda`."""
        self._do("cudaEventRecord", event, stream)

    def wait(self, stream: int, event: int) -> None:
        """See `Cuda`."""
        self._do("cudaStreamWaitEvent", stream, event, 0)

    def elapsed(self, start: int, end: int) -> float:
        """See `Cuda`."""
        self._do("cudaEventSynchronize", end)
        return float(self._do("cudaEventElapsedTime", start, end))

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """See `Cuda`."""
        # Thread-local: what other threads allocate meanwhile does not break the capture.
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # Ends the capture in any case; whether there is a graph is seen by its handle.
            code, graph = self._api.cudaStreamEndCapture(stream)
            if int(code) == 0 and int(graph) != 0:
                self._do("cudaGraphDestroy", graph)
            raise
        graph = self._do("cudaStreamEndCapture", stream)
        try:
            return int(self._do("cudaGraphInstantiate", graph, 0))
        finally:
            self._do("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """See `Cuda`."""
        self._do("cudaGraphLaunch", graph, stream)

    def drop_graph(self, graph: int) -> None:
        """See `Cuda`."""
        self._do("cudaGraphExecDestroy", graph)

    def memory(self) -> tuple[int, int]:
        """See `Cuda`."""
        free, total = self._do("cudaMemGetInfo")
        return int(free), int(total)

    def _do(self, name: str, *values: Any) -> Any:
        """Call a function of the runtime; returns what follows its error code."""
        code, *answer = getattr(self._api, name)(*values)
        if int(code) != 0:
            self._api.cudaGetLastError()  # else the next call would tell of this one
            raise _error(self._api, name, code)
        return answer[0] if len(answer) == 1 else tuple(answer) or None


def runtime() -> Any:
    """Return ``cuda.bindings.runtime``.

    Raises:
        MissingExtraError: cuda-python is not installed.
    """
    try:
        from cuda.bindings import runtime as api
    except ImportError as error:
        raise MissingExtraError("CUDA through cuda-python", "tensorrt") from error
    return api


def _error(api: Any, function: str, code: Any) -> RunError:
    text = api.cudaGetErrorString(code)[1]
    words = text.decode() if isinstance(text, bytes) else str(text)
    found = f"CUDA's {function} answered {code.name} ({words})"
    if code.name == "cudaErrorMemoryAllocation":
        fix = "smaller batches, fewer streams or models, or close other programs on the GPU"
        return OutOfMemoryError(found, fix=fix)
    return RunError(found, fix=_FIX)
