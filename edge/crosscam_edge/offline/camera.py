"""One camera from file to tracklets: replay what is stored, decode what is not."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.detect.area import AreaFilter
from crosscam_edge.offline.checkpoint import CameraCache, FrameRecord
from crosscam_edge.offline.spool import EmbeddingSpool, TrackSpool
from crosscam_edge.sources import SourceStats, open_source
from crosscam_edge.track import TrackerConfig
from crosscam_edge.track.runner import CameraTracking, Verdict
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from crosscam_edge.associate.learned import Learned
    from crosscam_edge.config import SiteConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.detect.pool import DetectPool
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.offline.plan import CameraPlan
    from crosscam_edge.offline.progress import Progress
    from crosscam_edge.offline.provisional import ProvisionalAssociation
    from crosscam_edge.timers import StageTimers
    from crosscam_edge.types import Detections, Frame

    Waiting = tuple[Frame, Future[Detections]]

_QUEUE_BYTES = 96 << 20  # decoded pictures that may wait, per camera
_POLL_S = 0.2


@dataclass(slots=True)
class Shared:
    """What the cameras of a run have in common.

    Attributes:
        settings: The run's settings.
        detector: Where sequential detectors for one camera come from.
        pool: Workers for a detector without memory; None when it is sequential.
        embedder: For all cameras.
        timers: Busy seconds by stage.
        progress: Who is told.
        stop: Set when the run shall end early and cleanly.
        decode_threads: Decoder threads for each camera.
        provisional: Associates while cameras are still being worked on; None for not before the
            end.
        learned: What earlier footage of the site has shown, for the association.
    """

    settings: SiteConfig
    detector: Detector
    pool: DetectPool | None
    embedder: Embedder
    timers: StageTimers
    progress: Progress
    stop: threading.Event
    decode_threads: int
    provisional: ProvisionalAssociation | None = None
    learned: Learned | None = None


@dataclass(slots=True)
class CameraResult:
    """What a camera yields, at its end or at an interruption.

    Attributes:
        plan: The camera.
        verdict: Its tracklets, which belong together, which were no people.
        tracks: Rows of its tracks.
        embeddings: Rows of its embeddings.
        frames: Processed frames.
        resumed: Those of them that came from checkpoints.
        last_index: Index of the last frame; -1 when there was none.
        last_ns: Time of the last frame.
        detections: Number of detections.
        stats: Counters of the source.
        dropped: Things left out, by reason.
        error: Why the camera could not be finished; None when it was or the run was stopped.
    """

    plan: CameraPlan
    verdict: Verdict
    tracks: TrackSpool
    embeddings: EmbeddingSpool
    frames: int = 0
    resumed: int = 0
    last_index: int = -1
    last_ns: int = 0
    detections: int = 0
    embedded: int = 0
    stats: SourceStats = field(default_factory=SourceStats)
    dropped: dict[str, int] = field(default_factory=dict)
    error: str | None = None


class StorageError(Exception):
    """Wraps a failure of the output folder: it ends the run, not just one camera."""

    def __init__(self, cause: CrosscamError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class CameraRun:
    """Works one camera off. Owned by one thread; decoding happens in a second one.

    Args:
        plan: The camera.
        shared: What all cameras share.
    """

    def __init__(self, plan: CameraPlan, shared: Shared) -> None:
        settings = shared.settings
        self._plan = plan
        self._shared = shared
        self._size = (plan.info.width, plan.info.height)
        self._tracking = CameraTracking(
            plan.camera_id,
            self._size,
            min(plan.info.frame_rate, settings.process_fps or plan.info.frame_rate),
            tracker=TrackerConfig.above(
                settings.min_confidence, embed_every_s=settings.embed_every_seconds
            ),
        )
        if shared.provisional is not None:
            self._tracking.on_ended = shared.provisional.receiver(
                plan.camera_id, self._tracking.judge
            )
        self._area = AreaFilter(
            plan.config, min_confidence=settings.min_confidence, max_people=settings.max_people
        )
        self._abort = threading.Event()
        with _storage():
            self._cache = CameraCache(plan.cache, shared.embedder.dim)
            self._result = CameraResult(
                plan,
                Verdict([], {}, {}, {}),
                TrackSpool(plan.cache / "tracks.arrow"),
                EmbeddingSpool(plan.cache / "embeddings.arrow", shared.embedder.dim),
            )

    def run(self) -> CameraResult:
        """Process until the end of the source or until the run is stopped.

        A source, detector or embedder that fails ends this camera with `CameraResult.error`; what
        was done before stays valid.

        Raises:
            StorageError: The output folder cannot be written.
        """
        result = self._result
        try:
            self._replay()
            done = self._cache.done
            if done is not None:
                result.stats = SourceStats(**done["stats"])
                result.dropped = dict(done["dropped"])
            else:
                self._decode_on()
        except StorageError:
            for spool in (result.tracks, result.embeddings):
                with suppress(CrosscamError):  # closed even so; the first error is the one to tell
                    spool.close()
            raise
        except CrosscamError as error:
            result.error = str(error)
        except Exception as error:
            result.error = f"{type(error).__name__}: {error}"
        with _storage():
            if result.error is not None:
                self._cache.flush()
            result.tracks.close()
            result.embeddings.close()
        with self._shared.timers.measure("track"):
            result.verdict = self._tracking.finish()
        self._shared.progress.finished(self._plan.camera_id, result.error)
        return result

    def _replay(self) -> None:
        """Run the stored frames through the tracker."""
        with _storage():
            for record in self._cache.replay():
                stored = dict(zip(record.embedded.tolist(), record.embeddings, strict=True))
                dim = self._shared.embedder.dim

                def embed(
                    index: NDArray[np.intp],
                    stored: dict[int, NDArray[np.float32]] = stored,
                    dim: int = dim,
                ) -> NDArray[np.float32]:
                    missing = [i for i in index.tolist() if i not in stored]
                    if missing:
                        raise RunError(
                            f"the checkpoints of '{self._plan.camera_id}' lack an embedding",
                            expected="checkpoints of this very version and configuration",
                            fix="start over with --overwrite",
                        )
                    rows = [stored[i] for i in index.tolist()]
                    return np.stack(rows) if rows else np.zeros((0, dim), np.float32)

                self._step(record.index, record.time_ns, record.size, record.detections, embed)
                self._result.resumed += 1
                if self._result.frames % 50 == 0:
                    self._tell(resumed=True)
                if self._shared.stop.is_set():
                    return
        self._tell(resumed=True)

    def _decode_on(self) -> None:
        """Decode, detect and track behind what is stored."""
        stop = self._shared.stop
        if stop.is_set():
            return
        last_flush = time.monotonic()
        for frame, future in self._frames():
            found = self._area(future.result())
            size = (frame.image.shape[1], frame.image.shape[0])
            embedded = self._track(frame, found, size)
            with _storage(), self._shared.timers.measure("write"):
                self._cache.add(FrameRecord(frame.index, frame.time_ns, size, found, *embedded))
                if time.monotonic() - last_flush > self._shared.settings.checkpoint_seconds:
                    self._cache.flush()
                    last_flush = time.monotonic()
            self._tell(resumed=False)
        self._result.dropped = {"outside region": self._area.outside, "surplus": self._area.surplus}
        with _storage(), self._shared.timers.measure("write"):
            if stop.is_set():
                self._cache.flush()
            else:
                note = {"stats": asdict(self._result.stats), "dropped": self._result.dropped}
                self._cache.finish(note)

    def _track(
        self, frame: Frame, found: Detections, size: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Track one fresh frame; returns the embeddings that were made for it."""
        timers = self._shared.timers
        made: dict[int, NDArray[np.float32]] = {}
        spent = 0.0

        def embed(index: NDArray[np.intp]) -> NDArray[np.float32]:
            nonlocal spent
            started = time.perf_counter()
            rows = self._shared.embedder.embed(frame.image, found.xyxy[index])
            made.update(zip(index.tolist(), rows, strict=True))
            spent += time.perf_counter() - started
            return rows

        started = time.perf_counter()
        self._step(frame.index, frame.time_ns, size, found, embed)
        timers.add("embed", spent)
        timers.add("track", time.perf_counter() - started - spent)
        order = sorted(made)
        dim = self._shared.embedder.dim
        rows = np.stack([made[i] for i in order]) if order else np.zeros((0, dim), np.float32)
        return np.array(order, np.int64), rows

    def _step(
        self,
        index: int,
        time_ns: int,
        size: tuple[int, int],
        found: Detections,
        embed: Callable[[NDArray[np.intp]], NDArray[np.float32]],
    ) -> None:
        """Everything that is the same for fresh and for stored frames."""
        result = self._result
        if size != self._size:
            self._size = self._tracking.image_size = size
        rows = self._tracking.step(index, time_ns, found, embed)
        result.frames += 1
        result.detections += len(found)
        result.last_index, result.last_ns = index, time_ns
        details = self._tracking.tracker.details
        # A track's box is its detection's box to the bit: that tells whose crop was embedded.
        owner = {row.xyxy.tobytes(): row.track_id for row in rows if row.frame_index == index}
        with _storage():
            result.tracks.add(rows)
            believed = ~details.doubted
            for detection, row in zip(
                details.embedded[believed].tolist(), details.embeddings[believed], strict=True
            ):
                track_id = owner.get(found.xyxy[detection].tobytes())
                if track_id is not None and row.any():
                    quality = float(details.quality[detection])
                    result.embeddings.add(track_id, index, time_ns, quality, row)
                    result.embedded += 1

    def _frames(self) -> Iterator[Waiting]:
        """Yield decoded frames with their detections under way, in order."""
        info = self._plan.info
        depth = int(np.clip(_QUEUE_BYTES // max(1, info.width * info.height * 3), 2, 16))
        waiting: queue.Queue[Waiting | BaseException | None] = queue.Queue(maxsize=depth)
        thread = threading.Thread(
            target=self._decode, args=(waiting,), name=f"decode-{self._plan.camera_id}", daemon=True
        )
        thread.start()
        try:
            while True:
                item = waiting.get()
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._abort.set()
            thread.join()

    def _decode(self, waiting: queue.Queue[Waiting | BaseException | None]) -> None:
        """Read the source (second thread); every way out leaves a last item in the queue."""
        shared, plan = self._shared, self._plan

        def stopped() -> bool:
            return shared.stop.is_set() or self._abort.is_set()

        source = open_source(
            plan.camera_id,
            plan.info,
            start_ns=plan.start_ns,
            process_fps=shared.settings.process_fps,
            threads=shared.decode_threads,
        )
        self._result.stats = source.stats
        resume = self._result.last_index + 1
        end: BaseException | None = None
        try:
            # A detector with memory must see the frames before as well.
            detector = None if shared.pool else shared.detector.for_camera()
            frames = source.frames(start=0 if detector else resume, stop=stopped)
            while True:
                with shared.timers.measure("decode"):
                    frame = next(frames, None)
                if frame is None:
                    break
                if detector is None:
                    assert shared.pool is not None
                    future = shared.pool.submit(frame.image)
                else:
                    future = Future()
                    with shared.timers.measure("detect"):
                        future.set_result(detector.detect([frame.image])[0])
                if frame.index >= resume:
                    self._put(waiting, (frame, future))
        except BaseException as error:
            end = error
        finally:
            source.close()
            self._put(waiting, end)

    def _put(
        self,
        waiting: queue.Queue[Waiting | BaseException | None],
        item: Waiting | BaseException | None,
    ) -> None:
        while not self._abort.is_set():
            try:
                waiting.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def _tell(self, *, resumed: bool) -> None:
        self._shared.progress.frames(self._plan.camera_id, self._result.frames, resumed=resumed)


class _storage:  # noqa: N801 - reads as a statement
    """Marks errors of the block as errors of the output folder."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CrosscamError):
            raise StorageError(error) from error
