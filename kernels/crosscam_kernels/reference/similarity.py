"""Specification of `crosscam_kernels.similarity_topk`, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels.similarity import CameraRule, TopK, checked_window


def similarity_topk(
    queries: ArrayLike,
    gallery: ArrayLike,
    k: int,
    *,
    dtype: type[np.floating[Any]] = np.float64,
    scale: ArrayLike | None = None,
    rescore: ArrayLike | None = None,
    **masks: Any,
) -> TopK:
    """Same result as the operator, from the full similarity matrix.

    Args:
        queries: (Q, D) features.
        gallery: (G, D) features; bfloat16 as its bit patterns in uint16.
        k: Number of results per query.
        dtype: Precision of the similarities; those of int8 rows without `rescore` are sums of
            integers, scaled in float32.
        scale: (G,) scales of an int8 gallery.
        rescore: (G, D) the rows an int8 gallery was made from.
        **masks: The mask arguments of the operator, see `allowed_pairs`.

    Returns:
        `TopK` of shape (Q, k); similarities are rounded to float32 only at the end.
    """
    q, g = floats(queries, dtype), floats(gallery if rescore is None else rescore, dtype)
    with np.errstate(invalid="ignore"):
        matrix = q @ g.T
        if scale is not None and rescore is None:
            values, of_query = quantise_rows(floats(queries, np.float32))
            sums = values.astype(np.int64) @ np.asarray(gallery).astype(np.int64).T
            scaled = sums.astype(np.float32) * of_query[:, None]
            matrix = (scaled * np.asarray(scale, np.float32)[None, :]).astype(dtype)
    matrix[~allowed_pairs(len(q), len(g), **masks)] = -np.inf
    matrix[np.isnan(matrix)] = -np.inf
    # A stable sort by descending similarity leaves equal ones in ascending order of index.
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(matrix, order, axis=1)
    similarity = np.full((len(q), k), -np.inf, np.float32)
    index = np.full((len(q), k), -1, np.int64)
    similarity[:, : order.shape[1]] = best
    index[:, : order.shape[1]] = np.where(best > -np.inf, order, -1)
    return TopK(similarity, index)


def floats(rows: ArrayLike, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Feature rows as `dtype`; uint16 holds the bit patterns of bfloat16."""
    array = np.asarray(rows)
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(dtype)


def quantise_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Each row as int8 values times a float32 scale, element by element."""
    values = np.zeros(rows.shape, np.int8)
    scale = np.zeros(len(rows), np.float32)
    for i, row in enumerate(rows):
        if not np.isfinite(row).all():
            scale[i] = np.nan
            continue
        scale[i] = max((abs(x) for x in row), default=np.float32(0)) / np.float32(127)
        if scale[i] > 0:
            values[i] = [max(-127, min(127, int(np.rint(x / scale[i])))) for x in row]
    return values, scale


def allowed_pairs(
    query_count: int,
    gallery_count: int,
    *,
    valid: ArrayLike | None = None,
    query_camera: ArrayLike | None = None,
    gallery_camera: ArrayLike | None = None,
    camera_rule: CameraRule = "any",
    adjacency: ArrayLike | None = None,
    query_time: ArrayLike | None = None,
    gallery_time: ArrayLike | None = None,
    window: tuple[int | None, int | None] | None = None,
) -> NDArray[np.bool_]:
    """(Q, G) bool: which pairs the masks allow. `adjacency` is the boolean matrix here."""
    allowed = np.ones((query_count, gallery_count), np.bool_)
    if valid is not None:
        allowed &= np.asarray(valid)[None, :]
    if query_camera is not None and gallery_camera is not None:
        a, b = np.asarray(query_camera)[:, None], np.asarray(gallery_camera)[None, :]
        if camera_rule != "any":
            allowed &= (a == b) if camera_rule == "only_same" else (a != b)
        if adjacency is not None:
            allowed &= np.asarray(adjacency)[a, b]
    if query_time is not None and gallery_time is not None and window is not None:
        # Python integers: the difference of two int64 may not fit one.
        difference = np.subtract.outer(
            np.asarray(query_time).astype(object), np.asarray(gallery_time).astype(object)
        )
        low, high = checked_window(window)
        if low is not None:
            allowed &= (difference >= low).astype(np.bool_)
        if high is not None:
            allowed &= (difference <= high).astype(np.bool_)
    return allowed
