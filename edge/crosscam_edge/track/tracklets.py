"""Collects what association needs of each track, in bounded memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.track.appearance import usable
from crosscam_edge.types import Tracklet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.track.looks import FrameDetails
    from crosscam_edge.track.person import Move
    from crosscam_edge.types import Tracks

    Point = tuple[int, int, NDArray[np.float32]]  # time in ns, frame, box

_VELOCITY_S = 1.0  # velocities are fitted to this much of a track's beginning and end
_RECENT_S = 4.0  # of a track's latest boxes can be given to another track
_MAX_POINTS = 128


class ExemplarSet:
    """A bounded sample of embeddings that stays diverse and prefers good crops.

    When full, the closest pair of exemplars loses its member of lower quality: what is thrown away
    is always what the rest already says. New crops therefore only get in when they show something
    new or show it better. A pose seen often does not crowd out one seen once.

    Args:
        size: Exemplars kept, at least 1.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.embeddings: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self.qualities: NDArray[np.float32] = np.zeros(0, np.float32)
        self.times_ns: NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.embeddings)

    def add(self, embedding: NDArray[np.float32], quality: float, time_ns: int) -> None:
        """Offer one embedding `(D,)`, L2-normalised, of quality in (0, 1]."""
        row = embedding[None].astype(np.float32)
        self.embeddings = np.concatenate([self.embeddings, row]) if len(self) else row.copy()
        self.qualities = np.append(self.qualities, np.float32(quality))
        self.times_ns = np.append(self.times_ns, np.int64(time_ns))
        if len(self) <= self._size:
            return
        likeness = self.embeddings @ self.embeddings.T
        np.fill_diagonal(likeness, -np.inf)
        a, b = (int(i) for i in np.unravel_index(int(likeness.argmax()), likeness.shape))
        keep = np.ones(len(self), np.bool_)
        keep[a if self.qualities[a] < self.qualities[b] else b] = False
        self.embeddings = self.embeddings[keep]
        self.qualities, self.times_ns = self.qualities[keep], self.times_ns[keep]

    def translate(self, translation: Translation) -> None:
        """Go over to another model: what it has not seen is forgotten."""
        self.embeddings, known = translation.of(self.embeddings)
        self.qualities, self.times_ns = self.qualities[known], self.times_ns[known]


@dataclass(slots=True)
class _Collected:
    start_ns: int
    start_frame: int
    exemplars: ExemplarSet
    entry: list[Point] = field(default_factory=list)
    recent: deque[Point] = field(default_factory=lambda: deque(maxlen=_MAX_POINTS))
    observations: int = 0
    sure_ns: tuple[int, int] | None = None

    def add(self, point: Point) -> None:
        """Take a sight; later than all before."""
        time_ns = point[0]
        self.observations += 1
        if (time_ns - self.start_ns) / 1e9 <= _VELOCITY_S and len(self.entry) < _MAX_POINTS:
            self.entry.append(point)
        self.recent.append(point)
        while (time_ns - self.recent[0][0]) / 1e9 > _RECENT_S:
            self.recent.popleft()

    def take_back(self, since_ns: int) -> list[Point]:
        """Remove and return the sights from `since_ns` on, as far as they are remembered.

        One is always left: a track that was given out has been somewhere.
        """
        out: list[Point] = []
        while len(self.recent) > 1 and self.recent[-1][0] >= since_ns:
            out.append(self.recent.pop())
        self.observations -= len(out)
        self.entry = [point for point in self.entry if point[0] <= self.recent[-1][0]]
        return out[::-1]


def fit_velocity(points: Sequence[Point]) -> NDArray[np.float32]:
    """Return the least-squares velocity `(2,)` of box centres, in pixels per second.

    Args:
        points: Times in nanoseconds, frames and boxes `(4,)` x1, y1, x2, y2; fewer than two give
            zero.
    """
    if len(points) < 2:
        return np.zeros(2, np.float32)
    time = (np.array([t for t, _, _ in points], np.int64) - points[0][0]) / 1e9
    box = np.stack([b for _, _, b in points]).astype(np.float64)
    centre = (box[:, :2] + box[:, 2:]) / 2
    time = time - time.mean()
    spread = float(time @ time)
    if spread <= 0:
        return np.zeros(2, np.float32)
    out: NDArray[np.float32] = (time @ (centre - centre.mean(axis=0)) / spread).astype(np.float32)
    return out


def at_rest(tracklet: Tracklet) -> Tracklet:
    """Return a tracklet to which nothing is added any more, as a live run keeps it for a day.

    Its embeddings are in half precision, which moves a cosine by a ten-thousandth; it is the same
    object where they are already.
    """
    if tracklet.embeddings.dtype == np.float16:
        return tracklet
    return replace(tracklet, embeddings=tracklet.embeddings.astype(np.float16))


class TrackletBuilder:
    """Builds the tracklets of one camera while the tracker runs.

    Args:
        camera_id: Name of the camera.
        image_size: `(width, height)` in pixels.
        exemplars: Embeddings kept for each track.
        max_tracks: Tracks collected at once; more than the tracker can have alive is a mistake of
            the caller (a track was never finished), and the oldest are dropped and counted.

    Attributes:
        dropped: Tracks given up because of `max_tracks`.
    """

    def __init__(
        self,
        camera_id: str,
        image_size: tuple[int, int],
        *,
        exemplars: int = 16,
        max_tracks: int = 4096,
    ) -> None:
        self.camera_id = camera_id
        self.image_size = image_size
        self.dropped = 0
        self._exemplars = exemplars
        self._max_tracks = max_tracks
        self._open: dict[int, _Collected] = {}

    def __len__(self) -> int:
        return len(self._open)

    def observe(
        self, frame_index: int, time_ns: int, tracks: Tracks, details: FrameDetails
    ) -> None:
        """Take the tracks of one frame.

        Args:
            frame_index: Number of the frame in its source.
            time_ns: Its capture time.
            tracks: Result of `Tracker.update`.
            details: `Tracker.details` after it.
        """
        good = usable(details.embeddings) & ~details.doubted
        row_of = {int(d): r for r, d in enumerate(details.embedded.tolist()) if good[r]}
        for track_id, box, index in zip(
            tracks.track_id.tolist(), tracks.xyxy, tracks.detection_index.tolist(), strict=True
        ):
            if index < 0:  # a predicted box is no sight
                continue
            entry = self._open.get(track_id)
            if entry is None:
                entry = self._begin(track_id, frame_index, time_ns)
            entry.add((time_ns, frame_index, box.copy()))
            row = row_of.get(index)
            if row is not None and details.quality[index] > 0:
                entry.sure_ns = (entry.sure_ns[0] if entry.sure_ns else time_ns, time_ns)
                entry.exemplars.add(details.embeddings[row], float(details.quality[index]), time_ns)

    def move(self, moves: Iterable[Move]) -> None:
        """Give sights of tracks to the tracks that they were of; all moves of one frame at once."""
        taken = [
            (move.to_id, self._open[move.track_id].take_back(move.since_ns))
            for move in moves
            if move.track_id in self._open
        ]
        for to_id, points in taken:
            for time_ns, frame_index, box in points:
                entry = self._open.get(to_id)
                if entry is None:
                    entry = self._begin(to_id, frame_index, time_ns)
                if not entry.recent or time_ns > entry.recent[-1][0]:
                    entry.add((time_ns, frame_index, box))

    def _begin(self, track_id: int, frame_index: int, time_ns: int) -> _Collected:
        if len(self._open) >= self._max_tracks:
            oldest = min(self._open, key=lambda k: self._open[k].recent[-1][0])
            del self._open[oldest]
            self.dropped += 1
        entry = _Collected(time_ns, frame_index, ExemplarSet(self._exemplars))
        self._open[track_id] = entry
        return entry

    def translate(self, translation: Translation) -> None:
        """Go over to another model: crops that it has not seen are forgotten."""
        for entry in self._open.values():
            entry.exemplars.translate(translation)

    def peek(self, track_id: int) -> Tracklet | None:
        """Return the tracklet as it stands, or None when the track was never seen."""
        entry = self._open.get(track_id)
        if entry is None:
            return None
        last_ns, last_frame, last_box = entry.recent[-1]
        latest = [p for p in entry.recent if (last_ns - p[0]) / 1e9 <= _VELOCITY_S]
        return Tracklet(
            camera_id=self.camera_id,
            track_id=track_id,
            start_ns=entry.start_ns,
            end_ns=last_ns,
            start_frame=entry.start_frame,
            end_frame=last_frame,
            observations=entry.observations,
            entry_box=entry.entry[0][2],
            exit_box=last_box,
            image_size=self.image_size,
            embeddings=entry.exemplars.embeddings,
            embedding_times_ns=entry.exemplars.times_ns,
            qualities=entry.exemplars.qualities,
            exit_velocity=fit_velocity(latest),
            entry_velocity=fit_velocity(entry.entry),
            sure_ns=entry.sure_ns,
        )

    def finish(self, track_id: int) -> Tracklet | None:
        """Return the tracklet of a track that ended and forget it; None when it was never seen."""
        tracklet = self.peek(track_id)
        self._open.pop(track_id, None)
        return tracklet
