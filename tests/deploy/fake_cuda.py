"""A CUDA device in NumPy, which is stricter than a real one.

Work on a stream is done when it is waited for, as late as a device may do it: what is read or
changed too early is wrong here every time, not now and then. What CUDA leaves undefined (memory
used after it was freed, from another thread's context, copied from pageable memory into a graph)
is `Misuse`, which no handler of errors stops.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from crosscam_deploy.engines import Device
from crosscam_deploy.runtime.cuda import Cuda, OutOfMemoryError
from crosscam_kernels.errors import RunError

ORIN = Device("Orin", "8.7", "12.6")


class Misuse(BaseException):
    pass


class Work(NamedTuple):
    run: Callable[[], None]
    addresses: tuple[int, ...]


class FakeCuda(Cuda):
    def __init__(self, device: Device = ORIN, capacity: int = 1 << 30, *, graphs: bool = True):
        self.index, self.device, self.graphs, self.capacity = 0, device, graphs, capacity
        self.device_memory: dict[int, np.ndarray] = {}
        self.host_memory: dict[int, np.ndarray] = {}
        self.streams: dict[int, list[Work]] = {}
        self.events: dict[int, int | None] = {}
        self.captured: dict[int, list[Work]] = {}
        self.capturing: tuple[int, int, list[Work]] | None = None
        self.launches = 0
        self.fails: dict[str, RunError] = {}
        self._next = 1 << 20
        self._clock = 0
        self._lock = threading.RLock()
        self._local = threading.local()

    # What tests ask.

    def assert_clean(self) -> None:
        left = {
            "device memory": self.device_memory,
            "host memory": self.host_memory,
            "streams": self.streams,
            "events": self.events,
            "graphs": self.captured,
        }
        assert not any(left.values()), {name: len(what) for name, what in left.items() if what}

    def at(self, address: int, size: int) -> np.ndarray:
        """The bytes of device memory at an address."""
        for start, memory in self.device_memory.items():
            if start <= address and address + size <= start + memory.size:
                return memory[address - start : address - start + size]
        raise Misuse(f"{size} bytes at {address} are not allocated")

    def enqueue(self, stream: int, run: Callable[[], None], *addresses: int) -> None:
        """Put work on a stream, as a kernel is."""
        with self._lock:
            self._check("enqueue")
            if stream not in self.streams:
                raise Misuse(f"no stream {stream}")
            work = Work(run, addresses)
            if self.capturing is not None and self.capturing[0] == stream:
                self.capturing[2].append(work)
            else:
                self.streams[stream].append(work)

    # Cuda.

    @contextmanager
    def current(self) -> Iterator[None]:
        self._local.depth = getattr(self._local, "depth", 0) + 1
        try:
            yield
        finally:
            self._local.depth -= 1

    def make_stream(self) -> int:
        return self._new(self.streams, [], "make_stream")

    def drop_stream(self, stream: int) -> None:
        self._drop(self.streams, stream)

    def synchronise(self, stream: int) -> None:
        with self._lock:
            self._check("synchronise", unsafe=True)
            while self.streams[stream]:
                self.streams[stream].pop(0).run()

    def allocate(self, size: int) -> int:
        with self._lock:
            self._check("allocate", unsafe=True)
            if size < 1:
                raise Misuse("nothing allocated")
            if self.used() + size > self.capacity:
                raise OutOfMemoryError("CUDA's cudaMalloc answered out of memory", fix="less")
            return self._new(self.device_memory, np.full(size, 0xFF, np.uint8), "allocate")

    def used(self) -> int:
        return sum(memory.size for memory in self.device_memory.values())

    def free(self, address: int) -> None:
        with self._lock:
            for pending in self.streams.values():
                if any(address in work.addresses for work in pending):
                    raise Misuse("memory is freed while work waits for it")
            self._drop(self.device_memory, address)

    def allocate_host(self, size: int) -> np.ndarray:
        with self._lock:
            self._check("allocate_host", unsafe=True)
            memory = np.full(size, 0xFF, np.uint8)
            self.host_memory[memory.ctypes.data] = memory
            return memory

    def free_host(self, memory: np.ndarray) -> None:
        with self._lock:
            self._drop(self.host_memory, memory.ctypes.data)
            memory.fill(0xFF)

    def copy_in(self, address: int, host: np.ndarray, stream: int) -> None:
        with self._lock:
            self._check("copy_in")
            flat = self._host(host, stream)
            self.at(address, flat.size)
            run = lambda: self.at(address, flat.size).__setitem__(slice(None), flat)  # noqa: E731
            self.enqueue(stream, run, address)

    def copy_out(self, host: np.ndarray, address: int, stream: int) -> None:
        with self._lock:
            self._check("copy_out")
            flat = self._host(host, stream)
            self.at(address, flat.size)
            if self.capturing is None:
                flat.fill(0xFF)  # until the stream is waited for

            def run() -> None:
                flat[:] = self.at(address, flat.size)

            self.enqueue(stream, run, address)

    def make_event(self) -> int:
        return self._new(self.events, None, "make_event")

    def drop_event(self, event: int) -> None:
        self._drop(self.events, event)

    def record(self, event: int, stream: int) -> None:
        def run() -> None:
            self._clock += 1
            self.events[event] = self._clock

        self.enqueue(stream, run)

    def wait(self, stream: int, event: int) -> None:
        def run() -> None:
            if self.events[event] is None:
                raise Misuse("this fake does not order streams: wait for the other one first")

        self.enqueue(stream, run)

    def elapsed(self, start: int, end: int) -> float:
        first, last = self.events[start], self.events[end]
        if first is None or last is None:
            raise RunError("CUDA's cudaEventElapsedTime answered cudaErrorNotReady")
        return float(last - first)

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        with self._lock:
            self._check("capture", unsafe=True)
            if self.streams[stream]:
                raise Misuse("a stream is captured while work waits on it")
            self.capturing = (stream, threading.get_ident(), [])
            try:
                work()
                if "end capture" in self.fails:
                    raise self.fails.pop("end capture")
                recorded = self.capturing[2]
            finally:
                self.capturing = None
            return self._new(self.captured, recorded, "instantiate")

    def launch(self, graph: int, stream: int) -> None:
        with self._lock:
            self._check("launch")
            self.launches += 1
            for memory in self.host_memory.values():
                if any(memory.ctypes.data in work.addresses for work in self.captured[graph]):
                    memory.fill(0xFF)
            self.streams[stream].extend(self.captured[graph])

    def drop_graph(self, graph: int) -> None:
        self._drop(self.captured, graph)

    def memory(self) -> tuple[int, int]:
        return self.capacity - self.used(), self.capacity

    def _check(self, what: str, *, unsafe: bool = False) -> None:
        if getattr(self._local, "depth", 0) < 1:
            raise Misuse(f"{what} outside of current()")
        if unsafe and self.capturing is not None and self.capturing[1] == threading.get_ident():
            raise Misuse(f"{what} while work is captured")
        if what in self.fails:
            raise self.fails.pop(what)

    def _host(self, host: np.ndarray, stream: int) -> np.ndarray:
        if not host.flags.c_contiguous:
            raise Misuse("host memory is not contiguous")
        first = host.ctypes.data
        pinned = any(
            start <= first and first + host.nbytes <= start + memory.size
            for start, memory in self.host_memory.items()
        )
        if not pinned and self.capturing is not None and self.capturing[0] == stream:
            raise Misuse("a copy of pageable memory is captured")
        return host.reshape(-1).view(np.uint8)

    def _new(self, where: dict[int, Any], thing: Any, what: str) -> int:
        with self._lock:
            self._check(what, unsafe=True)
            handle = self._next
            self._next += 1 << 20
            while isinstance(thing, np.ndarray) and self._next < handle + thing.size:
                self._next += 1 << 20
            where[handle] = thing
            return handle

    def _drop(self, where: dict[int, Any], handle: int) -> None:
        with self._lock:
            self._check("drop", unsafe=True)
            if handle not in where:
                raise Misuse(f"{handle} is not there: given back twice, or never had")
            if where is self.streams and self.streams[handle]:
                raise Misuse("a stream is destroyed while work waits on it")
            del where[handle]
