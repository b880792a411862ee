"""One round of a live run: the pictures of some cameras, from pixels to tracks.

While a round is tracked, the people of the next one are detected already: `Looking.begin` it before
`Looking.finish` of the one before.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from crosscam_edge.live.batches import (
    BatchedDetector,
    Found,
    ManyEmbedder,
    Meeting,
    pictures_a_call,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.detect import Detector
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.live.analysis import Embed
    from crosscam_edge.live.camera import Picture
    from crosscam_edge.live.watched import Watched
    from crosscam_edge.opening import Models
    from crosscam_edge.timers import StageTimers
    from crosscam_edge.track.live import LiveFrame
    from crosscam_edge.types import Frame

    _Waiting = Callable[[], Found]

_MEETING = 8  # cameras that are tracked side by side, so that their crops can meet


@dataclass(slots=True)
class Look:
    """What came of a picture.

    Attributes:
        watched: The camera.
        picture: It.
        taken_ns: When it was taken, UTC.
        frame: Its pixels; None when it could not be converted.
        seen: Who is in it; None when that failed.
        error: Why.
        began_s: When it was taken, by `time.perf_counter`.
        detect_s: From then to when its people were known, seconds.
        track_s: From then to when its tracks were known, seconds.
        detector_s: Seconds for which the detector was taken up, see `Found`.
        convert_s: Seconds that its pixels took.
    """

    watched: Watched
    picture: Picture
    taken_ns: int
    frame: Frame | None = None
    seen: LiveFrame | None = None
    error: Exception | None = None
    began_s: float = field(default_factory=time.perf_counter)
    detect_s: float = 0.0
    track_s: float = 0.0
    detector_s: float = 0.0
    convert_s: float = 0.0


@dataclass(slots=True)
class Round:
    """Pictures whose people are being detected.

    Attributes:
        looks: One for each picture.
        people: What waits for its people; None without pixels.
    """

    looks: list[Look]
    people: list[_Waiting | None]


class Looking:
    """Detects and tracks; what goes wrong with a picture belongs to its camera alone.

    Args:
        models: Closed by the caller.
        timers: Gets the times of the stages ``convert``, ``detect`` and ``track``.
        batch: Most pictures of several cameras in one call; None leaves it to the engines.

    Attributes:
        waiting: Pictures that were taken and are not done.
    """

    def __init__(self, models: Models, timers: StageTimers, batch: int | None = None) -> None:
        self._timers, self._asked = timers, batch
        self.waiting = 0
        self.use(models.embedder)
        with ExitStack() as opened:
            self._detector = BatchedDetector(
                models.detector, workers=models.streams, asked=batch, timers=timers
            )
            opened.callback(self._detector.close)
            self._tracking = ThreadPoolExecutor(_MEETING, thread_name_prefix="track")
            opened.callback(self._tracking.shutdown)
            self._opened = opened.pop_all()

    def use(self, embedder: Embedder) -> None:
        """Have crops embedded by this one from now on; between two rounds."""
        self._embedder = embedder
        self._meeting = Meeting(embedder) if isinstance(embedder, ManyEmbedder) else None

    @property
    def batch(self) -> int:
        """Pictures for which it is worth waiting a moment, now."""
        return self._detector.batch

    @property
    def at_once(self) -> int:
        """Pictures that keep the detector busy, now: with more, some are old when it is theirs."""
        return self._detector.at_once

    def close(self) -> None:
        """End the threads."""
        self._opened.close()

    def begin(self, taken: Sequence[tuple[Watched, Picture]], now_ns: int) -> Round:
        """Begin to detect in one picture of each of several cameras.

        Args:
            taken: The cameras and their pictures.
            now_ns: UTC.
        """
        looks = [Look(watched, picture, now_ns) for watched, picture in taken]
        self.waiting += len(looks)
        for each in looks:
            self._convert(each)
        return Round(looks, self._people(looks))

    def finish(self, begun: Round, cameras: Collection[Watched]) -> Iterator[Look]:
        """Track in the pictures of a round; yields them in order.

        Args:
            begun: It.
            cameras: That are still watched: pictures of others are let go.
        """
        here = {id(each) for each in cameras}
        kept = [
            (look, people)
            for look, people in zip(begun.looks, begun.people, strict=True)
            if id(look.watched) in here
        ]
        self.waiting -= len(begun.looks) - len(kept)
        for look in self._looks([look for look, _ in kept], [people for _, people in kept]):
            self.waiting -= 1
            yield look

    def _looks(self, looks: list[Look], people: list[_Waiting | None]) -> Iterator[Look]:
        if len(looks) == 1:
            self._tracked(looks[0], people[0], self._embedder.embed)
            yield looks[0]
            return
        meeting = self._meeting
        if meeting is None or pictures_a_call(self._embedder, self._asked) == 1:
            work = partial(self._alone, embed=self._embedder.embed)
        else:
            meeting.expect(len(looks))
            work = partial(self._met, meeting=meeting)
        # Side by side: while one waits for its embeddings, others get on with what is Python's.
        futures = [
            self._tracking.submit(work, each, found)
            for each, found in zip(looks, people, strict=True)
        ]
        for future in futures:
            yield future.result()

    def _people(self, looks: Sequence[Look]) -> list[_Waiting | None]:
        """Begin to detect; returns what waits for the people of each picture, None without one."""
        shared = {
            index: look.frame.image
            for index, look in enumerate(looks)
            if look.frame is not None and look.watched.detector is None
        }
        begun = dict(zip(shared, self._detector.detect([*shared.values()]), strict=True))
        return [
            None if look.frame is None
            else begun[index] if look.watched.detector is None
            else partial(self._detected, look.watched.detector, look.frame.image)
            for index, look in enumerate(looks)
        ]  # fmt: skip

    def _detected(self, own: Detector, image: NDArray[np.uint8]) -> Found:
        began = time.perf_counter()
        with self._timers.measure("detect"):
            people = own.detect([image])[0]
        return Found(people, time.perf_counter() - began)

    def _convert(self, look: Look) -> None:
        try:
            began = time.perf_counter()
            with self._timers.measure("convert"):
                look.frame = look.picture.frame()
            look.convert_s = time.perf_counter() - began
        except Exception as error:  # the next picture may do, and other cameras go on
            look.error = error

    def _alone(self, look: Look, found: _Waiting | None, embed: Embed) -> Look:
        self._tracked(look, found, embed)
        return look

    def _met(self, look: Look, found: _Waiting | None, meeting: Meeting) -> Look:
        try:
            self._tracked(look, found, meeting.embed)
        finally:
            meeting.gone()
        return look

    def _tracked(self, look: Look, found: _Waiting | None, embed: Embed) -> None:
        if look.frame is None or found is None:
            return
        try:
            people, look.detector_s = found()
            known_s = time.perf_counter()
            with self._timers.measure("track"):
                look.seen = look.watched.analysis.look(look.frame, people, embed)
            look.detect_s = known_s - look.began_s
            look.track_s = time.perf_counter() - known_s
        except Exception as error:  # the next picture may do, and other cameras go on
            look.error = error
