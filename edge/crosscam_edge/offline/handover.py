"""One box per person and frame, where two tracks of one person overlap.

When people meet, a track may end on somebody else while the person's next track has begun. Both are
one person by their looks (`crosscam_edge.associate.constraints.seen_at_once` allows it near their
unsure ends), but a person is in one place at a time.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping

    from crosscam_edge.track.gaps import TrackRow
    from crosscam_edge.types import Tracklet

DROPPED = "boxes: unsure end of a track"


def one_each(
    rows: Iterable[TrackRow],
    tracklets: Mapping[int, Tracklet],
    global_ids: Mapping[int, int],
    dropped: Counter[str],
) -> Iterator[tuple[TrackRow, int]]:
    """Give rows their global ids; of two with one id in a frame, the surer one is kept.

    Args:
        rows: Of one camera, in order of frames.
        tracklets: Of that camera, by track id.
        global_ids: By track id; rows of other tracks are left out.
        dropped: Counts the rows that gave way.

    Yields:
        Rows with their global ids, in the order of the input.
    """
    for _, frame in groupby(rows, key=lambda row: row.frame_index):
        known = [(row, global_ids[row.track_id]) for row in frame if row.track_id in global_ids]
        best: dict[int, TrackRow] = {}
        for row, global_id in known:
            rival = best.get(global_id)
            if rival is None or _doubt(row, tracklets) < _doubt(rival, tracklets):
                best[global_id] = row
        dropped[DROPPED] += len(known) - len(best)
        yield from ((row, global_id) for row, global_id in known if best[global_id] is row)


def _doubt(row: TrackRow, tracklets: Mapping[int, Tracklet]) -> tuple[int, int]:
    """Return how far in time a row lies from where its track is sure; a later track is surer."""
    tracklet = tracklets[row.track_id]
    first, last = tracklet.sure_ns or (tracklet.start_ns, tracklet.end_ns)
    return max(0, first - row.time_ns, row.time_ns - last), -tracklet.start_ns
