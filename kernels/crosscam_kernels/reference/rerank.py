"""Specification of `crosscam_kernels.k_reciprocal_rerank`, dense, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels.rerank import CameraAware, RerankMetric


def k_reciprocal_rerank(
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
    dtype: type[np.floating[Any]] = np.float64,
) -> NDArray[np.floating[Any]]:
    """(Q, G) re-ranked distances by way of every (Q + G)^2 matrix of the papers."""
    x = np.concatenate([np.asarray(query, dtype), np.asarray(gallery, dtype)])
    queries, count = len(np.asarray(query)), len(x)
    if metric == "cosine":
        length = np.linalg.norm(x, axis=1, keepdims=True)
        x = x / np.where(length > 0, length, 1)
    square = np.full(count, 1.0, dtype) if metric == "cosine" else (x * x).sum(axis=1)
    distance = np.maximum(square[:, None] + square[None, :] - 2 * (x @ x.T), 0)
    order = np.argsort(distance, axis=1, kind="stable")
    if scale_by_farthest and count:
        far = distance.max(axis=1, keepdims=True)
        distance = distance / np.where(far > 0, far, 1)

    if camera_aware is None:
        near = [order[i] for i in range(count)]
        members = [_expanded(near, i, k1) for i in range(count)]
        averaged = [near[i][:k2] for i in range(count)]
    else:
        camera = np.concatenate([np.asarray(query_cameras), np.asarray(gallery_cameras)])
        same = camera[:, None] == camera[None, :]
        intra = [order[i][same[i, order[i]]] for i in range(count)]
        inter = [order[i][~same[i, order[i]]] for i in range(count)]
        members = [
            np.union1d(
                _reciprocal(intra, i, camera_aware.k1_intra),
                _reciprocal(inter, i, camera_aware.k1_inter),
            )
            for i in range(count)
        ]
        averaged = [
            np.append(intra[i][: camera_aware.k2_intra], inter[i][: camera_aware.k2_inter])
            for i in range(count)
        ]
    weights = np.zeros((count, count), dtype)
    for i, found in enumerate(members):
        weight = np.exp(-distance[i, found])
        weights[i, found] = weight / weight.sum() if len(found) else weight
    if camera_aware is not None or k2 > 1:
        weights = np.stack([weights[rows].mean(axis=0) for rows in averaged]) if count else weights
    least = np.empty((queries, count - queries), dtype)
    for i in range(queries):
        least[i] = np.minimum(weights[i], weights[queries:]).sum(axis=1)
    jaccard = 1 - least / (2 - least)
    return np.asarray(jaccard * (1 - lambda_) + distance[:queries, queries:] * lambda_)


def _reciprocal(near: list[NDArray[np.intp]], i: int, k: int) -> NDArray[np.intp]:
    """R(i, k) of Eq. 3, nearest first. A list begins with the row itself."""
    forward = near[i][: k + 1]
    kept = [j for j in forward if i in near[j][: k + 1]]
    return np.array(kept, np.intp)


def _expanded(near: list[NDArray[np.intp]], i: int, k1: int) -> NDArray[np.intp]:
    """R*(i) of Eq. 5, ascending."""
    own = _reciprocal(near, i, k1)
    sets = [own]
    for j in own:
        joining = _reciprocal(near, j, int(np.around(k1 / 2)))
        if 3 * len(np.intersect1d(joining, own)) > 2 * len(joining):
            sets.append(joining)
    return np.unique(np.concatenate(sets))
