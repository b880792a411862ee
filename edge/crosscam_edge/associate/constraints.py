"""Which pairs of tracklets can never be one person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet

UNSURE_S = 2.0  # of a tracklet's end may be another person's


@dataclass(frozen=True, slots=True)
class Spans:
    """Where and when each of N tracklets was seen; judges any pairs of them.

    All methods take two integer index arrays that broadcast against each other: `(P,)` and `(P,)`
    for a list of pairs, `(N, 1)` and `(1, M)` for a block.

    Attributes:
        camera: `(N,)` numbers of cameras, in the order of their names.
        start: `(N,)` ns of the first sight.
        end: `(N,)` ns of the last.
        first: `(N,)` ns from which it is sure whose tracklet it is.
        last: `(N,)` ns until which it is.
    """

    camera: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, tracklets: Sequence[Tracklet], names: Sequence[str] | None = None) -> Spans:
        """Return the spans of tracklets.

        Args:
            tracklets: N of them.
            names: Cameras in the order of their numbers; those of the tracklets in the order of
                their names if not given.
        """
        margin = round(UNSURE_S * 1e9)
        start = np.array([t.start_ns for t in tracklets], np.int64)
        end = np.array([t.end_ns for t in tracklets], np.int64)
        sure = np.array([t.sure_ns or (t.start_ns, t.end_ns) for t in tracklets], np.int64)
        sure = sure.reshape(-1, 2)
        first = np.clip(sure[:, 0], start, np.minimum(start + margin, end))
        last = np.clip(sure[:, 1], np.maximum(end - margin, start), end)
        return cls(camera_index(tracklets, names), start, end, first, last)

    def __len__(self) -> int:
        return len(self.camera)

    def at_once(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether two different tracklets of one camera are surely seen at once."""
        meet = (self.first[i] <= self.last[j]) & (self.first[j] <= self.last[i])
        out: NDArray[np.bool_] = meet & (self.camera[i] == self.camera[j]) & (i != j)
        return out

    def overlapping(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the spans of two different tracklets of one camera overlap at all."""
        meet = (self.start[i] <= self.end[j]) & (self.start[j] <= self.end[i])
        out: NDArray[np.bool_] = meet & (self.camera[i] == self.camera[j]) & (i != j)
        return out

    def shared(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the seconds during which both are seen; negative is the gap between them."""
        shared = np.minimum(self.end[i], self.end[j]) - np.maximum(self.start[i], self.start[j])
        out: NDArray[np.float32] = (shared / 1e9).astype(np.float32)
        return out


def camera_index(
    tracklets: Sequence[Tracklet], names: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """Return `(N,)`: number of each tracklet's camera, see `Spans.of`."""
    names = sorted({t.camera_id for t in tracklets}) if names is None else names
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[t.camera_id] for t in tracklets], np.int64)


def seen_at_once(tracklets: Sequence[Tracklet]) -> NDArray[np.bool_]:
    """Return `(N, N)`: True where two different tracklets of one camera are seen at once.

    This is the hard rule: such a pair is two people. A tracklet counts from its first to its last
    sight, but for those near its ends that no crop confirms (`Tracklet.sure_ns`): where people
    meet, a track may leave its person before it ends, or begin before it has found it.
    """
    return Spans.of(tracklets).at_once(*every_pair(len(tracklets)))


def overlapping(tracklets: Sequence[Tracklet]) -> NDArray[np.bool_]:
    """Return `(N, N)`: True where the spans of two tracklets of one camera overlap at all."""
    return Spans.of(tracklets).overlapping(*every_pair(len(tracklets)))


def every_pair(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices `(count, 1)` and `(1, count)`: the block of all pairs."""
    index = np.arange(count)
    return index[:, None], index[None, :]
