"""Specification of `crosscam_kernels.batch_hard` and `triplet_loss`, in plain PyTorch.

Gradients come from autograd; the full (N, M) matrix is made. Give it float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from crosscam_kernels.triplet import BatchHard, Distance, PairRule, Reduction

LEAST_SQUARE = 1e-12
LEAST_NORM = 1e-12


def batch_hard(
    features: Tensor,
    labels: Tensor,
    *,
    cameras: Tensor | None = None,
    positives: PairRule = "any",
    negatives: PairRule = "any",
    distance: Distance = "euclidean",
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    candidate_cameras: Tensor | None = None,
    self_index: Tensor | None = None,
) -> BatchHard:
    """Same result as the operator, from the matrix of all distances.

    Returns:
        `BatchHard` of tensors; distances have the dtype of the features and carry gradients.
    """
    if candidates is None or candidate_labels is None:
        candidates, candidate_labels, candidate_cameras = features, labels, cameras
        self_index = torch.arange(len(features), device=features.device)
    value = comparison_values(features.detach(), candidates.detach(), distance)
    usable = torch.isfinite(value)
    if self_index is not None:
        columns = torch.arange(len(candidates), device=features.device)
        usable &= columns != self_index[:, None]
    same_label = labels[:, None] == candidate_labels
    is_positive = usable & same_label & allowed(cameras, candidate_cameras, positives)
    is_negative = usable & ~same_label & allowed(cameras, candidate_cameras, negatives)
    positive_index = first_largest(value, is_positive)
    negative_index = first_largest(-value, is_negative)
    return BatchHard(
        positive_index,
        negative_index,
        pair_distance(features, candidates, positive_index, distance, -torch.inf),
        pair_distance(features, candidates, negative_index, distance, torch.inf),
    )


def triplet_loss(
    features: Tensor,
    labels: Tensor,
    *,
    margin: float | None = 0.3,
    reduction: Reduction = "mean",
    cameras: Tensor | None = None,
    positives: PairRule = "any",
    negatives: PairRule = "any",
    distance: Distance = "euclidean",
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    candidate_cameras: Tensor | None = None,
    self_index: Tensor | None = None,
) -> Tensor:
    """Same value as the operator, () or (N,); its gradient is that of autograd."""
    pairs = batch_hard(
        features,
        labels,
        cameras=cameras,
        positives=positives,
        negatives=negatives,
        distance=distance,
        candidates=candidates,
        candidate_labels=candidate_labels,
        candidate_cameras=candidate_cameras,
        self_index=self_index,
    )
    complete = (pairs.positive_index >= 0) & (pairs.negative_index >= 0)
    # Where a side is missing, both are replaced before they are subtracted: inf - inf has no
    # gradient.
    gap = torch.where(complete, pairs.positive_distance, 0.0) - torch.where(
        complete, pairs.negative_distance, 0.0
    )
    each = functional.softplus(gap) if margin is None else functional.relu(gap + margin)
    each = torch.where(complete, each, 0.0)
    if reduction == "none":
        return each
    counted = complete if reduction == "mean" else each > 0
    return each.sum() / counted.sum().clamp(min=1)


def comparison_values(features: Tensor, candidates: Tensor, distance: Distance) -> Tensor:
    """(N, M) by which candidates are compared: squared Euclidean or cosine distances, >= 0."""
    if distance == "cosine":
        return (1 - normalised(features) @ normalised(candidates).T).clamp(min=0)
    squares = features.square().sum(1)[:, None] + candidates.square().sum(1)
    return (squares - 2 * features @ candidates.T).clamp(min=0)


def allowed(cameras: Tensor | None, candidate_cameras: Tensor | None, rule: PairRule) -> Tensor:
    """(N, M) bool, or one True: whether the camera rule allows a pair."""
    if rule == "any" or cameras is None or candidate_cameras is None:
        return torch.tensor(True, device=None if cameras is None else cameras.device)
    same = cameras[:, None] == candidate_cameras
    return same if rule == "same_camera" else ~same


def first_largest(value: Tensor, mask: Tensor) -> Tensor:
    """(N,) column of the largest value under the mask, the first among equals; -1 without any."""
    count = value.shape[1]
    if count == 0:
        return torch.full((len(value),), -1, device=value.device)
    masked = value.where(mask, -torch.inf)
    is_best = mask & (masked == masked.amax(1, keepdim=True))
    columns = torch.arange(count, device=value.device).expand_as(value)
    first = columns.where(is_best, count).amin(1)
    return first.where(first < count, -1)


def pair_distance(
    features: Tensor, candidates: Tensor, index: Tensor, distance: Distance, missing: float
) -> Tensor:
    """(N,) distance of each anchor to the candidate `index`, from differences of elements."""
    if len(candidates) == 0:
        return torch.full((len(features),), missing, dtype=features.dtype, device=features.device)
    chosen = candidates[index.clamp(min=0)]
    if distance == "cosine":
        found = 1 - (normalised(features) * normalised(chosen)).sum(1)
    else:
        found = (features - chosen).square().sum(1)
        if distance == "euclidean":
            found = found.clamp(min=LEAST_SQUARE).sqrt()
    return found.where(index >= 0, missing)


def normalised(rows: Tensor) -> Tensor:
    """Rows divided by their norm, or by 1e-12 where that is larger."""
    return functional.normalize(rows, dim=1, eps=LEAST_NORM)
