"""Specification of `crosscam_kernels.retrieval_metrics`: a stable argsort, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels.retrieval import (
    RetrievalMetric,
    RetrievalMetrics,
    RetrievalProtocol,
    RetrievalRanks,
    summarize_ranks,
)


def retrieval_metrics(
    query: ArrayLike,
    gallery: ArrayLike,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    metric: RetrievalMetric = "cosine",
    dtype: type[np.floating[Any]] = np.float64,
    **options: Any,
) -> RetrievalMetrics:
    """Same result as the operator, from the full (Q, G) score matrix in `dtype`."""
    scores = score_matrix(query, gallery, metric, dtype)
    return metrics_from_scores(
        scores, query_ids, gallery_ids, query_cameras, gallery_cameras, **options
    )


def score_matrix(
    query: ArrayLike, gallery: ArrayLike, metric: RetrievalMetric, dtype: type[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """(Q, G) scores, the best highest."""
    q, g = np.asarray(query, dtype), np.asarray(gallery, dtype)
    if metric == "cosine":
        q, g = _unit(q), _unit(g)
    scores = q @ g.T
    # |q - g|^2 = |q|^2 - 2 (q.g - |g|^2 / 2), and |q|^2 is the same for the whole row.
    return scores - (g * g).sum(axis=1) / 2 if metric == "euclidean" else scores


def metrics_from_scores(
    scores: NDArray[Any],
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    protocol: RetrievalProtocol = "standard",
    query_clothes: ArrayLike | None = None,
    gallery_clothes: ArrayLike | None = None,
    query_tracklets: ArrayLike | None = None,
    gallery_tracklets: ArrayLike | None = None,
    junk_id: int | None = -1,
    max_rank: int = 50,
) -> RetrievalMetrics:
    """Metrics of the ranking of each row of `scores` (Q, G), by a stable sort."""

    def equal(of_query: ArrayLike | None, of_gallery: ArrayLike | None) -> NDArray[np.bool_]:
        return np.asarray(np.asarray(of_query)[:, None] == np.asarray(of_gallery)[None, :])

    own = equal(query_ids, gallery_ids)
    right = own.copy()
    if protocol == "tracklet":
        right &= ~equal(query_tracklets, gallery_tracklets)
    elif protocol != "any":
        right &= ~equal(query_cameras, gallery_cameras)
    if protocol == "clothes_changing":
        right &= ~equal(query_clothes, gallery_clothes)
    elif protocol == "same_clothes":
        right &= equal(query_clothes, gallery_clothes)
    kept = right | ~own
    if junk_id is not None:
        kept &= np.asarray(gallery_ids) != junk_id
        right &= kept

    count = len(scores)
    ranks = RetrievalRanks(np.full(count, np.nan), *(np.zeros(count, np.int64) for _ in range(3)))
    for i in range(count):
        columns = np.flatnonzero(kept[i])
        order = columns[np.argsort(-scores[i, columns], kind="stable")]  # NaN last
        found = np.flatnonzero(right[i, order]) + 1
        if not len(found):
            continue
        # Precision at each right answer, added up from the first to the last.
        precision = np.arange(1, len(found) + 1) / found
        ranks.average_precision[i] = np.add.accumulate(precision)[-1] / len(found)
        ranks.first_rank[i], ranks.last_rank[i] = found[0], found[-1]
        ranks.positives[i] = len(found)
    return summarize_ranks(ranks, max_rank, ranks)


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1))
