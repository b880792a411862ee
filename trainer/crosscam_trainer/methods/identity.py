"""Supervised losses on identities that `clip_reid`, `cal` and `ccaf` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from crosscam_kernels import memory_infonce

if TYPE_CHECKING:
    from torch import Tensor


class LinearClassifier(nn.Linear):
    """Logits of identities from BN-neck features, without bias (Luo et al., "Bag of Tricks").

    Args:
        dim: `D`.
        classes: Number of identities.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes, bias=False)
        nn.init.normal_(self.weight, std=0.001)


def identity_loss(
    features: Tensor, classifier: LinearClassifier, person: Tensor, label_smoothing: float
) -> Tensor:
    """`L_id`: cross entropy with smoothed labels, in float32.

    Args:
        features: `(B, D)` after the BN neck.
        classifier: Of all identities.
        person: `(B,)` int64.
        label_smoothing: Share of the target that is spread over all identities.
    """
    with torch.autocast(features.device.type, enabled=False):
        logits = classifier(features.float())
    return functional.cross_entropy(logits, person, label_smoothing=label_smoothing)


def image_to_text_loss(
    joint: Tensor, texts: Tensor, person: Tensor, label_smoothing: float
) -> Tensor:
    """`L_i2tce` of CLIP-ReID: a picture against the texts of all identities.

    Logits are inner products of features that are not normalised, without temperature.

    Args:
        joint: `(B, J)`.
        texts: `(G, J)`, fixed.
        person: `(B,)` int64.
        label_smoothing: Share of the target that is spread over all identities.
    """
    loss: Tensor = memory_infonce(
        joint, texts, person, temperature=1.0, label_smoothing=label_smoothing
    )
    return loss
