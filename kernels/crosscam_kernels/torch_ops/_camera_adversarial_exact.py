"""The camera-adversarial losses in float64 with full (N, G) matrices: for checks, not for speed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crosscam_kernels.reference import camera_adversarial as reference

Knobs = tuple[float, float, float, float, bool]  # epsilon, scale, margin, boost, ignore linked
Rows = tuple[Tensor, Tensor, Tensor, Tensor]


def exact(
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    class_group: Tensor | None,
    class_camera: Tensor | None,
    knobs: Knobs,
    want_gradient: bool,
) -> Rows:
    """What `camera_adversarial` answers, in float64; the gradients by their formula."""
    epsilon, scale, margin, boost, ignore = knobs
    count = len(classifier)
    alone = torch.arange(count, device=labels.device)
    group = alone if class_group is None else class_group
    positive, negative, _ = reference.masks(
        labels, group, class_camera, "ignore" if ignore else "negative"
    )
    own = reference.one_hot(labels, count)
    x, w = reference.unit(features), reference.unit(classifier)
    cosine = x @ w.T
    lift = torch.zeros_like(cosine)
    if class_camera is not None:
        at = labels.clamp(0, count - 1)
        lift = boost * (class_camera[None, :] == class_camera[at][:, None]).to(cosine.dtype)
    phi = torch.where(own, reference.with_margin(cosine, margin), (1 + lift) * cosine + lift)
    logits = scale * phi
    log_sum = torch.where(negative, logits, -math.inf).logsumexp(1)
    gap = log_sum[:, None] - logits
    targets = reference.soft_targets(positive, own, epsilon)
    pull = torch.where(positive, targets * torch.sigmoid(gap), 0.0)
    surprise = torch.where(positive, targets * torch.nn.functional.softplus(gap), 0.0)
    loss, slope = surprise.sum(1), pull.sum(1)
    if not want_gradient:
        return loss, log_sum, slope, features.new_empty((0, features.shape[1]))
    push = torch.where(negative, slope[:, None] * torch.exp(-gap), 0.0)
    bend = torch.where(own, _margin_slope(cosine, margin), 1 + lift)
    steep = scale * bend * (push - pull)
    return loss, log_sum, slope, _through_norm(steep @ w, x, features)


def exact_classifier(
    weight: Tensor,
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    scale: float,
    margin: float,
) -> Tensor:
    """What `camera_classifier_gradient` answers, in float64."""
    x, w = reference.unit(features), reference.unit(classifier)
    cosine = x @ w.T
    own = reference.one_hot(labels, len(classifier))
    logits = scale * torch.where(own, reference.with_margin(cosine, margin), cosine)
    bend = torch.where(own, _margin_slope(cosine, margin), 1.0)
    steep = scale * bend * (logits.softmax(1) - own.to(cosine.dtype))
    steep = torch.where(own.any(1, keepdim=True), steep, 0.0) * weight[:, None]
    return _through_norm(steep.T @ x, w, classifier)


def _margin_slope(cosine: Tensor, margin: float) -> Tensor:
    if margin == 0:
        return torch.ones_like(cosine)
    squared = 1 - cosine**2
    sine = squared.clamp(min=reference.MIN_SQUARED_SINE).sqrt()
    moving = torch.where(squared > reference.MIN_SQUARED_SINE, cosine / sine, 0.0)
    bent = math.cos(margin) + moving * math.sin(margin)
    return torch.where(cosine > math.cos(math.pi - margin), bent, 1.0)


def _through_norm(gradient: Tensor, unit: Tensor, rows: Tensor) -> Tensor:
    """Gradient with respect to rows from that of their unit vectors."""
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    tangent = gradient - unit * (gradient * unit).sum(1, keepdim=True)
    return torch.where(norm > reference.MIN_NORM, tangent / norm, 0.0)
