"""The best few pictures of each person, kept in the gallery beside their looks.

A picture belongs to a tracklet, like an embedding, and so to whoever the tracklet is of: merging,
moving and splitting people needs nothing done to it. It is deleted by the database itself
(`crosscam_edge.gallery.schema`, triggers) whenever the embeddings of its tracklet are, whatever the
reason: somebody is erased, not seen for a day, beyond retention, or was nobody after all.

To read them, also while a run goes on::

    reader = Reader(Path("live/gallery.db"))
    for each in reader.pictures():                 # of everybody; or reader.pictures(global_id)
        each["global_id"], each["camera"], each["track"], each["ns"], each["quality"]
        found = reader.picture(each["name"])       # None when it was deleted meanwhile
        found["jpeg"]                              # the box of the person, up to 256 pixels high

They are best first for each person, and at most 24 of each. In a live run `Pictures.look` is among
the `watchers` of the run; nothing here is used where `live.pictures` is off or nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from crosscam_edge.embed.base import clip_boxes
from crosscam_edge.gallery.writer import Late
from crosscam_edge.types import TrackletKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from crosscam_edge.gallery.store import Gallery
    from crosscam_edge.track.live import LiveFrame
    from crosscam_edge.types import Frame

_OF_A_TRACKLET = 3
_APART_NS = 1_000_000_000  # pictures of one moment show the same
_HEIGHT = 256
_JPEG = 90
_PENDING = 256  # crops that wait for their person to be known, or for the disk
_PATIENCE_NS = 60_000_000_000
_LIVING = 4096
PUT_PICTURE = """
    INSERT OR IGNORE INTO pictures (camera, track, time_ns, quality, width, height, bytes, jpeg)
    SELECT :camera, :track, :time_ns, :quality, :width, :height, length(:jpeg), :jpeg
    WHERE :jpeg NOT NULL AND EXISTS (
        SELECT 1 FROM tracklets
        WHERE camera = :camera AND track = :track AND embeddings NOT NULL
    )
"""  # who was erased meanwhile has no tracklet, so no picture of them comes after
DROP_PICTURE = "DELETE FROM pictures WHERE camera = ? AND track = ? AND time_ns = ?"


@dataclass(frozen=True, slots=True)
class Crop:
    """A picture of a person.

    Attributes:
        time_ns: When it was taken, UTC.
        quality: In (0, 1], as `crosscam_edge.embed.quality` has it.
        image: `(H, W, 3)` uint8, BGR, no higher than 256.
    """

    time_ns: int
    quality: float
    image: NDArray[np.uint8]


@dataclass(slots=True)
class _Track:
    """The pictures of a tracklet.

    Attributes:
        since_ns: When the first was taken.
        ended: Whether no more come.
        kept: Time and quality of those that are wanted.
        waiting: Those of them that wait for the person to be known.
    """

    since_ns: int
    ended: bool = False
    kept: list[tuple[int, float]] = field(default_factory=list)
    waiting: list[Crop] = field(default_factory=list)


class Pictures:
    """Chooses the pictures of a live run that are kept. Belongs to the run's thread.

    Args:
        gallery: Keeps them.
        id_of: Whose a track is, as far as it is known.
        ignored: Whether a track is of somebody who was erased.

    Attributes:
        dropped: Pictures that were given up because too many waited.
    """

    def __init__(
        self,
        gallery: Gallery,
        id_of: Callable[[TrackletKey], int | None],
        ignored: Callable[[TrackletKey], bool],
    ) -> None:
        self.dropped = 0
        self._gallery, self._id_of, self._ignored = gallery, id_of, ignored
        self._tracks: dict[TrackletKey, _Track] = {}
        self._undecided: dict[TrackletKey, None] = {}
        self._waiting = 0

    def look(self, frame: Frame, seen: LiveFrame) -> None:
        """Take a picture that was looked at, and what it brought."""
        boxes = {row.track_id: row.xyxy for row in seen.rows}
        for key in seen.nobody:
            self._forget(key)
        for tracklet in seen.grown:
            box = boxes.get(tracklet.track_id)
            at = np.flatnonzero(tracklet.embedding_times_ns == frame.time_ns)
            if box is not None and len(at):
                self._offer(tracklet.key, frame, box, float(tracklet.qualities[at[0]]))
        self.settle(frame.time_ns)
        for tracklet in seen.ended:
            track = self._tracks.get(tracklet.key)
            if track is not None:
                track.ended = True
                if tracklet.key not in self._undecided:
                    del self._tracks[tracklet.key]

    def settle(self, now_ns: int) -> None:
        """Keep the pictures of whom it has become known who they are.

        Args:
            now_ns: The present; who is not known after a minute never will be.
        """
        for key in list(self._undecided):
            track = self._tracks[key]
            if self._id_of(key) is not None:
                for crop in track.waiting:
                    self._put(key, crop)
                self._waiting -= len(track.waiting)
                track.waiting.clear()
                del self._undecided[key]
                if track.ended:
                    del self._tracks[key]
            elif self._ignored(key) or now_ns - track.since_ns > _PATIENCE_NS:
                self._forget(key)
        while len(self._tracks) > _LIVING:
            self._forget(next(iter(self._tracks)))

    def _offer(
        self, key: TrackletKey, frame: Frame, box: NDArray[np.float32], quality: float
    ) -> None:
        if self._ignored(key):
            self._forget(key)
            return
        track = self._tracks.get(key) or _Track(frame.time_ns)
        worse = _replaced(track.kept, frame.time_ns, quality)
        if worse is None:
            return
        known = self._id_of(key) is not None
        if not known and self._waiting >= _PENDING:
            self.dropped += 1
            return
        crop = _cut(frame, box, quality)
        if crop is None:
            return
        self._tracks[key] = track
        for each in worse:
            track.kept.remove(each)
            if known:
                self._gallery.writer.put(DROP_PICTURE, (*key, each[0]))
        track.kept.append((crop.time_ns, crop.quality))
        if known:
            self._put(key, crop)
            return
        gone = {time_ns for time_ns, _ in worse}
        left = [each for each in track.waiting if each.time_ns not in gone]
        self._waiting += 1 + len(left) - len(track.waiting)
        track.waiting = [*left, crop]
        self._undecided[key] = None

    def _put(self, key: TrackletKey, crop: Crop) -> None:
        if not self._gallery.writer.put_late(PUT_PICTURE, _encoding(key, crop)):
            self.dropped += 1

    def _forget(self, key: TrackletKey) -> None:
        track = self._tracks.pop(key, None)
        self._undecided.pop(key, None)
        if track is not None:
            self._waiting -= len(track.waiting)


def _replaced(
    kept: list[tuple[int, float]], time_ns: int, quality: float
) -> list[tuple[int, float]] | None:
    """Return which pictures a new one takes the place of; None when it is not wanted."""
    same = [each for each in kept if abs(each[0] - time_ns) < _APART_NS]
    if same:
        return same if quality > max(each[1] for each in same) else None
    if len(kept) < _OF_A_TRACKLET:
        return []
    worst = min(kept, key=lambda each: (each[1], each[0]))
    return [worst] if quality > worst[1] else None


def _cut(frame: Frame, box: NDArray[np.float32], quality: float) -> Crop | None:
    height, width = frame.image.shape[:2]
    clipped, valid = clip_boxes(box, height, width)
    if not valid[0]:
        return None
    x1, y1, x2, y2 = clipped[0].astype(int)
    image = frame.image[y1:y2, x1:x2]
    if image.shape[0] > _HEIGHT:
        size = (max(2, round(image.shape[1] * _HEIGHT / image.shape[0])), _HEIGHT)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Crop(frame.time_ns, quality, image.copy())


def _encoding(key: TrackletKey, crop: Crop) -> Late:
    def values() -> dict[str, Any]:
        done, data = cv2.imencode(".jpg", crop.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
        return {
            "camera": key.camera_id,
            "track": key.track_id,
            "time_ns": crop.time_ns,
            "quality": crop.quality,
            "width": crop.image.shape[1],
            "height": crop.image.shape[0],
            "jpeg": data.tobytes() if done else None,
        }

    return Late(values)
