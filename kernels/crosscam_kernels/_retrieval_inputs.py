"""Labels, protocols and galleries of the retrieval metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels._arrays import as_numpy, feature_rows, integer_column
from crosscam_kernels.errors import ShapeError, UsageError

RetrievalProtocol = Literal["standard", "clothes_changing", "same_clothes", "tracklet", "any"]
RetrievalMetric = Literal["cosine", "euclidean", "inner_product"]
PROTOCOLS: tuple[RetrievalProtocol, ...] = (
    "standard",
    "clothes_changing",
    "same_clothes",
    "tracklet",
    "any",
)
METRICS: tuple[RetrievalMetric, ...] = ("cosine", "euclidean", "inner_product")


class RetrievalRanks(NamedTuple):
    """What the ranking of each query comes to. Ranks count from 1.

    Attributes:
        average_precision: (Q,) float64; NaN for a query without a right answer.
        first_rank: (Q,) int64 rank of its best right answer; 0 without any.
        last_rank: (Q,) int64 rank of its worst right answer; 0 without any.
        positives: (Q,) int64 number of its right answers.
    """

    average_precision: Any
    first_rank: Any
    last_rank: Any
    positives: Any


class Labels(NamedTuple):
    """Checked labels, in the types the implementations take."""

    query_id: Any
    gallery_id: Any
    query_group: Any
    gallery_group: Any
    query_clothes: Any
    gallery_clothes: Any
    valid: Any
    protocol: str


def checked_labels(
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_count: int,
    gallery_count: int,
    *,
    query_cameras: ArrayLike | None,
    gallery_cameras: ArrayLike | None,
    protocol: RetrievalProtocol,
    query_clothes: ArrayLike | None,
    gallery_clothes: ArrayLike | None,
    query_tracklets: ArrayLike | None,
    gallery_tracklets: ArrayLike | None,
    junk_id: int | None,
) -> Labels:
    """Checks the labels that the protocol uses; the group is the camera or the tracklet.

    Raises:
        ShapeError: An array has the wrong shape or dtype, or the gallery has 2^32 rows or more.
        UsageError: A label that the protocol needs is missing.
    """
    if gallery_count >= 2**32:
        raise ShapeError(f"the gallery has {gallery_count} rows", expected="fewer than 2^32")

    def pair(kind: str, of_query: ArrayLike | None, of_gallery: ArrayLike | None) -> Any:
        if of_query is None or of_gallery is None:
            raise UsageError(
                f"protocol {protocol!r} is asked for without {kind}",
                fix=f"pass query_{kind} and gallery_{kind}",
            )
        return (
            integer_column(of_query, f"query_{kind}", query_count, np.int64),
            integer_column(of_gallery, f"gallery_{kind}", gallery_count, np.int64),
        )

    ids = pair("ids", query_ids, gallery_ids)
    group: Any = (None, None)
    clothes: Any = (None, None)
    if protocol == "tracklet":
        group = pair("tracklets", query_tracklets, gallery_tracklets)
    elif protocol != "any":
        group = pair("cameras", query_cameras, gallery_cameras)
    if protocol in ("clothes_changing", "same_clothes"):
        clothes = pair("clothes", query_clothes, gallery_clothes)
    valid = None if junk_id is None else (ids[1] != junk_id).view(np.uint8)
    rule = "standard" if protocol == "tracklet" else protocol
    return Labels(ids[0], ids[1], group[0], group[1], clothes[0], clothes[1], valid, rule)


def average_tracklets(
    features: ArrayLike, tracklets: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One L2-normalised feature per tracklet: the mean of its rows (CCVID and other videos).

    Args:
        features: (N, D) float32 features of clips or frames.
        tracklets: (N,) integer tracklet of each row.

    Returns:
        (T, D) float32 features, and (T,) int64 tracklets, ascending. A mean of zero stays zero.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
    """
    rows = feature_rows(features, "features", "N")
    column = integer_column(tracklets, "tracklets", len(rows), np.int64)
    order = np.argsort(column, kind="stable")
    names, begin, size = np.unique(column[order], return_index=True, return_counts=True)
    mean = np.zeros((len(names), rows.shape[1]), np.float64)
    if len(names):
        mean = np.add.reduceat(rows[order], begin, axis=0, dtype=np.float64) / size[:, None]
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.where(length > 0.0, length, 1.0)).astype(np.float32), names


def single_shot_galleries(
    gallery_ids: ArrayLike, *, trials: int = 10, seed: int = 0, junk_id: int | None = -1
) -> Iterator[NDArray[np.int64]]:
    """Random galleries with one row per identity.

    Args:
        gallery_ids: (G,) integer identities.
        trials: Number of galleries.
        seed: Seed of `numpy.random.default_rng`.
        junk_id: Identity that is never drawn.

    Yields:
        (identities,) int64 gallery rows, ascending.
    """
    ids = as_numpy(gallery_ids, "gallery_ids")
    rows = np.flatnonzero(ids != junk_id) if junk_id is not None else np.arange(len(ids))
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        shuffled = rng.permutation(rows)
        _, first = np.unique(ids[shuffled], return_index=True)
        yield np.sort(shuffled[first])
