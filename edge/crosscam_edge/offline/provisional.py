"""Association while the cameras are still being worked on.

Cameras hand over every track as it ends; a thread of its own associates what there is, over all
cameras, again and again as it grows. So people hear of people long before the last frame, and
whoever could not be associated is found out early. It never decides anything: what is written at
the end is solved from the final tracklets, unless these are to the bit what was solved last.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_edge.associate import associate
from crosscam_edge.offline.people import joined_tracklets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crosscam_edge.associate import Association, AssociationConfig
    from crosscam_edge.offline.progress import Progress
    from crosscam_edge.timers import StageTimers
    from crosscam_edge.track.runner import Verdict
    from crosscam_edge.track.summary import TrackSummary
    from crosscam_edge.types import Tracklet

    Judge = Callable[[Mapping[int, Tracklet], Mapping[int, TrackSummary]], Verdict]

_log = get_logger("provisional")
_LEAST = 8  # ended tracks that make a solve worth while
_GROWTH = 0.25  # ... and this share more than at the last one
_REST = 20.0  # times its duration pass before the next: about 5 % of the time is spent at most
_MOST = 4096  # provisional answers are not worth more memory and time than these take


@dataclass(slots=True)
class ProvisionalFigures:
    """What came of it.

    Attributes:
        solves: Times that everything so far was associated.
        failures: Times that this failed.
        ignored: Ended tracks that were too many to be looked at before the end.
    """

    solves: int = 0
    failures: int = 0
    ignored: int = 0


@dataclass(slots=True)
class _Camera:
    judge: Judge
    finished: dict[int, Tracklet]
    summaries: dict[int, TrackSummary]


class ProvisionalAssociation:
    """Associates what the cameras have seen so far, in the background.

    Args:
        cameras: Names, in the order in which `reuse` gets their tracklets.
        dim: Length D of an embedding.
        model_id: The model that makes the embeddings.
        config: What is known of the site.
        progress: Is told how many people there are.
        timers: Gets the time of stage ``provisional``.
        most: More tracks than this are only counted; bounds memory.

    Attributes:
        figures: What came of it; complete after `close`.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        *,
        dim: int,
        model_id: str,
        config: AssociationConfig,
        progress: Progress,
        timers: StageTimers,
        most: int = _MOST,
    ) -> None:
        self.figures = ProvisionalFigures()
        self._names = list(cameras)
        self._dim = dim
        self._model_id = model_id
        self._config = config
        self._progress = progress
        self._timers = timers
        self._most = most
        self._cameras: dict[str, _Camera] = {}
        self._count = 0
        self._grown = threading.Condition()
        self._closed = False
        self._last: tuple[list[Tracklet], Association] | None = None
        self._thread = threading.Thread(target=self._work, name="provisional", daemon=True)
        self._thread.start()

    def receiver(self, camera_id: str, judge: Judge) -> Callable[[Tracklet, TrackSummary], None]:
        """Return what `CameraTracking` shall call with each track of a camera that ends.

        Args:
            camera_id: The camera.
            judge: Its `CameraTracking.judge`; called from another thread.
        """
        camera = _Camera(judge, {}, {})
        with self._grown:
            self._cameras[camera_id] = camera

        def add(tracklet: Tracklet, summary: TrackSummary) -> None:
            with self._grown:
                if self._count >= self._most:
                    self.figures.ignored += 1
                    return
                camera.finished[tracklet.track_id] = tracklet
                camera.summaries[tracklet.track_id] = summary
                self._count += 1
                self._grown.notify()

        return add

    def close(self) -> None:
        """End the thread; waits for a solve under way."""
        with self._grown:
            self._closed = True
            self._grown.notify()
        self._thread.join()
        self._cameras.clear()
        if self.figures.ignored:
            _log.info("tracks left to the final association", tracks=self.figures.ignored)

    def reuse(self, tracklets: Sequence[Tracklet], config: AssociationConfig) -> Association | None:
        """Return the last result if it is of exactly these tracklets; call after `close`."""
        if self._last is None or config != self._config:
            return None
        solved, association = self._last
        if len(solved) != len(tracklets):
            return None
        same = all(_same(a, b) for a, b in zip(solved, tracklets, strict=True))
        return association if same else None

    def _work(self) -> None:
        solved, next_at = 0, -math.inf
        while True:
            with self._grown:
                while not self._closed:
                    grown = self._count >= solved + max(_LEAST, math.ceil(_GROWTH * solved))
                    rest = next_at - time.monotonic()
                    if grown and rest <= 0:
                        break
                    self._grown.wait(rest if grown else None)
                if self._closed:
                    return
                solved = self._count
                cameras = [
                    _Camera(c.judge, dict(c.finished), dict(c.summaries))
                    for c in (self._cameras.get(name) for name in self._names)
                    if c is not None
                ]
            began = time.monotonic()
            self._solve(cameras)
            ended = time.monotonic()
            next_at = ended + _REST * (ended - began)

    def _solve(self, cameras: list[_Camera]) -> None:
        try:
            with self._timers.measure("provisional"):
                tracklets = [
                    tracklet
                    for camera in cameras
                    for tracklet in joined_tracklets(
                        camera.judge(camera.finished, camera.summaries), self._dim
                    )
                ]
                association = associate(tracklets, model_id=self._model_id, config=self._config)
            self._last = tracklets, association
            self.figures.solves += 1
            seen: dict[int, set[str]] = {}
            for assignment in association.assignments:
                seen.setdefault(assignment.global_id, set()).add(assignment.key.camera_id)
            shared = sum(len(names) > 1 for names in seen.values())
            _log.info("people so far", people=len(seen), shared=shared, tracklets=len(tracklets))
            self._progress.people(len(seen), shared)
        except Exception as error:  # the run goes on without: the end does not depend on this
            self.figures.failures += 1
            _log.warning(
                "provisional association failed", reason=f"{type(error).__name__}: {error}"
            )


def _same(a: Tracklet, b: Tracklet) -> bool:
    """Return whether two tracklets are equal to the bit."""
    if a is b:
        return True
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            if x.dtype != y.dtype or x.shape != y.shape or x.tobytes() != y.tobytes():
                return False
        elif x != y:
            return False
    return True
