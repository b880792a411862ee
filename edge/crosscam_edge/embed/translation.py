"""Crops that two models have seen: what the one made of each, and what the other made of it.

Embeddings of two models say nothing about each other, so a run that changes its model has to see
everybody again with the new one. Here is what it has seen so far: found by the very bytes of the
old embedding in half precision, as it is kept, and which nobody on the way changes.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.track.appearance import usable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet

_MOST = 50_000


class Translation:
    """Pairs of embeddings of the same crops; bounded, the oldest go first. Any thread may use it.

    Args:
        dim: Length `D` of the new embeddings.
        most: Crops that are remembered.
    """

    def __init__(self, dim: int, most: int = _MOST) -> None:
        self.dim, self._most = dim, most
        self._rows: dict[bytes, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, old: NDArray[np.float32], new: NDArray[np.float32]) -> None:
        """Remember `(N, D1)` and `(N, D)` embeddings of N crops; those without looks are left out.

        Raises:
            ValueError: There are not as many of the one as of the other.
        """
        if len(old) != len(new):
            raise ValueError(f"{len(old)} old and {len(new)} new embeddings")
        good = usable(old) & usable(new)
        with self._lock:
            for k in np.flatnonzero(good).tolist():
                self._rows[_name(old[k])] = new[k].copy()
            while len(self._rows) > self._most:
                del self._rows[next(iter(self._rows))]

    def of(self, old: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return what the new model made of crops.

        Args:
            old: `(N, D1)` embeddings of the old one.

        Returns:
            `(K, D)` rows of the crops that it has seen, and the mask `(N,)` of these.
        """
        with self._lock:
            found = [self._rows.get(_name(row)) for row in old]
        rows = [row for row in found if row is not None]
        known = np.array([row is not None for row in found], np.bool_)
        return np.array(rows, np.float32).reshape(len(rows), self.dim), known


def translated(tracklet: Tracklet, translation: Translation) -> Tracklet:
    """Return a tracklet with the looks that the new model knows of it; maybe none."""
    rows, known = translation.of(tracklet.embeddings)
    return replace(
        tracklet,
        embeddings=rows,
        embedding_times_ns=tracklet.embedding_times_ns[known],
        qualities=tracklet.qualities[known],
    )


def _name(row: NDArray[np.floating]) -> bytes:
    return np.ascontiguousarray(row, np.float16).tobytes()
