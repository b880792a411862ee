"""What tests of `Cuda` do with any device, real or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np

from crosscam_deploy.runtime.cuda import Cuda, DeviceBuffer, PinnedBuffer, Stream


class RoundTrip(NamedTuple):
    """`work` puts the way of `host`, over the device, to `back` on `stream`."""

    stream: Stream
    host: PinnedBuffer
    back: PinnedBuffer
    work: Callable[[], None]


@contextmanager
def round_trip(cuda: Cuda, count: int) -> Iterator[RoundTrip]:
    """Give a round trip of `count` float32; all of it is given back at the end."""
    with ExitStack() as owned:
        stream = Stream(cuda)
        owned.callback(stream.close)
        buffer = DeviceBuffer(cuda, 4 * count)
        owned.callback(buffer.close)
        host, back = (PinnedBuffer(cuda, (count,), np.float32) for _ in range(2))
        owned.callback(host.close)
        owned.callback(back.close)

        def work() -> None:
            cuda.copy_in(buffer.handle, host.array, stream.handle)
            cuda.copy_out(back.array, buffer.handle, stream.handle)

        yield RoundTrip(stream, host, back, work)
