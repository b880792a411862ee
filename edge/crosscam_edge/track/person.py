"""What the tracker knows of one person, and when it wants to see more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosscam_edge.track.appearance import Memory
from crosscam_edge.types import TrackState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.embed.translation import Translation

_FRESH_CROPS = 2.0  # so many crops of a track come at the full rate
_RECHECK_S = 0.15  # a crop that was doubted is followed by another one this soon


@dataclass(frozen=True, slots=True)
class EndedTrack:
    """A track that will never be seen again under its id.

    Attributes:
        track_id: Its id.
        confirmed: Whether it ever was confirmed; the others are noise.
        last_ns: UTC time of its last detection.
    """

    track_id: int
    confirmed: bool
    last_ns: int


@dataclass(frozen=True, slots=True)
class Move:
    """Sights of one track that were another person's.

    Attributes:
        track_id: Under which they were given out.
        to_id: Whose they are.
        since_ns: From when on; up to the update that found it, which is right itself.
    """

    track_id: int
    to_id: int
    since_ns: int


class Person:
    """Bookkeeping of one track; its filter lives at the same position of the `KalmanBatch`.

    Attributes:
        track_id: Its id.
        state: Where in its life it is.
        hits: Detections so far.
        first_ns: Time of the first.
        last_ns: Time of the last.
        confidence: Of the last.
        best: Greatest confidence so far.
        border: Whether it was cut by the border of the picture when last seen.
        embedded: Crops that made it into the memory so far.
        embedded_ns: Time of the last crop.
        met: Whether it has been so close to somebody since then that the two may be mixed up.
        closeness: Greatest overlap (IoU) with somebody since the last crop that was believed.
        closest_ns: When that was; when that crop was taken if nobody came near.
        memory: What the person looks like.
        doubts: `(D,)` embeddings of the latest crops, as far as they show somebody else.
        doubted_ns: Time of the first of them.
    """

    __slots__ = (
        "best",
        "border",
        "closeness",
        "closest_ns",
        "confidence",
        "doubted_ns",
        "doubts",
        "embedded",
        "embedded_ns",
        "first_ns",
        "hits",
        "last_ns",
        "memory",
        "met",
        "state",
        "track_id",
    )

    def __init__(self, track_id: int, time_ns: int, confidence: float, exemplars: int) -> None:
        self.track_id = track_id
        self.state = TrackState.TENTATIVE
        self.hits = 1
        self.first_ns = self.last_ns = time_ns
        self.confidence = self.best = confidence
        self.border = False
        self.embedded = 0
        self.embedded_ns = 0
        self.met = False
        self.closeness = 0.0
        self.closest_ns = time_ns
        self.memory = Memory(exemplars)
        self.doubts: list[NDArray[np.float32]] = []
        self.doubted_ns = 0

    def is_due(self, now: int, every_s: float, *, apart: bool) -> bool:
        """Say whether another crop is wanted: ever more rarely, for each one tells less new.

        Args:
            now: Time in nanoseconds.
            every_s: Seconds between the first crops.
            apart: Whether nobody else is close now; who was met is looked at again then.
        """
        if self.embedded == 0 or (self.met and apart):
            return True
        waited = (now - self.embedded_ns) / 1e9
        if self.doubts:
            return waited >= min(_RECHECK_S, every_s)
        return waited >= every_s * max(1.0, self.embedded / _FRESH_CROPS)

    def close_to(self, closeness: float, now: int, *, met: bool) -> None:
        """Take the overlap (IoU) with whoever is nearest; `met` when it is a lot."""
        self.met |= met
        if closeness > self.closeness:
            self.closeness, self.closest_ns = closeness, now

    def remember(self, embedding: NDArray[np.float32], quality: float, now: int) -> None:
        """Take one embedding `(D,)` that is believed to be this person's."""
        self.memory.add(embedding, quality)
        self.embedded += 1
        self.embedded_ns = now
        self.believe(now)

    def suspect(self, embedding: NDArray[np.float32], now: int) -> None:
        """Take one embedding `(D,)` that looks like somebody else."""
        if not self.doubts:
            self.doubted_ns = now
        self.doubts.append(embedding)

    @property
    def changed_ns(self) -> int:
        """If the track went on with somebody else: the time when that most likely happened."""
        if self.closeness > 0:
            return self.closest_ns
        return (self.closest_ns + self.doubted_ns) // 2

    def believe(self, now: int) -> None:
        """Forget doubts: up to now the track shows its person."""
        self.doubts.clear()
        self.closeness, self.closest_ns = 0.0, now

    def translate(self, translation: Translation) -> None:
        """Go over to another model; who is not known by it is looked at again at once."""
        self.memory.translate(translation)
        self.doubts.clear()
        self.embedded = min(self.embedded, len(self.memory))

    def ended(self) -> EndedTrack:
        """Close the track."""
        confirmed = self.state is not TrackState.TENTATIVE
        self.state = TrackState.REMOVED
        return EndedTrack(self.track_id, confirmed, self.last_ns)
