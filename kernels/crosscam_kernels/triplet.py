"""Batch-hard mining and the triplet loss over what it finds.

Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
arXiv:1703.07737, Eq. 5; camera rules as in intra- and cross-camera mining.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import feature_rows, integer_column, worker_limit
from crosscam_kernels._torch import is_tensor
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.simd import simd_level

PairRule = Literal["any", "same_camera", "cross_camera"]
Distance = Literal["euclidean", "squared_euclidean", "cosine"]
Reduction = Literal["mean", "mean_active", "none"]
PAIR_RULES: tuple[PairRule, ...] = ("any", "same_camera", "cross_camera")
DISTANCES: tuple[Distance, ...] = ("euclidean", "squared_euclidean", "cosine")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "mean_active", "none")


class BatchHard(NamedTuple):
    """The hardest pairs of each anchor; arrays of NumPy or tensors, as the arguments were.

    Attributes:
        positive_index: (N,) int64 candidate; -1 where the anchor has no positive.
        negative_index: (N,) int64 candidate; -1 where the anchor has no negative.
        positive_distance: (N,) float32; -inf (the maximum over nothing) without a positive.
        negative_distance: (N,) float32; +inf (the minimum over nothing) without a negative.
    """

    positive_index: Any
    negative_index: Any
    positive_distance: Any
    negative_distance: Any


class TripletLoss(NamedTuple):
    """The loss of NumPy features, with its gradient.

    Attributes:
        loss: () float32, or (N,) for reduction ``"none"``.
        gradient: (N, D) float32: dL / d features; of the sum of the losses for ``"none"``.
        candidate_gradient: (M, D) float32 when candidates were given, else None: the features are
            the candidates then, and `gradient` is the whole.
    """

    loss: NDArray[np.float32]
    gradient: NDArray[np.float32]
    candidate_gradient: NDArray[np.float32] | None


class Batch(NamedTuple):
    """The checked arrays of a call, in the types of the native functions."""

    features: NDArray[np.float32]
    candidates: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    candidate_labels: NDArray[np.int64] | None
    cameras: NDArray[np.int64] | None
    candidate_cameras: NDArray[np.int64] | None
    self_index: NDArray[np.int64] | None


def batch_hard(
    features: Any,
    labels: Any,
    *,
    cameras: Any = None,
    positives: PairRule = "any",
    negatives: PairRule = "any",
    distance: Distance = "euclidean",
    candidates: Any = None,
    candidate_labels: Any = None,
    candidate_cameras: Any = None,
    self_index: Any = None,
    threads: int | None = None,
) -> BatchHard:
    """Finds the farthest positive and the nearest negative of each anchor.

    The positives of an anchor are the other candidates with its label, the negatives those with
    another label, each as far as its camera rule allows. Of equally hard candidates the one with
    the smaller index is found; a distance that is NaN or infinite is never found. There is no
    (N, M) matrix: memory is O((N + M) D). Specification: `crosscam_kernels.reference.triplet`.

    Candidates are compared in the expanded form ``|a|^2 + |b|^2 - 2 <a, b>`` (or ``1 - cos``),
    clamped at zero, with products and sums in float32. The distances of the pairs found are then
    computed anew from ``sum (a - b)^2``, which does not cancel.

    Args:
        features: (N, D) anchors: float32 array, or tensor of float32, float16, bfloat16 (or
            float64 on the CPU). Need not be normalised; the cosine normalises on its own.
        labels: (N,) integer identities.
        cameras: (N,) integer cameras; needed by the rules other than ``"any"``.
        positives: Where positives may come from: ``"any"`` camera, ``"same_camera"`` as the
            anchor, or ``"cross_camera"``, another than the anchor's.
        negatives: Where negatives may come from.
        distance: ``"euclidean"`` is ``sqrt(max(square, 1e-12))``; ``"squared_euclidean"``;
            ``"cosine"`` is ``1 - <a, b> / (|a| |b|)`` with norms of at least 1e-12.
        candidates: (M, D) rows to choose from, such as the gathered batch of all devices; None:
            the features themselves, and no anchor is compared with itself.
        candidate_labels: (M,) given with candidates.
        candidate_cameras: (M,) given with candidates and cameras.
        self_index: (N,) with candidates only: the candidate that is the anchor itself and must not
            be its positive; -1 for none.
        threads: NumPy only: at most this many threads; None for one per processor. Tensors on the
            CPU use ``torch.get_num_threads()``.

    Returns:
        `BatchHard`. Distances of tensors carry gradients to `features` and `candidates`.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: An unknown rule, or arguments that belong together are not given together.
        InputError: `self_index` points outside the candidates.
    """
    check_choices(positives, negatives, distance, cameras, candidates, candidate_labels, self_index)
    arrays = {
        "features": features,
        "labels": labels,
        "cameras": cameras,
        "candidates": candidates,
        "candidate_labels": candidate_labels,
        "candidate_cameras": candidate_cameras,
        "self_index": self_index,
    }
    rules = {"positives": positives, "negatives": negatives, "distance": distance}
    if is_tensor(features):
        from crosscam_kernels.torch_ops import triplet as torch_ops

        return torch_ops.batch_hard(**arrays, **rules)
    return search(checked_batch(**arrays), threads=threads, **rules)


def triplet_loss(
    features: Any,
    labels: Any,
    *,
    margin: float | None = 0.3,
    reduction: Reduction = "mean",
    cameras: Any = None,
    positives: PairRule = "any",
    negatives: PairRule = "any",
    distance: Distance = "euclidean",
    candidates: Any = None,
    candidate_labels: Any = None,
    candidate_cameras: Any = None,
    self_index: Any = None,
    threads: int | None = None,
) -> Any:
    """Batch-hard triplet loss; the backward pass visits the chosen pairs only.

    With d_p and d_n the distances that `batch_hard` finds for anchor i,

        L_i = max(0, d_p - d_n + margin)          (arXiv:1703.07737, Eq. 5)
        L_i = log(1 + exp(d_p - d_n))             soft margin, ``margin=None``

    and zero for an anchor without a positive or without a negative.

    Args:
        features: As in `batch_hard`.
        labels: As in `batch_hard`.
        margin: Margin of the hinge, in units of the distance; None for the soft margin.
        reduction: ``"mean"`` over the anchors that have a positive and a negative,
            ``"mean_active"`` over those whose loss is above zero, or ``"none"``. A mean over
            nothing is zero.
        cameras: As in `batch_hard`.
        positives: As in `batch_hard`.
        negatives: As in `batch_hard`.
        distance: As in `batch_hard`.
        candidates: As in `batch_hard`.
        candidate_labels: As in `batch_hard`.
        candidate_cameras: As in `batch_hard`.
        self_index: As in `batch_hard`.
        threads: As in `batch_hard`.

    Returns:
        A tensor () or (N,), float32 (float64 for float64), with gradients to `features` and
        `candidates`; for NumPy features a `TripletLoss`, value and gradient. The gradient of two
        runs is the same to the bit.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: As in `batch_hard`, or an unknown reduction.
        InputError: `self_index` points outside the candidates.
    """
    check_choices(positives, negatives, distance, cameras, candidates, candidate_labels, self_index)
    if reduction not in REDUCTIONS:
        raise UsageError(f"reduction={reduction!r}", expected="one of " + ", ".join(REDUCTIONS))
    arrays = {
        "features": features,
        "labels": labels,
        "cameras": cameras,
        "candidates": candidates,
        "candidate_labels": candidate_labels,
        "candidate_cameras": candidate_cameras,
        "self_index": self_index,
    }
    rules = {"positives": positives, "negatives": negatives, "distance": distance}
    if is_tensor(features):
        from crosscam_kernels.torch_ops import triplet as torch_ops

        return torch_ops.triplet_loss(margin=margin, reduction=reduction, **arrays, **rules)
    batch = checked_batch(**arrays)
    pairs = search(batch, threads=threads, **rules)
    far, near = pairs.positive_distance, pairs.negative_distance
    loss, slope, scale = triplet_terms(far, near, margin, reduction)
    gradient, candidate_gradient = _gradient(batch, pairs, slope * scale, distance, threads)
    return TripletLoss(loss, gradient, candidate_gradient)


def triplet_terms(
    far: NDArray[np.float32], near: NDArray[np.float32], margin: float | None, reduction: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], np.float32]:
    """The loss given d_p and d_n (N,), the derivative (N,) of each L_i by d_p, and its scale."""
    each, slope = (np.empty(len(far), np.float32) for _ in range(2))
    total, scale = _native.triplet_terms(
        positive_distance=far,
        negative_distance=near,
        margin=None if margin is None else float(margin),
        reduction=reduction,
        loss=each,
        slope=slope,
    )
    reduced = each if reduction == "none" else np.array(total * scale, np.float32)
    return reduced, slope, np.float32(scale)


def check_choices(
    positives: str,
    negatives: str,
    distance: str,
    cameras: Any,
    candidates: Any,
    candidate_labels: Any,
    self_index: Any,
) -> None:
    """Checks what does not depend on the type of the arrays.

    Raises:
        UsageError: An unknown choice, or arguments that belong together are not given together.
    """
    for name, value, known in (
        ("positives", positives, PAIR_RULES),
        ("negatives", negatives, PAIR_RULES),
        ("distance", distance, DISTANCES),
    ):
        if value not in known:
            raise UsageError(f"{name}={value!r}", expected="one of " + ", ".join(known))
    if cameras is None and (positives != "any" or negatives != "any"):
        raise UsageError("a camera rule is given without cameras", fix="pass cameras as well")
    if (candidates is None) != (candidate_labels is None):
        raise UsageError(
            "candidates and candidate_labels must be given together",
            fix="pass both, or neither to compare the features with each other",
        )
    if candidates is None and self_index is not None:
        raise UsageError(
            "self_index is given without candidates",
            fix="leave it out: features are never compared with themselves",
        )


def checked_batch(
    *,
    features: Any,
    labels: Any,
    cameras: Any,
    candidates: Any,
    candidate_labels: Any,
    candidate_cameras: Any,
    self_index: Any,
) -> Batch:
    """Checks arrays for the native functions.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Arguments that belong together are not given together.
        InputError: `self_index` points outside the candidates.
    """
    rows = feature_rows(features, "features", "N")
    check_candidate_cameras(cameras, candidates, candidate_cameras)
    others = None if candidates is None else feature_rows(candidates, "candidates", "M")
    check_dimensions(rows.shape[1], None if others is None else others.shape[1])

    def column(value: Any, name: str, count: int) -> Any:
        return None if value is None else integer_column(value, name, count, np.int64)

    count = 0 if others is None else len(others)
    own = column(self_index, "self_index", len(rows))
    if own is not None and own.size and (own.min() < -1 or own.max() >= count):
        raise InputError(
            f"self_index holds values from {own.min()} to {own.max()}",
            expected=f"rows of the candidates, 0 to {count - 1}, or -1",
        )
    return Batch(
        features=rows,
        candidates=others,
        labels=column(labels, "labels", len(rows)),
        candidate_labels=column(candidate_labels, "candidate_labels", count),
        cameras=column(cameras, "cameras", len(rows)),
        candidate_cameras=column(candidate_cameras, "candidate_cameras", count),
        self_index=own,
    )


def check_candidate_cameras(cameras: Any, candidates: Any, candidate_cameras: Any) -> None:
    """Checks that candidates have cameras when, and only when, the anchors have them.

    Raises:
        UsageError: They do not.
    """
    wanted = candidates is not None and cameras is not None
    if wanted != (candidate_cameras is not None):
        raise UsageError(
            "candidate_cameras must be given with candidates and cameras, and only then",
            fix="pass cameras for both sides or for none",
        )


def check_dimensions(features: int, candidates: int | None) -> None:
    """Checks the number of features per row.

    Raises:
        ShapeError: The two sides differ, or rows are empty.
    """
    if features == 0 or candidates not in (None, features):
        raise ShapeError(
            f"features have {features} columns and candidates {candidates}",
            expected="the same number, at least 1",
        )


def search(
    batch: Batch, *, positives: str, negatives: str, distance: str, threads: int | None
) -> BatchHard:
    """`batch_hard` of arguments that have been checked."""
    count = len(batch.features)
    found = BatchHard(
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.float32),
        np.empty(count, np.float32),
    )
    _native.batch_hard(
        positives=positives,
        negatives=negatives,
        distance=distance,
        threads=worker_limit(threads),
        simd=simd_level(),
        **batch._asdict(),
        **found._asdict(),
    )
    return found


def _gradient(
    batch: Batch,
    pairs: BatchHard,
    weight: NDArray[np.float32],
    distance: str,
    threads: int | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    gradient = np.empty(batch.features.shape, np.float32)
    to_candidates = None
    if batch.candidates is not None:
        to_candidates = np.empty(batch.candidates.shape, np.float32)
    _native.batch_hard_gradient(
        features=batch.features,
        candidates=batch.candidates,
        positive_weight=weight,
        negative_weight=-weight,
        distance=distance,
        threads=worker_limit(threads),
        gradient=gradient,
        candidate_gradient=to_candidates,
        **pairs._asdict(),
    )
    return gradient, to_candidates
