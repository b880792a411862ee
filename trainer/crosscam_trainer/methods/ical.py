"""Inter-camera adversarial learning: CCAFL, Eq. 17-20.

A classifier learns to tell all accumulated labels apart, so its classes are a person *in a camera*;
the encoder is then trained until a person's classes of all cameras are equally close. This is CAL
(Gu et al., CVPR 2022) with cameras in place of clothes, and the same classifier serves both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import nn

from crosscam_kernels import camera_adversarial_loss, camera_classifier_loss
from crosscam_trainer.recipe import OptimiserRecipe, Share, Strict

if TYPE_CHECKING:
    from torch import Tensor

CLASSIFIER_OPTIMISER = OptimiserRecipe(lr=3.5e-4, weight_decay=5e-4, schedule="constant")
"""Of the official code: Adam without schedule."""

Epoch = Annotated[int, Field(ge=0)]


class ICALOptions(Strict):
    """Inter-camera adversarial learning; paper equations by default."""

    adv_window: tuple[Epoch, Epoch | None] | None = Field(
        default=(40, None),
        description="epochs of the schedule with L_ICAL: first, and the one after the last (the "
        "paper: to the end). Official code: [40, 50] for Market-1501, [40, 60] else. None: never",
    )
    weight: NonNegativeFloat = Field(default=1.0, description="of L_ICAL; the paper has 1")
    epsilon: Share = Field(default=0.8, description="of Eq. 19; 0.8 in the official code")
    temperature: PositiveFloat = Field(default=1 / 16, description="tau of Eq. 17 and 18")
    arcface_margin: Annotated[float, Field(ge=0, lt=3.14)] = Field(
        default=0.0,
        description="official code only, radians: 0.7 Market-1501, 0.3 DukeMTMC, 0.5 MSMT17",
    )
    same_camera_boost: NonNegativeFloat = Field(
        default=0.0, description="official code only: 0.2; stresses other people of the own camera"
    )
    linked: Literal["negative", "ignore"] = Field(
        default="negative",
        description="another label of the own camera in the own identity: someone else, as the "
        "paper has it, or left out",
    )
    optimiser: OptimiserRecipe = CLASSIFIER_OPTIMISER

    @model_validator(mode="after")
    def _window_is_in_order(self) -> Self:
        window = self.adv_window
        if window is not None and window[1] is not None and window[1] <= window[0]:
            raise ValueError(f"adv_window {list(window)} is empty; null switches the loss off")
        return self

    def active(self, epoch: int) -> bool:
        """Whether `L_ICAL` takes part in an epoch, from 0 (Eq. 20)."""
        if self.adv_window is None:
            return False
        first, end = self.adv_window
        return epoch >= first and (end is None or epoch < end)


class CosineClassifier(nn.Module):
    """One direction for each class: the phi of Eq. 17; losses normalise features and directions.

    Args:
        classes: `G`.
        dim: `D`.

    Attributes:
        weight: `(G, D)`, Xavier-uniform as in the official codes of CCAFL and CAL.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, dim)))


def classifier_loss(
    features: Tensor, classifier: CosineClassifier, labels: Tensor, temperature: float
) -> Tensor:
    """`L_GID` (Eq. 17), for the classifier alone: features are fixed.

    Args:
        features: `(B, D)`, any scale.
        classifier: Of `G` classes.
        labels: `(B,)` int64; negative: left out.
        temperature: tau.
    """
    loss: Tensor = camera_classifier_loss(
        features.detach(), classifier.weight, labels, temperature=temperature
    )
    return loss


def ical_loss(
    features: Tensor,
    classifier: CosineClassifier,
    person: Tensor,
    pseudo: Tensor,
    camera_of: Tensor,
    options: ICALOptions,
) -> Tensor:
    """`L_ICAL` (Eq. 18-19), for the encoder alone: the classifier is fixed.

    Args:
        features: `(B, D)`, any scale.
        classifier: Of `G` classes.
        person: `(B,)` int64 accumulated labels.
        pseudo: `(G,)` int64; -1: no partner, samples are left out.
        camera_of: `(G,)` int64.
        options: Of the loss.

    Returns:
        The mean over the samples that take part, unweighted.
    """
    loss: Tensor = camera_adversarial_loss(
        features,
        classifier.weight.detach(),
        person,
        pseudo,
        camera_of,
        epsilon=options.epsilon,
        temperature=options.temperature,
        margin=options.arcface_margin,
        same_camera_boost=options.same_camera_boost,
        linked=options.linked,
    )
    return loss
