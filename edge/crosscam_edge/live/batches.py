"""Pictures of several cameras in one call of a network, where its engine gains by that.

A GPU does eight pictures in hardly more time than one, so there cameras share calls; a CPU does
eight times the work in eight times the time, so there every picture goes alone and is done sooner.
Nobody ever waits longer than `WAIT_S` for somebody else's picture, and whatever cannot be done
together is done one by one: a picture that breaks a call breaks it for its own camera alone.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from crosscam_deploy.log import get_logger
from crosscam_edge.embed.base import Embedder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.detect import Detector
    from crosscam_edge.timers import StageTimers
    from crosscam_edge.types import Detections

    Boxes = tuple[NDArray[np.uint8], NDArray[np.floating]]
    _Asked = tuple[Boxes, Future[NDArray[np.float32]]]

A = TypeVar("A")
B = TypeVar("B")
_log = get_logger("live")
WAIT_S = 0.004
"""Longest wait for the picture, or the crops, of a second camera; seconds."""
_ON_GPU = 8  # pictures of a call: engines for GPUs have a bucket of this size
_CROPS = 64  # of a call


@runtime_checkable
class ManyEmbedder(Embedder, Protocol):
    """An embedder that takes the people of several pictures in one call."""

    def embed_many(self, asked: Sequence[Boxes]) -> list[NDArray[np.float32]]:
        """Return what `embed` returns for each picture and its boxes."""
        ...


def pictures_a_call(model: Any, asked: int | None = None) -> int:
    """Return how many pictures one call of a model shall take, at most.

    It is asked for again and again: an engine for a GPU may take over from another one.

    Args:
        model: A detector or an embedder.
        asked: From the site file; None leaves it to the engine: several on a GPU, else one.
    """
    runtime = getattr(model, "runtime", None)
    if asked is None:
        asked = 1 if runtime is None or runtime.device == "CPU" else _ON_GPU
    most = None if runtime is None else runtime.max_batch
    return asked if most is None else max(1, min(asked, most))


class Found(NamedTuple):
    """The people of a picture.

    Attributes:
        people: They.
        seconds: For how long no other picture could be had for this one: the picture's share of
            its call, and of the calls at the same time.
    """

    people: Detections
    seconds: float


class BatchedDetector:
    """Finds people in pictures of several cameras, in threads of its own.

    Args:
        detector: One without a memory; shared by all threads.
        workers: Threads, >= 1.
        asked: Most pictures of a call; None leaves it to the engine.
        timers: Gets the time of stage ``detect``.
    """

    def __init__(
        self, detector: Detector, *, workers: int, asked: int | None, timers: StageTimers
    ) -> None:
        self._detector, self._asked, self._timers = detector, asked, timers
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="detect")

    @property
    def batch(self) -> int:
        """Most pictures of a call, now."""
        return pictures_a_call(self._detector, self._asked)

    @property
    def at_once(self) -> int:
        """Most pictures that are worked on at the same time, now."""
        return self._workers * self.batch

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Callable[[], Found]]:
        """Begin with pictures; pictures of one shape share calls.

        Args:
            images: `(H, W, 3)` uint8 each.

        Returns:
            For each picture what waits for its people and returns them, or raises what went wrong.
        """
        shapes: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            shapes.setdefault(image.shape, []).append(index)
        out: list[Callable[[], Found] | None] = [None] * len(images)
        size = self.batch
        for members in shapes.values():
            for first in range(0, len(members), size):
                call = members[first : first + size]
                future = self._pool.submit(self._run, [images[index] for index in call])
                for place, index in enumerate(call):
                    out[index] = partial(_taken, future, place)
        return [each for each in out if each is not None]

    def close(self) -> None:
        """Finish what was begun and end the threads."""
        self._pool.shutdown()

    def _run(self, images: list[NDArray[np.uint8]]) -> list[Found | Exception]:
        began = time.perf_counter()
        with self._timers.measure("detect"):
            found = together_or_alone(self._detector.detect, images)
        seconds = (time.perf_counter() - began) / len(images) / self._workers
        return [each if isinstance(each, Exception) else Found(each, seconds) for each in found]


class Meeting:
    """A place where cameras, one thread each, share calls of an embedder.

    Who comes first waits until everybody who is expected has come or has gone, for `WAIT_S` at
    most, and asks for all.

    Args:
        embedder: Does the work.
        wait_s: Longest wait, seconds.
    """

    def __init__(self, embedder: ManyEmbedder, wait_s: float = WAIT_S) -> None:
        self._embedder, self._wait_s = embedder, wait_s
        self._changed = threading.Condition()
        self._expected = 0
        self._waiting: list[_Asked] = []

    def expect(self, cameras: int) -> None:
        """Expect so many cameras more; each tells by `gone` that it asks for no more."""
        with self._changed:
            self._expected += cameras

    def gone(self) -> None:
        """Expect one camera less."""
        with self._changed:
            self._expected -= 1
            self._changed.notify_all()

    def embed(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """See `Embedder`; `(N, D)` for boxes `(N, 4)`."""
        mine: Future[NDArray[np.float32]] = Future()
        together: list[_Asked] = []
        with self._changed:
            self._waiting.append(((image, boxes), mine))
            if len(self._waiting) > 1:  # somebody waits already, and asks for all
                self._changed.notify_all()
            else:
                ends = time.monotonic() + self._wait_s
                while not self._complete() and (left := ends - time.monotonic()) > 0:
                    self._changed.wait(left)
                together, self._waiting = self._waiting, []
        self._answer(together)
        return mine.result()

    def _complete(self) -> bool:
        crops = sum(len(boxes) for (_, boxes), _ in self._waiting)
        return len(self._waiting) >= self._expected or crops >= _CROPS

    def _answer(self, together: list[_Asked]) -> None:
        found: list[NDArray[np.float32] | Exception] = []
        try:
            found = together_or_alone(self._embedder.embed_many, [asked for asked, _ in together])
        finally:  # whatever happened, nobody is left waiting
            for (_, future), rows in zip_longest(together, found):
                if rows is None or isinstance(rows, Exception):
                    future.set_exception(rows or RuntimeError("the call was broken off"))
                else:
                    future.set_result(rows)


def _taken(future: Future[list[Found | Exception]], place: int) -> Found:
    found = future.result()[place]
    if isinstance(found, Exception):
        raise found
    return found


def together_or_alone(
    work: Callable[[Sequence[A]], list[B]], asked: Sequence[A]
) -> list[B | Exception]:
    """Do several things in one call, or one by one when that call fails.

    Args:
        work: Returns one result for each thing.
        asked: The things; with none of them nothing is called.

    Returns:
        For each its result, or why there is none.
    """
    if len(asked) > 1:
        try:
            return [*work(asked)]
        except Exception as error:  # of one of them: whose is found out by trying
            _log.info("one by one", together=len(asked), reason=f"{type(error).__name__}: {error}")
    out: list[B | Exception] = []
    for each in asked:
        try:
            out += work([each])
        except Exception as error:  # told to whoever asked for this one
            out.append(error)
    return out
