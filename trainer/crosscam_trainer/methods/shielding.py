"""IFP and CFM, the two halves of CCAF, for the methods that use them.

RECONSTRUCTION. Of "CLIP-Driven Cloth-Agnostic Feature Learning for Cloth-Changing Person
Re-Identification" (Li et al., arXiv 2406.09198) only the abstract and an outside review could be
read. Known are: clothes pixels set to zero give a *shielding image*; prompts of each identity are
learned against its features; the picture's feature is aligned with text (I2T) and with the
shielding image's feature (I2I); prompts of the clothes' pixels are learned, and with them the
encoder's clothes information is examined and minimised in turns, at no cost in use. What is marked
GUESS below is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import nn
from torch.nn import functional

from crosscam_kernels import memory_infonce
from crosscam_trainer.methods.cal import clothes_adversarial_loss
from crosscam_trainer.methods.ical import CLASSIFIER_OPTIMISER
from crosscam_trainer.methods.labels import unit
from crosscam_trainer.recipe import OptimiserRecipe, Share, Strict

if TYPE_CHECKING:
    from torch import Tensor


class IFPOptions(Strict):
    """Invariant feature prompting: I2I. I2T is CLIP-ReID's loss, against other texts."""

    i2i_weight: NonNegativeFloat = Field(default=1.0, description="of L_i2i; GUESS")


class CFMOptions(Strict):
    """Clothes feature minimisation; all numbers are GUESSES, after CAL."""

    start: NonNegativeInt = Field(default=48, description="first epoch with L_cfm; GUESS: 40 %")
    weight: NonNegativeFloat = Field(default=1.0, description="of L_cfm; GUESS")
    epsilon: Share = Field(default=0.1, description="as CAL's; GUESS")
    temperature: PositiveFloat = Field(default=1 / 16, description="as CAL's; GUESS")
    minimise: Literal["adversarial", "orthogonal"] = Field(
        default="adversarial",
        description="CAL's loss through the head, or the squared cosine to the span of clothes "
        "texts; GUESS",
    )
    span: Annotated[int, Field(ge=1)] = Field(
        default=16, description="directions of the span of clothes texts; GUESS"
    )
    optimiser: OptimiserRecipe = Field(
        default=CLASSIFIER_OPTIMISER, description="of the examining head"
    )


def image_to_image_loss(joint: Tensor, shielded: Tensor) -> Tensor:
    """`L_i2i`: the picture's feature is to be that of its shielding image (IFP; GUESS: cosine).

    Args:
        joint: `(B, J)`.
        shielded: `(B, J)` of the shielding images, fixed.

    Returns:
        The mean of ``1 - cos``.
    """
    return 1 - functional.cosine_similarity(joint, shielded.detach(), dim=1).mean()


class ClothesExaminer(nn.Module):
    """Reads clothes texts from features: how much they tell (CFM; GUESS: one linear map).

    Args:
        dim: `J`.

    Attributes:
        weight: `(J, J)`, starts as the identity: features and texts share a space already.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim))

    def forward(self, joint: Tensor) -> Tensor:
        """Map features `(B, J)` to where texts are, in float32."""
        return self._apply_map(joint, self.weight)

    def fixed(self, joint: Tensor) -> Tensor:
        """Map features with gradients to them, and none to the map."""
        return self._apply_map(joint, self.weight.detach())

    @staticmethod
    def _apply_map(joint: Tensor, weight: Tensor) -> Tensor:
        with torch.autocast(joint.device.type, enabled=False):
            return joint.to(weight.dtype) @ weight.T


def examine_loss(
    examiner: ClothesExaminer,
    joint: Tensor,
    clothes: Tensor,
    texts: Tensor,
    temperature: float,
) -> Tensor:
    """`L_examine`, for the examiner alone: name the outfit from the fixed feature.

    Args:
        examiner: What learns.
        joint: `(B, J)`; no gradient reaches it.
        clothes: `(B,)` int64; negative: left out.
        texts: `(O, J)` of outfits, fixed.
        temperature: tau, on cosines.
    """
    loss: Tensor = memory_infonce(
        unit(examiner(joint.detach())), unit(texts), clothes, temperature=temperature
    )
    return loss


def minimise_loss(
    examiner: ClothesExaminer,
    joint: Tensor,
    clothes: Tensor,
    texts: Tensor,
    person_of_clothes: Tensor,
    options: CFMOptions,
) -> Tensor:
    """`L_cfm`, for the encoder alone: the outfit shall not be read, the person shall.

    Args:
        examiner: Fixed.
        joint: `(B, J)`.
        clothes: `(B,)` int64; negative: left out.
        texts: `(O, J)` of outfits, fixed.
        person_of_clothes: `(O,)` int64; negative: samples in this outfit are left out.
        options: Which loss, and its numbers.
    """
    if options.minimise == "orthogonal":
        return clothes_share(joint, clothes_span(texts, options.span))
    return clothes_adversarial_loss(
        examiner.fixed(joint),
        texts,
        clothes,
        person_of_clothes,
        epsilon=options.epsilon,
        temperature=options.temperature,
    )


def clothes_span(texts: Tensor, directions: int) -> Tensor:
    """Return an orthonormal basis `(J, r)` of the main directions in which clothes texts differ."""
    centred = texts - texts.mean(0)
    left, size, _ = torch.linalg.svd(centred.T, full_matrices=False)
    rank = int((size > 1e-6 * size.max()).sum())
    return left[:, : min(directions, rank)]


def clothes_share(joint: Tensor, basis: Tensor) -> Tensor:
    """Return the mean squared cosine of features and their projection on a span (Ortho-ReID)."""
    with torch.autocast(joint.device.type, enabled=False):
        return (unit(joint) @ basis).square().sum(1).mean()
