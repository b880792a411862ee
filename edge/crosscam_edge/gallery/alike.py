"""Who looks like somebody, by the embeddings that a gallery keeps; nothing is asked of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_edge.associate.features import mean_embedding
from crosscam_edge.gallery.rows import tracklet_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from crosscam_edge.gallery.reader import Reader
    from crosscam_edge.types import TrackletKey

_MOST = 20_000  # tracklets that are compared, the newest


def looks_of_person(
    reader: Reader,
    global_id: int,
    cameras: Collection[str] | None = None,
    stay: TrackletKey | None = None,
) -> tuple[NDArray[np.float64], str] | None:
    """Return the mean looks `(D,)` of somebody, length 1, and the model that made them.

    Args:
        reader: Of the gallery.
        global_id: Whose.
        cameras: Only as these have seen them; None for all.
        stay: Only as they were in this tracklet; None for all.

    Returns:
        Of the model that has seen them last; None when no looks are kept.
    """
    rows = [
        row
        for row in reader.stored(global_id, cameras)
        if row["embeddings"] is not None
        and (stay is None or (row["camera"], row["track"]) == (stay.camera_id, stay.track_id))
    ]
    if not rows:
        return None
    model_id = max(rows, key=lambda row: row["end_ns"])["model_id"]
    means = [mean for row in rows if row["model_id"] == model_id for mean in _mean(row)]
    if not means:
        return None
    total = np.sum(means, axis=0)
    length = float(np.linalg.norm(total))
    return (total / length, str(model_id)) if length else None


def most_alike(
    reader: Reader,
    looks: NDArray[np.floating],
    model_id: str,
    *,
    limit: int,
    cameras: Collection[str] | None = None,
    without: int | None = None,
) -> list[tuple[int, float]]:
    """Return who looks most like somebody: global id and cosine, most alike first.

    A person is as alike as the tracklet of theirs that is most alike, of those that `cameras` have
    seen. Embeddings of other models are not compared.

    Args:
        reader: Of the gallery.
        looks: `(D,)`, length 1.
        model_id: What made them.
        limit: At most so many people.
        cameras: As seen by these; None for all.
        without: Somebody who is left out.
    """
    best: dict[int, float] = {}
    for row in reader.looks(model_id, limit=_MOST, cameras=cameras):
        if row["global_id"] != without:
            for mean in _mean(row, len(looks)):
                found = float(mean @ looks)
                best[row["global_id"]] = max(found, best.get(row["global_id"], -1.0))
    order = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return order[:limit]


def _mean(row: dict[str, Any], dim: int | None = None) -> list[NDArray[np.float64]]:
    """Return the mean looks of a tracklet's row; nothing when it is damaged."""
    count = len(row["times"]) // 8
    try:
        tracklet = tracklet_of(row, dim or len(row["embeddings"]) // 4 // max(count, 1))
    except (ValueError, TypeError):  # left out, as when a run begins
        return []
    return [mean_embedding(tracklet.embeddings, tracklet.qualities)]
