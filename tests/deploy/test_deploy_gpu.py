"""The CUDA interface and engines on a real GPU: what the fakes promise, held by the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cuda_parts import round_trip

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines.api import is_installed
from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.runtime.cuda import (
    Cuda,
    Event,
    Graph,
    OutOfMemoryError,
    open_cuda,
)
from crosscam_kernels.errors import RunError

pytestmark = pytest.mark.gpu


@pytest.fixture
def cuda() -> Iterator[Cuda]:
    device = open_cuda()
    with device.current():
        yield device


def test_copies_graphs_and_times(cuda: Cuda) -> None:
    with round_trip(cuda, 1024) as trip:
        stream = trip.stream.handle
        start, end = Event(cuda), Event(cuda)
        graph = Graph(cuda, trip.stream, trip.work)
        for number in (3, 5):
            trip.host.array[:] = number
            cuda.record(start.handle, stream)
            cuda.launch(graph.handle, stream)
            cuda.record(end.handle, stream)
            cuda.synchronise(stream)
            assert (trip.back.array == number).all()
        assert cuda.elapsed(start.handle, end.handle) > 0
        for owned in (graph, start, end):
            owned.close()


def test_a_failed_capture_leaves_the_stream_usable(cuda: Cuda) -> None:
    with round_trip(cuda, 1) as trip:

        def work() -> None:
            trip.work()
            raise RunError("stop")

        with pytest.raises(RunError, match="stop"):
            Graph(cuda, trip.stream, work)
        trip.host.array[:] = 4
        trip.work()
        cuda.synchronise(trip.stream.handle)
        assert trip.back.array[0] == 4


def test_more_memory_than_there_is(cuda: Cuda) -> None:
    _, total = cuda.memory()
    with pytest.raises(OutOfMemoryError, match="cudaErrorMemoryAllocation"):
        cuda.allocate(2 * total)
    cuda.free(cuda.allocate(64))


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_engines_agree_with_onnx_runtime(tiny: Bundle, flavour: Any) -> None:
    if not is_installed(flavour):
        pytest.skip(f"{flavour} is not installed")
    with (
        open_runtime(tiny, runtime="onnxruntime", precision="f32") as plain,
        open_runtime(tiny, runtime=flavour, streams=2) as runtime,
    ):
        for count in (1, 3, 8, 70, 3, 70):
            batch = np.random.default_rng(count).random((count, 3, 32, 16), np.float32)
            wanted, found = plain.infer(batch)[0], runtime.infer(batch)[0]
            cosine = (wanted * found).sum(1) / np.linalg.norm(wanted, axis=1)
            assert (cosine / np.linalg.norm(found, axis=1)).min() > 0.999
            np.testing.assert_array_equal(runtime.submit(batch).result(60)[0].shape, wanted.shape)
