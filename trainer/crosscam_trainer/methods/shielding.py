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

import math
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

    from crosscam_trainer.methods.base import Run
    from crosscam_trainer.models.reid import ReIDModel
    from crosscam_trainer.models.types import Features


class IFPOptions(Strict):
    """Invariant feature prompting: I2I. I2T is CLIP-ReID's loss, against other texts."""

    i2i_weight: NonNegativeFloat = Field(default=1.0, description="of L_i2i; GUESS")
    features: Literal["both", "joint"] = Field(
        default="both",
        description="which are pulled: the one that people are found by and the one that texts "
        "are compared with, or the latter alone; GUESS",
    )


class CFMOptions(Strict):
    """Clothes feature minimisation; all numbers are GUESSES, after CAL."""

    feature: Literal["final_bn", "joint"] = Field(
        default="final_bn",
        description="which is examined: the one that people are found by, or the one that texts "
        "are compared with; GUESS",
    )
    start: NonNegativeInt = Field(default=48, description="first epoch with L_cfm; GUESS: 40 %")
    weight: NonNegativeFloat = Field(default=1.0, description="of L_cfm; GUESS")
    minimise: Literal["uniform", "adversarial", "orthogonal"] = Field(
        default="uniform",
        description="the head shall find all outfits equally likely; or CAL's loss through the "
        "head; or the squared cosine to the span of clothes texts; GUESS",
    )
    epsilon: Share = Field(default=0.1, description="of `adversarial`, as CAL's; GUESS")
    temperature: PositiveFloat = Field(default=1 / 16, description="as CAL's; GUESS")
    span: Annotated[int, Field(ge=1)] = Field(
        default=16, description="directions of the span of clothes texts; GUESS"
    )
    optimiser: OptimiserRecipe = Field(
        default=CLASSIFIER_OPTIMISER, description="of the examining head"
    )


def image_to_image_loss(feature: Tensor, shielded: Tensor) -> Tensor:
    """`L_i2i`: the picture's feature is to be that of its shielding image (IFP; GUESS: cosine).

    Args:
        feature: `(B, D)`.
        shielded: `(B, D)` of the shielding images, fixed.

    Returns:
        The mean of ``1 - cos``.
    """
    return 1 - functional.cosine_similarity(feature, shielded.detach(), dim=1).mean()


class Shielded:
    """What the encoder made of the shielding images of the training split as the epoch began.

    Args:
        options: Which features are kept.

    Attributes:
        rows: `(N, …)` by name of the feature; empty where nothing is pulled.
    """

    def __init__(self, options: IFPOptions) -> None:
        self._options = options
        self.rows: dict[str, Tensor] = {}

    def look(self, run: Run) -> None:
        """See all shielding images with the encoder as it is now."""
        if self._options.i2i_weight > 0:
            found = run.extract("shielded")
            names = ("final_bn", "joint") if self._options.features == "both" else ("joint",)
            self.rows = {name: getattr(found, name) for name in names}

    def loss(self, features: Features, index: Tensor) -> Tensor:
        """Return `L_i2i` of a batch, summed over features, unweighted.

        Args:
            features: Of the batch.
            index: `(B,)` int64, positions in the training split.
        """
        total = features.joint.new_zeros(())
        for name, rows in self.rows.items():
            total = total + image_to_image_loss(getattr(features, name), rows[index])
        return total

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows by name."""
        return {f"shielded.{name}": rows for name, rows in self.rows.items()}

    def load_state_dict(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Take over the rows that a state holds."""
        head = "shielded."
        self.rows = {
            name.removeprefix(head): rows.to(device)
            for name, rows in state.items()
            if name.startswith(head)
        }


class ClothesExaminer(nn.Module):
    """Reads clothes texts from features: how much they tell (CFM; GUESS: one linear map).

    Args:
        dim: `D`, of the features.
        joint_dim: `J`, of the texts; None: `D`.

    Attributes:
        weight: `(J, D)`; starts as the identity where features and texts share a space, else
            Xavier-uniform.
    """

    def __init__(self, dim: int, joint_dim: int | None = None) -> None:
        super().__init__()
        start = torch.eye(dim)
        if joint_dim is not None:
            start = nn.init.xavier_uniform_(torch.empty(joint_dim, dim))
        self.weight = nn.Parameter(start)

    @classmethod
    def of(cls, model: ReIDModel, options: CFMOptions) -> ClothesExaminer:
        """Make one for the feature that is examined."""
        if options.feature == "joint":
            return cls(model.joint_dim)
        return cls(model.final_dim, model.joint_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `(B, D)` to where texts are, in float32."""
        return self._apply_map(features, self.weight)

    def fixed(self, features: Tensor) -> Tensor:
        """Map features with gradients to them, and none to the map."""
        return self._apply_map(features, self.weight.detach())

    @staticmethod
    def _apply_map(features: Tensor, weight: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return features.to(weight.dtype) @ weight.T


def examine_loss(
    examiner: ClothesExaminer,
    features: Tensor,
    clothes: Tensor,
    texts: Tensor,
    temperature: float,
) -> Tensor:
    """`L_examine`, for the examiner alone: name the outfit from the fixed feature.

    Args:
        examiner: What learns.
        features: `(B, D)`; no gradient reaches them.
        clothes: `(B,)` int64; negative: left out.
        texts: `(O, J)` of outfits, fixed.
        temperature: tau, on cosines.
    """
    loss: Tensor = memory_infonce(
        unit(examiner(features.detach())), unit(texts), clothes, temperature=temperature
    )
    return loss


def minimise_loss(
    examiner: ClothesExaminer,
    features: Tensor,
    clothes: Tensor,
    texts: Tensor,
    person_of_clothes: Tensor,
    options: CFMOptions,
) -> Tensor:
    """`L_cfm`, for the encoder alone: the outfit shall not be read.

    CAL's loss (`adversarial`) tells a person's outfits from those of others, by directions that
    have learned to. The texts here are those of clothes and nothing else, fixed: whoever is pulled
    to the own ones and away from the others' exposes clothes, and the figures say so
    (docs/guides/methods-compared.md). Hence `uniform` by default.

    Args:
        examiner: Fixed.
        features: `(B, D)`.
        clothes: `(B,)` int64; negative: left out; for `adversarial` only.
        texts: `(O, J)` of outfits, fixed.
        person_of_clothes: `(O,)` int64; negative: samples in this outfit are left out; for
            `adversarial` only.
        options: Which loss, and its numbers.
    """
    if options.minimise == "uniform":
        return confusion(examiner.fixed(features), texts, options.temperature)
    if options.minimise == "orthogonal":
        return clothes_share(examiner.fixed(features), clothes_span(texts, options.span))
    return clothes_adversarial_loss(
        examiner.fixed(features),
        texts,
        clothes,
        person_of_clothes,
        epsilon=options.epsilon,
        temperature=options.temperature,
    )


def confusion(examined: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """Return the mean divergence of the uniform distribution from that over outfits.

    It is 0 when all outfits are equally likely, so that nothing is left to read: the domain
    confusion of Tzeng et al., "Simultaneous Deep Transfer Across Domains and Tasks", ICCV 2015.

    Args:
        examined: `(B, J)`, what the examiner makes of features.
        texts: `(O, J)` of outfits, fixed.
        temperature: tau, on cosines.
    """
    with torch.autocast(examined.device.type, enabled=False):
        logits = unit(examined) @ unit(texts).to(examined.dtype).T / temperature
        return -logits.log_softmax(1).mean() - math.log(len(texts))


def differences(texts: Tensor) -> Tensor:
    """Return texts less their mean (GUESS).

    What all prompts share, ``A photo of the … clothes.``, makes most of their length: their cosines
    are near 1, and no examiner could tell them apart by them.

    Args:
        texts: `(O, J)`.
    """
    return texts - texts.mean(0)


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
