"""Which identities look most like a tracklet: one vector for each, searched by the exact kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.features import normalise
from crosscam_kernels.ops import similarity_topk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LEAST_ROWS = 64


class Index:
    """Mean looks of identities, kept as one matrix that grows by doubling.

    What is searched is the same matrix less a centre, with rows of length 1. It is made anew when
    the centre moves, which is with each review, and kept up to date in between.

    Args:
        dim: Length `D` of an embedding.
    """

    def __init__(self, dim: int) -> None:
        self._rows = np.zeros((_LEAST_ROWS, dim), np.float32)
        self._centred = np.zeros_like(self._rows)
        self._centre: NDArray[np.float32] | None = None
        self._ids: list[int] = []
        self._row: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, global_id: int, mean: NDArray[np.floating]) -> None:
        """Add an identity, or bring its looks `(D,)` up to date."""
        row = self._row.get(global_id)
        if row is None:
            row = len(self._ids)
            if row == len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
                self._centred = np.concatenate([self._centred, np.zeros_like(self._centred)])
            self._ids.append(global_id)
            self._row[global_id] = row
        self._rows[row] = mean
        if self._centre is not None:
            self._centred[row] = normalise(self._rows[row] - self._centre)

    def remove(self, global_id: int) -> None:
        """Forget an identity; the last one takes its row."""
        row = self._row.pop(global_id)
        last = self._ids.pop()
        if last != global_id:
            self._ids[row] = last
            self._row[last] = row
            self._rows[row] = self._rows[len(self._ids)]
            self._centred[row] = self._centred[len(self._ids)]

    def nearest(
        self, means: Sequence[NDArray[np.floating]], centre: NDArray[np.floating], k: int
    ) -> list[int]:
        """Return the identities that are among the `k` most alike of any query, ascending.

        Args:
            means: Q queries `(D,)`, not centred.
            centre: `(D,)` to subtract from queries and identities.
            k: How many for each.
        """
        count = len(self._ids)
        if count <= k:
            return sorted(self._ids)
        shift = centre.astype(np.float32)
        if self._centre is None or not np.array_equal(self._centre, shift):
            self._centre = shift
            self._centred[:count] = normalise(self._rows[:count] - shift)
        queries = normalise(np.stack(means).astype(np.float32) - shift)
        rows = np.unique(similarity_topk(queries, self._centred[:count], k).index)
        return sorted(self._ids[row] for row in rows[rows >= 0].tolist())
