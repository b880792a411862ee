"""Retrieval metrics (mAP, CMC, mINP) by counting ranks, without the distance matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy, feature_rows, worker_limit
from crosscam_kernels._retrieval_inputs import (
    METRICS,
    PROTOCOLS,
    Labels,
    RetrievalMetric,
    RetrievalProtocol,
    RetrievalRanks,
    average_tracklets,
    checked_labels,
    single_shot_galleries,
)
from crosscam_kernels._torch import is_tensor, require_torch
from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_kernels.simd import simd_level

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "DistanceBlocks",
    "RetrievalMetric",
    "RetrievalMetrics",
    "RetrievalProtocol",
    "RetrievalRanks",
    "average_tracklets",
    "native_ranks",
    "retrieval_metrics",
    "retrieval_metrics_from_distances",
    "single_shot_galleries",
    "summarize_ranks",
]


@dataclass(frozen=True)
class RetrievalMetrics:
    """Metrics over the queries that have a right answer in the gallery.

    Attributes:
        mean_ap: Mean of the average precision, 0 to 1; NaN when no query counts.
        cmc: (max_rank,) float64: share of queries whose first right answer has rank <= i + 1.
        mean_inp: Mean inverse negative penalty: right answers / rank of the last one.
        valid_queries: Number of queries that count.
        total_queries: Number of queries given.
        ranks: The figures of each query, in NumPy or as tensors like the input; None for averages
            over single-shot trials.
    """

    mean_ap: float
    cmc: NDArray[np.float64]
    mean_inp: float
    valid_queries: int
    total_queries: int
    ranks: RetrievalRanks | None

    def rank(self, k: int) -> float:
        """CMC at rank `k`, counted from 1."""
        return float(self.cmc[k - 1])


@runtime_checkable
class DistanceBlocks(Protocol):
    """A (Q, G) matrix of distances that is made a few rows at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, G)."""

    def distances(self, begin: int, end: int) -> NDArray[np.float32]:
        """Rows [begin, end), float32."""


def retrieval_metrics(
    query: ArrayLike,
    gallery: ArrayLike,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    protocol: RetrievalProtocol = "standard",
    metric: RetrievalMetric = "cosine",
    query_clothes: ArrayLike | None = None,
    gallery_clothes: ArrayLike | None = None,
    query_tracklets: ArrayLike | None = None,
    gallery_tracklets: ArrayLike | None = None,
    junk_id: int | None = -1,
    max_rank: int = 50,
    single_shot_trials: int = 0,
    seed: int = 0,
    threads: int | None = None,
) -> RetrievalMetrics:
    """Ranks the gallery for every query and reports mAP, CMC and mINP.

    The result is that of a stable sort by descending score (equal scores: smaller gallery index
    first; NaN last), to the last bit, but nothing is sorted except the right answers: all gallery
    rows are scored by tiles and counted. Memory beside the inputs is O(Q + G + threads * tile) and
    one packed copy of the queries, at most 64 MiB at a time. Specification:
    `crosscam_kernels.reference.retrieval`.

    Gallery rows of the query's identity (identities, not indices, decide):

    ==================  ============================================  =========================
    protocol            right answers                                 left out
    ==================  ============================================  =========================
    standard            other camera (Market-1501, MSMT17, ...)       same camera
    clothes_changing    other camera, other clothes (LTCC, CCVID)     the rest
    same_clothes        other camera, same clothes                    the rest
    tracklet            other tracklet, any camera (DeepChange)       same tracklet
    any                 all (Celeb-reID, LaST)                        none
    ==================  ============================================  =========================

    Rows whose id is `junk_id` are not in the gallery at all; distractors with any other id are
    never right. Queries without a right answer are left out of all means. For video protocols
    pass one row per tracklet, see `average_tracklets`.

    Args:
        query: (Q, D) float32 features. Torch tensors are answered by the torch operator
            ``crosscam::retrieval_ranks`` on their device.
        gallery: (G, D) float32 features, likewise.
        query_ids: (Q,) integer identities.
        gallery_ids: (G,) integer identities.
        query_cameras: (Q,) integer cameras; not used by ``"tracklet"`` and ``"any"``.
        gallery_cameras: (G,) integer cameras.
        protocol: Which rows are right and which are left out.
        metric: ``"cosine"`` scales rows to length 1; ``"inner_product"`` takes them as they are
            (the same, faster, when they are normalised); ``"euclidean"`` ranks by distance.
        query_clothes: (Q,) integer clothes, for the two clothes protocols.
        gallery_clothes: (G,) integer clothes.
        query_tracklets: (Q,) integer tracklets, for ``"tracklet"``.
        gallery_tracklets: (G,) integer tracklets.
        junk_id: Identity of rows to drop from the gallery; None drops nothing.
        max_rank: Length of the CMC.
        single_shot_trials: When positive, the average over this many random galleries with one row
            per identity (PRCC's own protocol: 10), see `single_shot_galleries`.
        seed: Seed of those galleries.
        threads: At most this many threads; None for one per processor, and for tensors as many as
            torch uses.

    Returns:
        `RetrievalMetrics`.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Labels that the protocol needs are missing, or a value is impossible.
    """
    _check_choice(protocol, metric, max_rank, single_shot_trials)
    options: dict[str, Any] = {
        "query_cameras": query_cameras,
        "gallery_cameras": gallery_cameras,
        "protocol": protocol,
        "query_clothes": query_clothes,
        "gallery_clothes": gallery_clothes,
        "query_tracklets": query_tracklets,
        "gallery_tracklets": gallery_tracklets,
        "junk_id": junk_id,
    }
    if single_shot_trials:
        return _single_shot_mean(
            [query, gallery, query_ids, gallery_ids],
            {**options, "metric": metric, "max_rank": max_rank, "threads": threads},
            single_shot_trials,
            seed,
        )
    if is_tensor(query):
        require_torch("retrieval_metrics on tensors")
        from crosscam_kernels.torch_ops.retrieval import tensor_ranks

        ranks = tensor_ranks(query, gallery, query_ids, gallery_ids, metric, threads, options)
        host = RetrievalRanks(*(column.cpu().numpy() for column in ranks))
        return summarize_ranks(host, max_rank, ranks)
    rows, others = feature_rows(query, "query", "Q"), feature_rows(gallery, "gallery", "G")
    if rows.shape[1] != others.shape[1] or rows.shape[1] == 0:
        raise ShapeError(
            f"query has {rows.shape[1]} features and gallery {others.shape[1]}",
            expected="the same number, at least 1",
            fix="compare embeddings of one model only",
        )
    labels = checked_labels(query_ids, gallery_ids, len(rows), len(others), **options)
    ranks = native_ranks(labels, rows, others, None, metric, threads)
    return summarize_ranks(ranks, max_rank, ranks)


def retrieval_metrics_from_distances(
    distances: ArrayLike | DistanceBlocks,
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
    block_rows: int = 256,
    threads: int | None = None,
) -> RetrievalMetrics:
    """The same metrics from distances that are known already, re-ranked ones for example.

    Args:
        distances: (Q, G) float32, the smallest first; or an object such as `Reranking` that makes
            its rows on request, of which `block_rows` are held at a time.
        query_ids: (Q,) integer identities. This and the labels below are as in `retrieval_metrics`.
        gallery_ids: (G,) integer identities.
        query_cameras: (Q,) integer cameras.
        gallery_cameras: (G,) integer cameras.
        protocol: Which rows are right and which are left out.
        query_clothes: (Q,) integer clothes.
        gallery_clothes: (G,) integer clothes.
        query_tracklets: (Q,) integer tracklets.
        gallery_tracklets: (G,) integer tracklets.
        junk_id: Identity of rows to drop from the gallery; None drops nothing.
        max_rank: Length of the CMC.
        block_rows: Rows asked for at a time.
        threads: At most this many threads; None for one per processor, and for tensors as many as
            torch uses.

    Returns:
        `RetrievalMetrics`.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Labels that the protocol needs are missing, or a value is impossible.
    """
    _check_choice(protocol, "cosine", max_rank, 0)
    if block_rows < 1:
        raise UsageError(f"block_rows={block_rows}", expected="at least 1")
    matrix: Any = distances
    if not isinstance(distances, DistanceBlocks):
        matrix = feature_rows(distances, "distances", "Q")
    query_count, gallery_count = matrix.shape
    labels = checked_labels(
        query_ids,
        gallery_ids,
        query_count,
        gallery_count,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        protocol=protocol,
        query_clothes=query_clothes,
        gallery_clothes=gallery_clothes,
        query_tracklets=query_tracklets,
        gallery_tracklets=gallery_tracklets,
        junk_id=junk_id,
    )
    if isinstance(matrix, np.ndarray):
        ranks = native_ranks(labels, None, None, matrix, "cosine", threads)
        return summarize_ranks(ranks, max_rank, ranks)
    parts = []
    for begin in range(0, query_count, block_rows):
        end = min(begin + block_rows, query_count)
        some = labels._replace(
            query_id=labels.query_id[begin:end],
            query_group=None if labels.query_group is None else labels.query_group[begin:end],
            query_clothes=None if labels.query_clothes is None else labels.query_clothes[begin:end],
        )
        block = feature_rows(matrix.distances(begin, end), "distances", "Q")
        if block.shape != (end - begin, gallery_count):
            raise ShapeError(
                f"rows {begin} to {end} of distances have shape {block.shape}",
                expected=f"({end - begin}, {gallery_count})",
            )
        parts.append(native_ranks(some, None, None, block, "cosine", threads))
    if not parts:
        parts = [_empty_ranks(0)]
    ranks = RetrievalRanks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return summarize_ranks(ranks, max_rank, ranks)


def summarize_ranks(
    ranks: RetrievalRanks, max_rank: int, given: RetrievalRanks
) -> RetrievalMetrics:
    """The means over the queries that have a right answer; `ranks` in NumPy."""
    counted = ranks.positives > 0
    valid = int(counted.sum())
    nothing = RetrievalMetrics(
        float("nan"), np.full(max_rank, np.nan), float("nan"), 0, len(counted), given
    )
    if not valid:
        return nothing
    first = ranks.first_rank[counted]
    reached = np.bincount(first[first <= max_rank], minlength=max_rank + 1)[1:]
    return RetrievalMetrics(
        mean_ap=float(ranks.average_precision[counted].mean()),
        cmc=np.cumsum(reached) / valid,
        mean_inp=float((ranks.positives[counted] / ranks.last_rank[counted]).mean()),
        valid_queries=valid,
        total_queries=len(counted),
        ranks=given,
    )


def native_ranks(
    labels: Labels,
    query: NDArray[np.float32] | None,
    gallery: NDArray[np.float32] | None,
    distances: NDArray[np.float32] | None,
    metric: str,
    threads: int | None,
) -> RetrievalRanks:
    """Runs the C++ operator on checked arguments."""
    result = _empty_ranks(len(labels.query_id))
    _native.retrieval_ranks(
        queries=query,
        gallery=gallery,
        distances=distances,
        metric=metric,
        threads=worker_limit(threads),
        simd=simd_level(),
        **labels._asdict(),
        **result._asdict(),
    )
    return result


def _empty_ranks(count: int) -> RetrievalRanks:
    return RetrievalRanks(
        np.empty(count, np.float64), *(np.empty(count, np.int64) for _ in range(3))
    )


def _check_choice(protocol: str, metric: str, max_rank: int, trials: int) -> None:
    for name, value, choices in (("protocol", protocol, PROTOCOLS), ("metric", metric, METRICS)):
        if value not in choices:
            raise UsageError(f"{name}={value!r}", expected="one of " + ", ".join(choices))
    if max_rank < 1:
        raise UsageError(f"max_rank={max_rank}", expected="at least 1")
    if trials < 0:
        raise UsageError(f"single_shot_trials={trials}", expected="0 or the number of trials")


def _single_shot_mean(
    sides: list[Any], options: dict[str, Any], trials: int, seed: int
) -> RetrievalMetrics:
    query, gallery, query_ids, gallery_ids = sides
    ids = gallery_ids.cpu() if is_tensor(gallery_ids) else gallery_ids
    of_gallery = {
        name: value if is_tensor(value) else as_numpy(value, name)
        for name, value in {"gallery": gallery, "gallery_ids": gallery_ids, **options}.items()
        if name.startswith("gallery") and value is not None
    }
    results = []
    galleries = single_shot_galleries(ids, trials=trials, seed=seed, junk_id=options["junk_id"])
    for rows in galleries:
        drawn = {name: value[rows] for name, value in of_gallery.items()}
        call = {**options, "query": query, "query_ids": query_ids, **drawn}
        results.append(retrieval_metrics(**call))
    return RetrievalMetrics(
        mean_ap=float(np.mean([r.mean_ap for r in results])),
        cmc=np.mean([r.cmc for r in results], axis=0),
        mean_inp=float(np.mean([r.mean_inp for r in results])),
        valid_queries=results[0].valid_queries,
        total_queries=results[0].total_queries,
        ranks=None,
    )
