"""Cases of kernels_train_cpu.py: the camera classifier and the camera-adversarial loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crosscam_kernels import camera_adversarial_loss, camera_classifier_loss
from crosscam_kernels.reference import camera_adversarial as reference

CAMERAS = 6
Loss = Callable[[Tensor, Tensor], Tensor]  # of the features (N, D) and the classifier (G, D)


class Problem:
    """A batch of a site with six cameras, where most people were associated across cameras."""

    def __init__(self, count: int, classes: int, dim: int) -> None:
        generator = torch.Generator().manual_seed(classes)
        self.features = torch.randn(count, dim, generator=generator)
        self.classifier = torch.randn(classes, dim, generator=generator)
        self.labels = torch.randint(0, classes, (count,), generator=generator)
        self.group = torch.randint(-1, classes // 4 + 1, (classes,), generator=generator)
        self.camera = torch.randint(0, CAMERAS, (classes,), generator=generator)

    def adversarial(self, x: Tensor, w: Tensor) -> Tensor:
        """Eq. 18-19 by crosscam."""
        loss: Tensor = camera_adversarial_loss(x, w, self.labels, self.group, self.camera)
        return loss

    def eager_adversarial(self, x: Tensor, w: Tensor) -> Tensor:
        """Eq. 18-19 with full matrices, as the official code computes them."""
        losses = reference.camera_adversarial_loss(x, w, self.labels, self.group, self.camera)
        return losses.sum() / (self.group[self.labels] >= 0).sum()

    def classifying(self, x: Tensor, w: Tensor) -> Tensor:
        """Eq. 17 by crosscam."""
        loss: Tensor = camera_classifier_loss(x, w, self.labels)
        return loss

    def eager_classifying(self, x: Tensor, w: Tensor) -> Tensor:
        """Eq. 17 as everybody writes it."""
        cosine = functional.normalize(x.detach()) @ functional.normalize(w).T
        return functional.cross_entropy(16 * cosine, self.labels)


def adversarial_sides(shape: tuple[int, int, int], op: str, quick: bool) -> dict[str, Any]:
    """Sides of one operator: name to a loss of its leaf, and under "leaf" and "exact" the rest."""
    problem = Problem(*shape)
    first = op == "camera_classifier_loss"
    ours: Loss = problem.classifying if first else problem.adversarial
    eager: Loss = problem.eager_classifying if first else problem.eager_adversarial
    losses: dict[str, Loss] = {"crosscam": ours, "torch eager": eager}
    if not quick:
        losses["torch.compile"] = torch.compile(eager, dynamic=False)
    x, w = problem.features, problem.classifier

    def of_leaf(loss: Loss) -> Callable[[Tensor], Tensor]:
        return (lambda leaf: loss(x, leaf)) if first else (lambda leaf: loss(leaf, w))

    fixed = x.double() if first else w.double()
    exact = partial(eager, fixed) if first else (lambda leaf: eager(leaf, fixed))
    return {
        "losses": {name: of_leaf(loss) for name, loss in losses.items()},
        "leaf": w if first else x,
        "exact": exact,
    }
