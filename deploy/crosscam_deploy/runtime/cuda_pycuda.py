"""`Cuda` through pycuda: for boxes where cuda-python has no wheel.

``pycuda.autoinit`` makes a context of its own that nothing else uses; here the primary one is
retained. pycuda gives objects where `Cuda` has numbers: they are kept here by their numbers. It has
no graphs.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.engines.device import Device
from crosscam_deploy.runtime.cuda import Cuda, OutOfMemoryError
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


class PyCuda(Cuda):
    """A device through ``pycuda.driver``.

    Args:
        index: Of the device.

    Raises:
        RunError: pycuda is not installed, or there is no such device or no driver.
    """

    graphs = False

    def __init__(self, index: int = 0) -> None:
        try:
            import pycuda.driver as api
        except ImportError as error:
            raise RunError(
                f"pycuda cannot be loaded ({error})",
                fix="pip install pycuda, or unset CROSSCAM_CUDA to use cuda-python",
            ) from error
        self._api: Any = api
        self._lock = threading.Lock()
        self._kept: dict[int, Any] = {}
        with self._told("start"):
            api.init()
            if index >= api.Device.count():
                raise RunError(f"there is no CUDA device {index}", fix="look at nvidia-smi")
            device = api.Device(index)
            version = int(api.get_driver_version())
            self.index = index
            self.device = Device(
                device.name(),
                "{}.{}".format(*device.compute_capability()),
                f"{version // 1000}.{version % 1000 // 10}",
            )
            self._context = device.retain_primary_context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the primary context for this thread, and pop it afterwards."""
        with self._told("push"):
            self._context.push()
        try:
            yield
        finally:
            self._api.Context.pop()

    def make_stream(self) -> int:
        """See `Cuda`."""
        with self._told("stream"):
            stream = self._api.Stream(_NON_BLOCKING)
        return self._keep(int(stream.handle), stream)

    def drop_stream(self, stream: int) -> None:
        """See `Cuda`."""
        self._let_go(stream)  # destroyed with its last reference

    def synchronise(self, stream: int) -> None:
        """See `Cuda`."""
        with self._told("synchronise"):
            self._kept[stream].synchronize()

    def allocate(self, size: int) -> int:
        """See `Cuda`."""
        with self._told("mem_alloc"):
            memory = self._api.mem_alloc(size)
        return self._keep(int(memory), memory)

    def free(self, address: int) -> None:
        """See `Cuda`."""
        with self._told("free"):
            self._let_go(address).free()

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """See `Cuda`."""
        with self._told("pagelocked_empty"):
            memory: NDArray[np.uint8] = self._api.pagelocked_empty(size, np.uint8)
        self._keep(memory.ctypes.data, memory)
        return memory

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """See `Cuda`."""
        with self._told("free"):
            self._let_go(memory.ctypes.data).base.free()

    def copy_in(self, address: int, host: NDArray[Any], stream: int) -> None:
        """See `Cuda`."""
        with self._told("memcpy_htod_async"):
            self._api.memcpy_htod_async(address, host, self._kept[stream])

    def copy_out(self, host: NDArray[Any], address: int, stream: int) -> None:
        """See `Cuda`."""
        with self._told("memcpy_dtoh_async"):
            self._api.memcpy_dtoh_async(host, address, self._kept[stream])

    def make_event(self) -> int:
        """See `Cuda`."""
        with self._told("event"):
            event = self._api.Event()
        return self._keep(id(event), event)  # pycuda does not tell an event's handle

    def drop_event(self, event: int) -> None:
        """See `Cuda`."""
        self._let_go(event)

    def record(self, event: int, stream: int) -> None:
        """See `Cuda`."""
        with self._told("record"):
            self._kept[event].record(self._kept[stream])

    def wait(self, stream: int, event: int) -> None:
        """See `Cuda`."""
        with self._told("wait_for_event"):
            self._kept[stream].wait_for_event(self._kept[event])

    def elapsed(self, start: int, end: int) -> float:
        """See `Cuda`."""
        with self._told("time_till"):
            self._kept[end].synchronize()
            return float(self._kept[start].time_till(self._kept[end]))

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Refuse: there are no graphs."""
        raise RunError("pycuda has no graphs", fix="use cuda-python (unset CROSSCAM_CUDA)")

    def launch(self, graph: int, stream: int) -> None:
        """Refuse: there are no graphs."""
        raise RunError("pycuda has no graphs", fix="use cuda-python (unset CROSSCAM_CUDA)")

    def drop_graph(self, graph: int) -> None:
        """Refuse: there are no graphs."""
        raise RunError("pycuda has no graphs", fix="use cuda-python (unset CROSSCAM_CUDA)")

    def memory(self) -> tuple[int, int]:
        """See `Cuda`."""
        with self._told("mem_get_info"):
            free, total = self._api.mem_get_info()
        return int(free), int(total)

    def _keep(self, number: int, thing: Any) -> int:
        with self._lock:
            self._kept[number] = thing
        return number

    def _let_go(self, number: int) -> Any:
        with self._lock:
            return self._kept.pop(number)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn pycuda's errors into ours."""
        try:
            yield
        except self._api.MemoryError as error:
            fix = "smaller batches, fewer streams or models, or close other programs on the GPU"
            raise OutOfMemoryError(
                f"CUDA has no memory left for {what} ({error})", fix=fix
            ) from error
        except self._api.Error as error:
            fix = "look at nvidia-smi and `crosscam doctor`"
            raise RunError(f"CUDA failed in {what} ({error})", fix=fix) from error
