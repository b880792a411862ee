"""`Cuda`: the rules that the fake keeps, and both backends as far as they go without a GPU."""

from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_parts import round_trip
from fake_cuda import FakeCuda, Misuse

from crosscam_deploy.engines import find_device
from crosscam_deploy.runtime.cuda import (
    DeviceBuffer,
    Event,
    Graph,
    OutOfMemoryError,
    PinnedBuffer,
    Stream,
    open_cuda,
)
from crosscam_deploy.runtime.cuda_pycuda import PyCuda
from crosscam_deploy.runtime.cuda_python import CudaPython
from crosscam_kernels.errors import RunError, UsageError

needs_no_gpu = pytest.mark.skipif(find_device() is not None, reason="there is a GPU")


def test_there_and_back() -> None:
    cuda = FakeCuda()
    with cuda.current():
        stream, buffer = Stream(cuda), DeviceBuffer(cuda, 24)
        source, target = PinnedBuffer(cuda, (2, 3), np.float32), PinnedBuffer(cuda, (6,), "f4")
        source.array[:] = np.arange(6).reshape(2, 3)
        cuda.copy_in(buffer.handle, source.array, stream.handle)
        cuda.copy_out(target.array, buffer.handle, stream.handle)
        assert np.isnan(target.array).all()
        cuda.synchronise(stream.handle)
        np.testing.assert_array_equal(target.array, np.arange(6))
        for owned in (buffer, source, target, stream, stream):
            owned.close()
        with pytest.raises(RunError, match="closed DeviceBuffer"):
            _ = buffer.handle
        with pytest.raises(RunError, match="closed PinnedBuffer"):
            _ = source.array
    cuda.assert_clean()


def test_graphs_run_when_they_are_launched_with_what_is_there_then() -> None:
    cuda = FakeCuda()
    with cuda.current(), round_trip(cuda, 1) as trip:
        graph = Graph(cuda, trip.stream, trip.work)
        for number in (3, 5):
            trip.host.array[:] = number
            cuda.launch(graph.handle, trip.stream.handle)
            cuda.synchronise(trip.stream.handle)
            assert trip.back.array[0] == number
        graph.close()
    cuda.assert_clean()


def test_events_order_and_time() -> None:
    cuda = FakeCuda()
    with cuda.current():
        stream, start, end = Stream(cuda), Event(cuda), Event(cuda)
        cuda.record(start.handle, stream.handle)
        cuda.record(end.handle, stream.handle)
        with pytest.raises(RunError, match="NotReady"):
            cuda.elapsed(start.handle, end.handle)
        cuda.synchronise(stream.handle)
        assert cuda.elapsed(start.handle, end.handle) == 1
        for owned in (start, end, stream):
            owned.close()
    cuda.assert_clean()


class TestMisuse:
    """What the fake refuses, so that the tests of the runtime mean something."""

    def test_outside_of_the_context_and_in_another_thread(self) -> None:
        cuda = FakeCuda()
        with pytest.raises(Misuse, match="outside"):
            cuda.make_stream()
        caught: list[BaseException] = []

        def work() -> None:
            try:
                cuda.make_stream()
            except BaseException as error:
                caught.append(error)

        with cuda.current():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert isinstance(caught[0], Misuse)

    def test_use_after_free_and_double_free(self) -> None:
        cuda = FakeCuda()
        with cuda.current():
            stream, address = cuda.make_stream(), cuda.allocate(8)
            cuda.copy_in(address, np.zeros(8, np.uint8), stream)
            with pytest.raises(Misuse, match="work waits"):
                cuda.free(address)
            cuda.synchronise(stream)
            cuda.free(address)
            with pytest.raises(Misuse, match="given back twice"):
                cuda.free(address)
            with pytest.raises(Misuse, match="not allocated"):
                cuda.copy_in(address, np.zeros(8, np.uint8), stream)

    def test_past_the_end(self) -> None:
        cuda = FakeCuda()
        with cuda.current():
            stream, address = cuda.make_stream(), cuda.allocate(8)
            with pytest.raises(Misuse, match="not allocated"):
                cuda.copy_out(np.zeros(9, np.uint8), address, stream)

    def test_while_capturing(self) -> None:
        cuda = FakeCuda()
        with cuda.current():
            stream, address = cuda.make_stream(), cuda.allocate(8)
            for work, said in (
                (lambda: cuda.copy_in(address, np.zeros(8, np.uint8), stream), "pageable"),
                (lambda: cuda.synchronise(stream), "captured"),
                (lambda: cuda.allocate(8), "captured"),
            ):
                with pytest.raises(Misuse, match=said):
                    cuda.capture(stream, work)
            assert cuda.capturing is None

    def test_leaks(self) -> None:
        cuda = FakeCuda()
        with cuda.current():
            cuda.allocate(8)
        with pytest.raises(AssertionError, match="device memory"):
            cuda.assert_clean()


# The real packages.


def test_backends_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCAM_CUDA", "cupy")
    with pytest.raises(UsageError, match="CROSSCAM_CUDA is 'cupy'"):
        open_cuda()


@needs_no_gpu
def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROSSCAM_CUDA", raising=False)
    with pytest.raises(RunError, match="CUDA"):
        open_cuda()


@needs_no_gpu
def test_every_call_reaches_the_real_bindings() -> None:
    """cuda-python takes the arguments as they are given, and its errors become ours."""
    pytest.importorskip("cuda.bindings.runtime")
    from crosscam_deploy.runtime.cuda_python import runtime

    cuda = CudaPython.__new__(CudaPython)
    cuda._api, cuda.index = runtime(), 0
    array = np.zeros(4, np.float32)
    calls: list[Any] = [
        lambda: cuda.current().__enter__(),
        cuda.make_stream,
        lambda: cuda.drop_stream(0),
        lambda: cuda.synchronise(0),
        lambda: cuda.allocate(64),
        lambda: cuda.free(64),
        lambda: cuda.allocate_host(64),
        lambda: cuda.free_host(np.zeros(4, np.uint8)),
        lambda: cuda.copy_in(64, array, 0),
        lambda: cuda.copy_out(array, 64, 0),
        cuda.make_event,
        lambda: cuda.drop_event(0),
        lambda: cuda.record(0, 0),
        lambda: cuda.wait(0, 0),
        lambda: cuda.elapsed(0, 0),
        lambda: cuda.capture(0, lambda: None),
        lambda: cuda.launch(0, 0),
        lambda: cuda.drop_graph(0),
        cuda.memory,
    ]
    for call in calls:
        with pytest.raises(RunError, match=r"CUDA's cuda\w+ answered cudaError\w+ \(.+\)"):
            call()


def test_out_of_memory_has_an_error_of_its_own() -> None:
    api = pytest.importorskip("cuda.bindings.runtime")
    from crosscam_deploy.runtime.cuda_python import _error

    error = _error(api, "cudaMalloc", api.cudaError_t.cudaErrorMemoryAllocation)
    assert isinstance(error, OutOfMemoryError)
    assert "cudaMalloc answered cudaErrorMemoryAllocation (out of memory)" in str(error)


# pycuda, which cannot be loaded without a driver, by a fake of the part that is used.


class Errors(Exception):
    pass


class NoMemory(Errors):
    pass


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    stack: list[Any] = []
    state = SimpleNamespace(stack=stack, retained=0, freed=[], copies=[], full=False)

    class Made:
        def __init__(self, *_: Any) -> None:
            assert stack, "no context"

        def __getattr__(self, name: str) -> Any:
            return lambda *values: state.copies.append((name, *values))

    class Stream(Made):
        handle = 77

    class Event(Made):
        def time_till(self, end: Any) -> float:
            return 1.5

    class Memory(Made):
        def __init__(self, size: int) -> None:
            super().__init__()
            if state.full:
                raise NoMemory("cuMemAlloc failed: out of memory")

        def __int__(self) -> int:
            return 4096

        def free(self) -> None:
            state.freed.append("device")

    def pagelocked(size: int, dtype: Any) -> np.ndarray:
        class Base(np.ndarray):
            def free(self) -> None:
                state.freed.append("host")

        return np.zeros(size, dtype).view(Base)[:].view(np.ndarray)

    context = SimpleNamespace(push=lambda: stack.append("primary"))

    def retain() -> Any:
        state.retained += 1
        return context

    device = SimpleNamespace(
        name=lambda: "Orin", compute_capability=lambda: (8, 7), retain_primary_context=retain
    )
    module = ModuleType("pycuda.driver")
    module.__dict__.update(
        init=lambda: None,
        Device=type("Device", (), {"__new__": lambda cls, k: device, "count": lambda: 1}),
        Context=SimpleNamespace(pop=stack.pop),
        get_driver_version=lambda: 12060,
        Stream=Stream,
        Event=Event,
        mem_alloc=Memory,
        pagelocked_empty=pagelocked,
        memcpy_htod_async=lambda *values: state.copies.append(("in", *values)),
        memcpy_dtoh_async=lambda *values: state.copies.append(("out", *values)),
        mem_get_info=lambda: (1, 2),
        Error=Errors,
        MemoryError=NoMemory,
    )
    package = ModuleType("pycuda")
    package.driver = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", module)
    return state


def test_pycuda_uses_the_primary_context_and_leaves_none_behind(pycuda: SimpleNamespace) -> None:
    cuda = PyCuda()
    assert (cuda.device.name, cuda.device.capability, cuda.device.driver) == ("Orin", "8.7", "12.6")
    assert (pycuda.retained, pycuda.stack) == (1, [])
    with cuda.current():
        with cuda.current():
            assert len(pycuda.stack) == 2
        stream, buffer = Stream(cuda), DeviceBuffer(cuda, 8)
        host = PinnedBuffer(cuda, (2,), np.float32)
        assert (stream.handle, buffer.handle) == (77, 4096)
        array = host.array
        cuda.copy_in(buffer.handle, array, stream.handle)
        kind, address, copied, on = pycuda.copies[-1]
        assert (kind, address, copied is array) == ("in", 4096, True)
        assert int(on.handle) == 77
        cuda.copy_out(array, buffer.handle, stream.handle)
        assert pycuda.copies[-1][:3:2] == ("out", 4096)
        start, end = Event(cuda), Event(cuda)
        cuda.record(start.handle, stream.handle)
        cuda.wait(stream.handle, start.handle)
        assert cuda.elapsed(start.handle, end.handle) == 1.5
        assert cuda.memory() == (1, 2)
        cuda.synchronise(stream.handle)
        for owned in (host, buffer, start, end, stream):
            owned.close()
        assert pycuda.freed == ["host", "device"]
        assert cuda._kept == {}
    assert pycuda.stack == []
    assert "pycuda.autoinit" not in sys.modules


def test_pycuda_errors_are_ours(pycuda: SimpleNamespace) -> None:
    cuda = PyCuda()
    pycuda.full = True
    with cuda.current(), pytest.raises(OutOfMemoryError, match="out of memory"):
        cuda.allocate(8)
    with cuda.current(), pytest.raises(RunError, match="no graphs"):
        cuda.capture(0, lambda: None)
    with pytest.raises(RunError, match="no CUDA device 3"):
        PyCuda(3)


def test_without_pycuda_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(RunError, match="pycuda cannot be loaded"):
        open_cuda(backend="pycuda")
