"""`batch_hard` and `triplet_loss` of tensors on the CPU: native, or the reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscam_kernels import _native
from crosscam_kernels import triplet as numpy_ops
from crosscam_kernels.reference import triplet as reference

Pairs = tuple[Tensor, Tensor, Tensor, Tensor]

REFERENCE_ROWS = 1024  # anchors compared at once in float64


def search(
    features: Tensor,
    candidates: Tensor | None,
    labels: Tensor,
    candidate_labels: Tensor | None,
    cameras: Tensor | None,
    candidate_cameras: Tensor | None,
    self_index: Tensor | None,
    positives: str,
    negatives: str,
    distance: str,
) -> Pairs:
    """The hardest pairs of every anchor: distances and indices (N,), positives first."""
    rules: dict[str, Any] = {
        "positives": positives,
        "negatives": negatives,
        "distance": distance,
    }
    if features.dtype == torch.float64:
        if candidates is None:
            candidates, candidate_labels, candidate_cameras = features, labels, cameras
            self_index = torch.arange(features.shape[0])
        parts = [
            reference.batch_hard(
                features[at : at + REFERENCE_ROWS],
                labels[at : at + REFERENCE_ROWS],
                cameras=None if cameras is None else cameras[at : at + REFERENCE_ROWS],
                candidates=candidates,
                candidate_labels=candidate_labels,
                candidate_cameras=candidate_cameras,
                self_index=None if self_index is None else self_index[at : at + REFERENCE_ROWS],
                **rules,
            )
            for at in range(0, max(features.shape[0], 1), REFERENCE_ROWS)
        ]
        p, n, far, near = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return far, near, p.int(), n.int()
    batch = numpy_ops.checked_batch(
        features=_float_rows(features),
        labels=labels.numpy(),
        cameras=None if cameras is None else cameras.numpy(),
        candidates=None if candidates is None else _float_rows(candidates),
        candidate_labels=None if candidate_labels is None else candidate_labels.numpy(),
        candidate_cameras=None if candidate_cameras is None else candidate_cameras.numpy(),
        self_index=None if self_index is None else self_index.numpy(),
    )
    found = numpy_ops.search(batch, threads=torch.get_num_threads(), **rules)
    p, n, far, near = (torch.from_numpy(column) for column in found)
    return far, near, p.int(), n.int()


def terms(
    far: Tensor, near: Tensor, p: Tensor, n: Tensor, margin: float | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, slope (N,) of each anchor by its gap, and the factor () of the reduction."""
    if far.dtype == torch.float64:
        return _terms64(far, near, p, n, margin, reduction)
    each, slopes, factor = numpy_ops.triplet_terms(far.numpy(), near.numpy(), margin, reduction)
    return torch.from_numpy(each), torch.from_numpy(slopes), torch.tensor(factor)


def _terms64(
    far: Tensor, near: Tensor, p: Tensor, n: Tensor, margin: float | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor]:
    complete = (p >= 0) & (n >= 0)
    gap = torch.where(complete, far, 0.0) - torch.where(complete, near, 0.0)
    if margin is None:
        each, slope = torch.nn.functional.softplus(gap, threshold=700.0), gap.sigmoid()
    else:
        each = (gap + margin).clamp(min=0)
        slope = (each > 0).double()
    each, slope = torch.where(complete, each, 0.0), torch.where(complete, slope, 0.0)
    if reduction == "none":
        return each, slope, torch.ones((), dtype=each.dtype)
    counted = (complete if reduction == "mean" else each > 0).sum()
    scale = torch.where(counted > 0, 1 / counted.clamp(min=1).double(), 0.0)
    return each.sum() * scale, slope, scale


def gradient(
    features: Tensor,
    candidates: Tensor | None,
    distances: tuple[Tensor, Tensor],
    indices: tuple[Tensor, Tensor],
    weights: Tensor,
    distance: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of features (N, D) and candidates (M, D), (0, D) without candidates.

    `weights` (2, N) are the derivatives by the distances of the positive and the negative pairs.
    """
    if features.dtype == torch.float64:
        return _gradient64(features, candidates, indices, weights, distance)
    rows = _float_rows(features)
    others = None if candidates is None else _float_rows(candidates)
    made = np.empty(rows.shape, np.float32)
    to_candidates = None if others is None else np.empty(others.shape, np.float32)
    _native.batch_hard_gradient(
        features=rows,
        candidates=others,
        positive_index=indices[0].numpy(),
        negative_index=indices[1].numpy(),
        positive_distance=distances[0].numpy(),
        negative_distance=distances[1].numpy(),
        positive_weight=weights[0].float().contiguous().numpy(),
        negative_weight=weights[1].float().contiguous().numpy(),
        distance=distance,
        threads=torch.get_num_threads(),
        gradient=made,
        candidate_gradient=to_candidates,
    )
    to_features = torch.from_numpy(made).to(features.dtype)
    if to_candidates is None:
        return to_features, features.new_empty((0, features.shape[1]))
    return to_features, torch.from_numpy(to_candidates).to(features.dtype)


def _gradient64(
    features: Tensor,
    candidates: Tensor | None,
    indices: tuple[Tensor, Tensor],
    weights: Tensor,
    distance: str,
) -> tuple[Tensor, Tensor]:
    """The gradient in float64; an op has no autograd within, so it is written out."""
    anchors, others = features, features if candidates is None else candidates
    if distance == "cosine":
        anchors, others = reference.normalised(anchors), reference.normalised(others)
    to_anchors = torch.zeros_like(anchors, memory_format=torch.contiguous_format)
    to_others = torch.zeros_like(others, memory_format=torch.contiguous_format)
    for index, weight in zip(indices, weights, strict=True):
        own = torch.nonzero(index >= 0).flatten()
        chosen, factor = index[own], weight[own]
        if distance == "cosine":
            to_anchors.index_add_(0, own, -factor[:, None] * others[chosen])
            to_others.index_add_(0, chosen, -factor[:, None] * anchors[own])
            continue
        gap = anchors[own] - others[chosen]
        if distance == "euclidean":
            square = gap.square().sum(1)
            root = square.clamp(min=reference.LEAST_SQUARE).sqrt()
            factor = torch.where(square > reference.LEAST_SQUARE, factor / root, 0.0)
        else:
            factor = 2 * factor
        to_anchors.index_add_(0, own, factor[:, None] * gap)
        to_others.index_add_(0, chosen, -factor[:, None] * gap)
    if candidates is None:
        return _through_norm(features, to_anchors + to_others, distance), features.new_empty(
            (0, features.shape[1])
        )
    return (
        _through_norm(features, to_anchors, distance),
        _through_norm(candidates, to_others, distance),
    )


def _through_norm(rows: Tensor, gradient: Tensor, distance: str) -> Tensor:
    """From the gradient of rows / max(|rows|, least) to that of the rows."""
    if distance != "cosine":
        return gradient
    norm = rows.norm(dim=1, keepdim=True)
    unit = rows / norm.clamp(min=reference.LEAST_NORM)
    along = torch.where(norm > reference.LEAST_NORM, (unit * gradient).sum(1, keepdim=True), 0.0)
    return (gradient - along * unit) / norm.clamp(min=reference.LEAST_NORM)


def _float_rows(rows: Tensor) -> Any:
    dense = rows if rows.stride(1) == 1 else rows.contiguous()
    return dense.float().numpy()
