"""`Cuda`, the little of CUDA that engines need, and what owns a piece of it.

A backend gives numbers (addresses, handles) and takes them back; `Stream`, `DeviceBuffer`,
`PinnedBuffer`, `Event` and `Graph` own them. Each device has one context in a process, its primary
one, which torch, ONNX Runtime and TensorRT use too, so that memory and streams are shared.

Nothing of CUDA is imported before `open_cuda` is called.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosscam_kernels.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from numpy.typing import DTypeLike, NDArray

    from crosscam_deploy.engines.device import Device

BackendName = Literal["cuda-python", "pycuda"]
BACKEND_ENV = "CROSSCAM_CUDA"


class OutOfMemoryError(RunError):
    """The device, or the host's pinned memory, has no room left."""


class Cuda(ABC):
    """A device's primary context.

    All but `current` must be called inside ``with cuda.current():``. What fails raises `RunError`
    with CUDA's own name and text of the error, and `OutOfMemoryError` where that was it.

    Attributes:
        index: Of the device, among those that this process sees.
        device: What it is.
        graphs: Whether work can be captured.
    """

    index: int
    device: Device
    graphs: bool

    @abstractmethod
    def current(self) -> AbstractContextManager[None]:
        """Make the context that of this thread for a ``with`` block; blocks may be nested."""

    @abstractmethod
    def make_stream(self) -> int:
        """Return the handle of a new stream that does not wait for the default one."""

    @abstractmethod
    def drop_stream(self, stream: int) -> None:
        """Destroy a stream."""

    @abstractmethod
    def synchronise(self, stream: int) -> None:
        """Wait until all work of a stream is done; errors of that work are raised here."""

    @abstractmethod
    def allocate(self, size: int) -> int:
        """Return the address of `size` ≥ 1 bytes on the device, at a multiple of 256."""

    @abstractmethod
    def free(self, address: int) -> None:
        """Give memory of the device back; work that uses it must be done."""

    @abstractmethod
    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Return `size` ≥ 1 bytes of host memory that the device copies to and from by itself."""

    @abstractmethod
    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Give back what `allocate_host` returned: the same array, of which no view is left."""

    @abstractmethod
    def copy_in(self, address: int, host: NDArray[Any], stream: int) -> None:
        """Copy contiguous host memory to the device, in the order of a stream.

        Pinned memory must stay as it is until the stream has come to it.
        """

    @abstractmethod
    def copy_out(self, host: NDArray[Any], address: int, stream: int) -> None:
        """Copy from the device into contiguous host memory, to be read after `synchronise`."""

    @abstractmethod
    def make_event(self) -> int:
        """Return the handle of a new event that takes times."""

    @abstractmethod
    def drop_event(self, event: int) -> None:
        """Destroy an event."""

    @abstractmethod
    def record(self, event: int, stream: int) -> None:
        """Let an event happen when a stream comes to here."""

    @abstractmethod
    def wait(self, stream: int, event: int) -> None:
        """Let a stream wait for an event of another one."""

    @abstractmethod
    def elapsed(self, start: int, end: int) -> float:
        """Wait for `end`; returns the milliseconds between two events."""

    @abstractmethod
    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Return the handle of a graph of what `work` puts on a stream, which is not run.

        The stream can be used as before when this fails.

        Raises:
            RunError: Something in it cannot be captured, or `graphs` is false.
        """

    @abstractmethod
    def launch(self, graph: int, stream: int) -> None:
        """Put a graph on a stream."""

    @abstractmethod
    def drop_graph(self, graph: int) -> None:
        """Destroy a graph that is not running."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Return the free and all bytes of the device."""


class _Owned:
    """Something that is given back once."""

    def __init__(self, handle: int, drop: Callable[[int], None]) -> None:
        self._handle: int | None = handle
        self._drop = drop

    @property
    def handle(self) -> int:
        """The number that stands for it.

        Raises:
            RunError: It was closed.
        """
        if self._handle is None:
            raise RunError(f"a closed {type(self).__name__} was used")
        return self._handle

    def close(self) -> None:
        """Give it back; again: nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._drop(handle)


class Stream(_Owned):
    """A queue of work on the device."""

    def __init__(self, cuda: Cuda) -> None:
        super().__init__(cuda.make_stream(), cuda.drop_stream)


class DeviceBuffer(_Owned):
    """Memory of the device; its handle is its address.

    Args:
        cuda: Where.
        size: Bytes.
    """

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.size = size
        super().__init__(cuda.allocate(max(size, 1)), cuda.free)


class Event(_Owned):
    """A point in a stream."""

    def __init__(self, cuda: Cuda) -> None:
        super().__init__(cuda.make_event(), cuda.drop_event)


class Graph(_Owned):
    """Captured work.

    Args:
        cuda: Where.
        stream: That `work` uses.
        work: Puts something on the stream, always with the same addresses.
    """

    def __init__(self, cuda: Cuda, stream: Stream, work: Callable[[], None]) -> None:
        super().__init__(cuda.capture(stream.handle, work), cuda.drop_graph)


class PinnedBuffer:
    """An array in pinned host memory.

    Args:
        cuda: Where.
        shape: Of the array.
        dtype: Of its numbers.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self._cuda = cuda
        self._memory: NDArray[np.uint8] | None = cuda.allocate_host(max(size, 1))
        self._array: NDArray[Any] | None = self._memory[:size].view(dtype).reshape(shape)

    @property
    def array(self) -> NDArray[Any]:
        """The array; no view of it may be used after `close`.

        Raises:
            RunError: It was closed.
        """
        if self._array is None:
            raise RunError("a closed PinnedBuffer was used")
        return self._array

    def close(self) -> None:
        """Give it back; again: nothing."""
        memory, self._memory, self._array = self._memory, None, None
        if memory is not None:
            self._cuda.free_host(memory)


_opened: dict[tuple[str, int], Cuda] = {}
_opening = threading.Lock()


def open_cuda(index: int = 0, backend: BackendName | None = None) -> Cuda:
    """Return a device; the same object each time, since its context is one.

    Args:
        index: Of the device, among those that ``CUDA_VISIBLE_DEVICES`` leaves.
        backend: Package to go through; None for what the variable ``CROSSCAM_CUDA`` says, else
            cuda-python.

    Raises:
        UsageError: No such backend.
        RunError: There is no such device, no driver, or the backend is not installed.
    """
    name = backend or os.environ.get(BACKEND_ENV) or "cuda-python"
    if name not in ("cuda-python", "pycuda"):
        raise UsageError(
            f"{BACKEND_ENV} is {name!r}",
            expected="cuda-python or pycuda",
            fix=f"correct or unset {BACKEND_ENV}",
        )
    with _opening:
        if (name, index) not in _opened:
            _opened[name, index] = _open(name, index)
        return _opened[name, index]


def _open(name: str, index: int) -> Cuda:
    if name == "pycuda":
        from crosscam_deploy.runtime.cuda_pycuda import PyCuda

        return PyCuda(index)
    from crosscam_deploy.runtime.cuda_python import CudaPython

    return CudaPython(index)
