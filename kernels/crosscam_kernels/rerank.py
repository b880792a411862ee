"""Re-ranking with k-reciprocal encoding, sparse: no (Q + G)^2 matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy, feature_rows, integer_column, worker_limit
from crosscam_kernels._torch import is_tensor
from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_kernels.simd import simd_level
from crosscam_kernels.similarity import similarity_topk

RerankMetric = Literal["cosine", "euclidean"]
Sparse = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]


class CameraAware(NamedTuple):
    """Sizes of camera-aware re-ranking; the defaults are those of Chen et al., CVPR 2024.

    Attributes:
        k1_intra: Neighbours within the row's camera, beside the row itself.
        k1_inter: The k1_inter + 1 nearest rows of other cameras are its neighbours there.
        k2_intra: Rows of the same camera, itself included, whose weights are averaged.
        k2_inter: Rows of other cameras whose weights are averaged.
    """

    k1_intra: int = 5
    k1_inter: int = 20
    k2_intra: int = 2
    k2_inter: int = 4


class Reranked(NamedTuple):
    """Best gallery rows of each query after re-ranking, best first.

    Attributes:
        distance: (Q, k) float32; infinity where there is no result.
        index: (Q, k) int64 gallery rows; -1 where there is no result.
    """

    distance: Any
    index: Any


class Metric(NamedTuple):
    """d(i, j) = max(0, square[i] - 2 <left_i, right_j>) / far[i], over queries, then gallery."""

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    square: NDArray[np.float32]
    far: NDArray[np.float32]


@dataclass(frozen=True)
class Reranking:
    """Encoded queries and gallery, from which distances are made a few rows at a time.

    It can be handed to `retrieval_metrics_from_distances` as it is.

    Attributes:
        query_count: Q.
        metric: Original distances.
        weights: (N, N) sparse weights V by rows: begin, column, value; N = Q + G.
        by_column: (N, G) its gallery rows, by columns.
        lambda_: Share of the original distance.
        threads: Limit of threads, 0 for none.
    """

    query_count: int
    metric: Metric
    weights: Sparse
    by_column: Sparse
    lambda_: float
    threads: int

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, G)."""
        return (self.query_count, len(self.metric.left) - self.query_count)

    def distances(self, begin: int = 0, end: int | None = None) -> NDArray[np.float32]:
        """Re-ranked distances of queries [begin, end) to the gallery, (end - begin, G) float32.

        Raises:
            UsageError: The range lies outside the queries.
        """
        end = self.query_count if end is None else end
        if not 0 <= begin <= end <= self.query_count:
            raise UsageError(
                f"queries {begin} to {end}", expected=f"a range within 0 to {self.query_count}"
            )
        out = np.empty((end - begin, self.shape[1]), np.float32)
        self._run(begin, end, distances=out)
        return out

    def topk(self, k: int) -> Reranked:
        """The k gallery rows of each query with the smallest distance, ties to the smaller index.

        Raises:
            UsageError: `k` is negative.
        """
        if k < 0:
            raise UsageError(f"k={k}", expected="a number of results of at least 0")
        best = Reranked(
            np.empty((self.query_count, k), np.float32), np.empty((self.query_count, k), np.int64)
        )
        self._run(0, self.query_count, best_distance=best.distance, best_index=best.index)
        return best

    def _run(self, begin: int, end: int, **out: Any) -> None:
        wanted = {"distances": None, "best_distance": None, "best_index": None, **out}
        _native.rerank_distances(
            **self.metric._asdict(),
            query_count=self.query_count,
            weights=self.weights,
            by_column=self.by_column,
            lambda_=self.lambda_,
            threads=self.threads,
            simd=simd_level(),
            begin=begin,
            end=end,
            **wanted,
        )


def k_reciprocal_rerank(
    query: ArrayLike,
    gallery: ArrayLike,
    *,
    k: int | None = None,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    metric: RerankMetric = "cosine",
    query_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    camera_aware: CameraAware | None = None,
    scale_by_farthest: bool = True,
    threads: int | None = None,
) -> Any:
    """Re-ranked distances: (1 - lambda) Jaccard distance + lambda original distance.

    Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017
    (arXiv 1701.08398). With d the squared Euclidean distance, divided per row by that of the
    farthest of all rows as the authors' code does, and N(i, k) the row itself and its k nearest:

    * R(i, k) = {j in N(i, k): i in N(j, k)} (Eq. 3);
    * R*(i) = R(i, k1) and R(j, k1 / 2) of each j in it that overlaps by more than 2/3 (Eq. 5);
    * V(i, j) = exp(-d(i, j)) / sum over R*(i), for j in R*(i) (Eq. 7), averaged over the k2
      nearest rows (Eq. 11);
    * Jaccard distance 1 - sum min(V_i, V_j) / sum max(V_i, V_j) (Eq. 10).

    With `camera_aware` the neighbours are those of Chen et al., "CA-Jaccard", CVPR 2024
    (arXiv 2311.10605): reciprocal within the row's camera or across cameras, without Eq. 5, and
    the average runs over both kinds. Rows with too few rows in their camera have fewer neighbours.

    Neighbours come from `similarity_topk`: exact, ties to the smaller index, queries before
    gallery. The answer is the same to the last bit for any number of threads and any instruction
    set. Memory: the features twice, O((Q + G) k1 k2), and the result. Specification:
    `crosscam_kernels.reference.rerank`.

    Args:
        query: (Q, D) float32 features; a torch tensor is answered with tensors on its device.
        gallery: (G, D) float32 features.
        k: None for all distances, else the number of best rows to return for each query.
        k1: Neighbours of the k-reciprocal sets.
        k2: Rows of local query expansion; 1 is none.
        lambda_: Share of the original distance, 0 to 1.
        metric: ``"cosine"``: rows are scaled to length 1 first; ``"euclidean"``: taken as given.
        query_cameras: (Q,) integer cameras, for `camera_aware`.
        gallery_cameras: (G,) integer cameras.
        camera_aware: Sizes of the camera-aware variant instead of k1 and k2.
        scale_by_farthest: Divide d by its largest value in the row; costs a second pass over all
            pairs. False leaves it as it is, which weakens far neighbours.
        threads: At most this many threads; None for one per processor.

    Returns:
        (Q, G) float32 distances, or `Reranked` with (Q, k) when `k` is given.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: A number is impossible, or cameras are missing.
    """
    reranking = k_reciprocal_encode(
        query,
        gallery,
        k1=k1,
        k2=k2,
        lambda_=lambda_,
        metric=metric,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        camera_aware=camera_aware,
        scale_by_farthest=scale_by_farthest,
        threads=threads,
    )
    answer: Any = reranking.distances() if k is None else reranking.topk(k)
    if not is_tensor(query):
        return answer
    from crosscam_kernels._torch import require_torch

    torch, device = require_torch("k_reciprocal_rerank on tensors"), query.device  # type: ignore[union-attr]
    if k is None:
        return torch.from_numpy(answer).to(device)
    return Reranked(*(torch.from_numpy(part).to(device) for part in answer))


def k_reciprocal_encode(
    query: ArrayLike,
    gallery: ArrayLike,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    metric: RerankMetric = "cosine",
    query_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    camera_aware: CameraAware | None = None,
    scale_by_farthest: bool = True,
    threads: int | None = None,
) -> Reranking:
    """Everything of `k_reciprocal_rerank` but the distances, which are made on request.

    Arguments and errors are those of `k_reciprocal_rerank`.
    """
    sizes = {"k1": k1, "k2": k2, **(camera_aware._asdict() if camera_aware else {})}
    for name, value in sizes.items():
        if value < 1:
            raise UsageError(f"{name}={value}", expected="at least 1")
    if not 0.0 <= lambda_ <= 1.0:
        raise UsageError(f"lambda_={lambda_}", expected="a share from 0 to 1")
    if metric not in ("cosine", "euclidean"):
        raise UsageError(f"metric={metric!r}", expected="cosine or euclidean")
    rows = [feature_rows(_host(query), "query", "Q"), feature_rows(_host(gallery), "gallery", "G")]
    if rows[0].shape[1] != rows[1].shape[1] or rows[0].shape[1] == 0:
        raise ShapeError(
            f"query has {rows[0].shape[1]} features and gallery {rows[1].shape[1]}",
            expected="the same number, at least 1",
            fix="compare embeddings of one model only",
        )
    cameras = None
    if camera_aware is not None:
        if query_cameras is None or gallery_cameras is None:
            raise UsageError(
                "camera_aware is given without cameras",
                fix="pass query_cameras and gallery_cameras",
            )
        cameras = np.concatenate(
            [
                integer_column(_host(query_cameras), "query_cameras", len(rows[0]), np.int32),
                integer_column(_host(gallery_cameras), "gallery_cameras", len(rows[1]), np.int32),
            ]
        )
    made = _metric(rows, metric, scale_by_farthest, threads)

    lists: dict[str, Any] = {"any_camera": None, "intra": None, "inter": None}
    if camera_aware is None:
        lists["any_camera"] = _neighbours(made, max(k1 + 1, k2), threads)
    else:
        same: dict[str, Any] = {"query_camera": cameras, "gallery_camera": cameras}
        for name, rule in (("intra", "only_same"), ("inter", "exclude_same")):
            width = max(sizes[f"k1_{name}"] + 1, sizes[f"k2_{name}"])
            lists[name] = _neighbours(made, width, threads, camera_rule=rule, **same)
    camera_sizes = camera_aware or CameraAware()
    weights: Sparse = _native.rerank_encode(
        **made._asdict(),
        **lists,
        k1=k1,
        half_k1=round(k1 / 2),  # halves to even, as numpy.around in the authors' code
        k2=k2,
        **camera_sizes._asdict(),
        threads=worker_limit(threads),
        simd=simd_level(),
    )
    return Reranking(
        query_count=len(rows[0]),
        metric=made,
        weights=weights,
        by_column=_by_column(weights, len(rows[0]), len(made.left)),
        lambda_=lambda_,
        threads=worker_limit(threads),
    )


def _metric(
    rows: list[NDArray[np.float32]], metric: str, scale: bool, threads: int | None
) -> Metric:
    """The inner products that d is made of.

    For Euclidean distance <left, right> = <x_i, x_j> - |x_j|^2 / 2, so that neighbours by inner
    product are neighbours by distance, with square = |x_i|^2.
    """
    count, dim = len(rows[0]) + len(rows[1]), rows[0].shape[1]
    if metric == "cosine":
        left = right = np.concatenate(rows)
        length = np.sqrt(np.einsum("nd,nd->n", left, left, dtype=np.float64))
        left /= np.where(length > 0.0, length, 1.0).astype(np.float32)[:, None]
        square = np.full(count, 2.0, np.float32)
    else:
        left = np.empty((count, dim + 1), np.float32)
        np.concatenate(rows, out=left[:, :dim])
        left[:, dim] = 1.0
        square = np.einsum("nd,nd->n", left[:, :dim], left[:, :dim], dtype=np.float64)
        right = left.copy()
        right[:, dim] = -square / 2
        square = square.astype(np.float32)
    far = np.ones(count, np.float32)
    if scale and count:
        least = -similarity_topk(-left, right, 1, threads=threads).similarity[:, 0]
        far = np.maximum(square - 2.0 * least, np.float32(0.0)).astype(np.float32)
        far[~((far > 0.0) & np.isfinite(far))] = 1.0  # all rows in one place
    return Metric(left, right, square, far)


def _neighbours(made: Metric, width: int, threads: int | None, **masks: Any) -> tuple[Any, Any]:
    width = min(width, max(len(made.left), 1))
    best = similarity_topk(made.left, made.right, width, threads=threads, **masks)
    return best.index, best.similarity


def _by_column(weights: Sparse, query_count: int, count: int) -> Sparse:
    """The gallery rows of sparse rows, by columns; rows of a column ascend."""
    begin, column, value = weights
    start = begin[query_count]
    columns, values = column[start:], value[start:]
    row = np.repeat(np.arange(count - query_count, dtype=np.int32), np.diff(begin[query_count:]))
    order = np.argsort(columns, kind="stable")
    bounds = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(columns, minlength=count), out=bounds[1:])
    return bounds, row[order], values[order]


def _host(value: Any) -> Any:
    return as_numpy(value.detach().cpu() if is_tensor(value) else value, "features")
