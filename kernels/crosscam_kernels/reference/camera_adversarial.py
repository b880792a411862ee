"""Specification of the camera-adversarial losses, in PyTorch with full matrices.

CCAFL (arXiv 2409.19563), Eq. 17-19; with outfits as classes and no cameras, CAL (Gu et al., CVPR
2022). Gradients of these functions by autograd are the specification of the operators' gradients.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

MIN_NORM = 1e-12  # rows up to this norm count as zero vectors
MIN_SQUARED_SINE = 1e-6  # below it the angular margin is differentiated as if the sine were fixed


def camera_classifier_loss(
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1 / 16,
    margin: float = 0.0,
) -> Tensor:
    """L_GID of each sample (Eq. 17): plain cross entropy over all classes; the features are fixed.

    Returns:
        (N,) losses, 0 for samples whose label is not a class.
    """
    cosine = unit(features.detach()) @ unit(classifier).T
    used = (labels >= 0) & (labels < len(classifier))
    own = one_hot(labels, len(classifier))
    logits = torch.where(own, with_margin(cosine, margin), cosine) / temperature
    chosen = torch.where(own, logits, 0).sum(1)
    return torch.where(used, torch.logsumexp(logits, 1) - chosen, 0.0)


def camera_adversarial_loss(
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    class_group: Tensor,
    class_camera: Tensor | None = None,
    *,
    epsilon: float = 0.8,
    temperature: float = 1 / 16,
    margin: float = 0.0,
    same_camera_boost: float = 0.0,
    linked: Literal["negative", "ignore"] = "negative",
) -> Tensor:
    """L_ICAL of each sample (Eq. 18-19); the classifier is fixed.

    Returns:
        (N,) losses, 0 for samples that are left out.
    """
    positive, negative, used = masks(labels, class_group, class_camera, linked)
    own = one_hot(labels, len(classifier))
    cosine = unit(features) @ unit(classifier.detach()).T
    phi = cosine
    if class_camera is not None:
        same = class_camera[None, :] == class_camera[labels.clamp(0, len(classifier) - 1)][:, None]
        phi = torch.where(same, (1 + same_camera_boost) * cosine + same_camera_boost, cosine)
    phi = torch.where(own, with_margin(cosine, margin), phi)
    logits = phi / temperature
    # log of the denominator of Eq. 18 for each positive: itself and all negatives.
    outside = torch.where(negative, logits, -math.inf).logsumexp(1, keepdim=True)
    surprise = torch.logaddexp(logits, outside) - logits
    targets = soft_targets(positive, own, epsilon)
    losses = torch.where(positive, targets * surprise, 0.0).sum(1)
    return torch.where(used, losses, 0.0)


def masks(
    labels: Tensor,
    class_group: Tensor,
    class_camera: Tensor | None,
    linked: Literal["negative", "ignore"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Positives (N, G), negatives (N, G) and which samples count (N,).

    Positives are the own class and the classes of the same group in other cameras; G_i^- is
    everything else. The same group's other classes of the own camera are other people (labels
    inside a camera are known), so they are negatives, or `linked` leaves them out.
    """
    count = len(class_group)
    at = labels.clamp(0, max(count - 1, 0))
    own = one_hot(labels, count)
    person = class_group[at]
    used = (labels >= 0) & (labels < count) & (person >= 0)
    together = class_group[None, :] == person[:, None]
    same_camera = torch.zeros_like(together)
    if class_camera is not None:
        same_camera = class_camera[None, :] == class_camera[at][:, None]
    positive = (own | (together & ~same_camera)) & used[:, None]
    negative = ~positive & used[:, None]
    if linked == "ignore":
        negative &= ~(together & same_camera)
    return positive, negative, used


def soft_targets(positive: Tensor, own: Tensor, epsilon: float) -> Tensor:
    """q(g): 1 - eps + eps / K for the own class, eps / K for other positives, 0 for negatives."""
    count = positive.sum(1, keepdim=True).clamp(min=1)
    return torch.where(positive, (1 - epsilon) * own + epsilon / count, 0.0)


def with_margin(cosine: Tensor, margin: float) -> Tensor:
    """ArcFace: cos(theta + m), and from theta = pi - m on a line that keeps it decreasing."""
    if margin == 0:
        return cosine
    sine = (1 - cosine**2).clamp(min=MIN_SQUARED_SINE).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    line = cosine - margin * math.sin(math.pi - margin)
    return torch.where(cosine > math.cos(math.pi - margin), turned, line)


def unit(rows: Tensor) -> Tensor:
    """Rows divided by their Euclidean norm; zero vectors stay zero and have no gradient."""
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    known = ~(norm <= MIN_NORM)
    return torch.where(known, rows / torch.where(known, norm, 1.0), 0.0)


def one_hot(labels: Tensor, count: int) -> Tensor:
    """(N, count) bool; all false for labels that are not classes."""
    return labels[:, None] == torch.arange(count, device=labels.device)[None, :]
