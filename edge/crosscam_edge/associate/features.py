"""What a tracklet looks like, and how alike two tracklets are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet

_TINY = 1e-12


def normalise(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `(..., D)` vectors of length 1; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)


def mean_embedding(tracklet: Tracklet) -> NDArray[np.float64]:
    """Return `(D,)`: the quality-weighted mean direction of a tracklet, of length 1."""
    weights = np.maximum(tracklet.qualities.astype(np.float64), _TINY)
    mean: NDArray[np.float64] = weights @ tracklet.embeddings.astype(np.float64)
    return normalise(mean)
