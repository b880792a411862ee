"""Detection for all cameras: a few workers, batches formed across cameras, nothing unbounded."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.detect import Detector
    from crosscam_edge.timers import StageTimers
    from crosscam_edge.types import Detections

    Job = tuple[NDArray[np.uint8], Future[Detections]]


class DetectPool:
    """Runs a detector that has no memory on images of any camera.

    Workers take what is waiting, up to `batch` images, and never wait for more: with one image per
    call (the default on CPUs, where bigger batches gain nothing) results do not depend on timing
    to the last bit.

    Args:
        detector: Shared by all workers.
        workers: Threads, >= 1.
        batch: Most images in one call.
        timers: Gets the time of stage ``detect``.
    """

    def __init__(
        self, detector: Detector, *, workers: int, batch: int, timers: StageTimers
    ) -> None:
        self._detector = detector
        self._batch = batch
        self._timers = timers
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=workers * batch * 2)
        self._threads = [
            threading.Thread(target=self._work, name=f"detect-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, image: NDArray[np.uint8]) -> Future[Detections]:
        """Ask for the people of an image; waits while too many images are waiting."""
        future: Future[Detections] = Future()
        self._jobs.put((image, future))
        return future

    def close(self) -> None:
        """Finish what was submitted and end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            while len(jobs) < self._batch and jobs[-1] is not None:
                try:
                    jobs.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            batch = [job for job in jobs if job is not None]
            if batch:
                self._run(batch)
            if len(batch) < len(jobs):
                return

    def _run(self, jobs: list[Job]) -> None:
        try:
            with self._timers.measure("detect"):
                found = self._detector.detect([image for image, _ in jobs])
        except BaseException as error:
            for _, future in jobs:
                future.set_exception(error)
            return
        for (_, future), detections in zip(jobs, found, strict=True):
            future.set_result(detections)
