"""Boxes of tracks, and where people were while nothing was detected of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.track.refine import RefineConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TrackRow:
    """One box of one track.

    Attributes:
        frame_index: Number of the frame.
        time_ns: Its capture time.
        track_id: Track.
        xyxy: `(4,)` float32 pixels.
        confidence: Of the detection; of an interpolated row, the lower of its two ends.
        interpolated: Whether nothing was detected and the box was filled in.
    """

    frame_index: int
    time_ns: int
    track_id: int
    xyxy: NDArray[np.float32]
    confidence: float
    interpolated: bool = False


class GapFiller:
    """Fills the gaps of tracks on the fly, remembering only the last box of each.

    Args:
        max_gap_s: Longer gaps stay open.
    """

    def __init__(self, max_gap_s: float = RefineConfig().max_gap_s) -> None:
        self._max_gap_s = max_gap_s
        self._last: dict[int, TrackRow] = {}

    def push(self, rows: Iterable[TrackRow]) -> list[TrackRow]:
        """Take the rows of one frame; return them, after the rows that fill gaps before them.

        Frames between two sights get straight-line boxes, evenly spaced in time.
        """
        out: list[TrackRow] = []
        for row in rows:
            last = self._last.get(row.track_id)
            if last is not None:
                out.extend(fill(last, row, self._max_gap_s))
            out.append(row)
            self._last[row.track_id] = row
        return out

    def forget(self, track_id: int) -> None:
        """Drop what is remembered of a track that ended."""
        self._last.pop(track_id, None)


def fill(before: TrackRow, after: TrackRow, max_gap_s: float) -> list[TrackRow]:
    """Return the straight-line rows strictly between two sights; none over a longer gap."""
    frames = after.frame_index - before.frame_index
    span = after.time_ns - before.time_ns
    if frames < 2 or span / 1e9 > max_gap_s:
        return []
    step = (after.xyxy - before.xyxy) / frames
    confidence = min(before.confidence, after.confidence)
    return [
        TrackRow(
            before.frame_index + k,
            before.time_ns + span * k // frames,
            after.track_id,
            (before.xyxy + step * k).astype(np.float32),
            confidence,
            True,
        )
        for k in range(1, frames)
    ]
