"""Which pairs of tracklets can never be one person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet

UNSURE_S = 2.0  # of a tracklet's end may be another person's


def same_camera(tracklets: Sequence[Tracklet]) -> NDArray[np.bool_]:
    """Return `(N, N)`: True where both tracklets are of one camera (also on the diagonal)."""
    camera = camera_index(tracklets)
    out: NDArray[np.bool_] = camera[:, None] == camera[None, :]
    return out


def camera_index(tracklets: Sequence[Tracklet]) -> NDArray[np.int64]:
    """Return `(N,)`: number of each tracklet's camera, cameras in the order of their names."""
    names = sorted({t.camera_id for t in tracklets})
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[t.camera_id] for t in tracklets], np.int64)


def seen_at_once(tracklets: Sequence[Tracklet]) -> NDArray[np.bool_]:
    """Return `(N, N)`: True where two different tracklets of one camera are seen at once.

    This is the hard rule: such a pair is two people. A tracklet counts from its first to its last
    sight, but for those near its ends that no crop confirms (`Tracklet.sure_ns`): where people
    meet, a track may leave its person before it ends, or begin before it has found it.
    """
    margin = round(UNSURE_S * 1e9)
    start, end = _spans(tracklets)
    sure = np.array([t.sure_ns or (t.start_ns, t.end_ns) for t in tracklets], np.int64)
    sure = sure.reshape(-1, 2)
    both = same_camera(tracklets) & _spans_meet(
        np.clip(sure[:, 0], start, np.minimum(start + margin, end)),
        np.clip(sure[:, 1], np.maximum(end - margin, start), end),
    )
    np.fill_diagonal(both, False)
    return both


def overlapping(tracklets: Sequence[Tracklet]) -> NDArray[np.bool_]:
    """Return `(N, N)`: True where the spans of two tracklets of one camera overlap at all."""
    both = same_camera(tracklets) & _spans_meet(*_spans(tracklets))
    np.fill_diagonal(both, False)
    return both


def shared_seconds(tracklets: Sequence[Tracklet]) -> NDArray[np.float32]:
    """Return `(N, N)`: seconds during which both are seen; negative is the gap between them."""
    start, end = _spans(tracklets)
    shared = np.minimum(end[:, None], end[None, :]) - np.maximum(start[:, None], start[None, :])
    return (shared / 1e9).astype(np.float32)


def _spans(tracklets: Sequence[Tracklet]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    start = np.array([t.start_ns for t in tracklets], np.int64)
    return start, np.array([t.end_ns for t in tracklets], np.int64)


def _spans_meet(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (start[:, None] <= end[None, :]) & (start[None, :] <= end[:, None])
