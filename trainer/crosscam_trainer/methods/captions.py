"""Supervised training of image and text tower together, from identities and captions.

For generated people, whose looks are known in words (`crosscam_trainer.people`), and for models
that start from random weights: where no pretrained text tower gives CLIP-ReID's and CCAFL's prompts
a meaning, captions do. The losses are those of CLIP-ReID's second stage on identities,

    L = w_id L_id + w_tri L_tri + w_c (L_i2c + L_c2i) / 2

with CLIP's contrast of pictures and captions (Radford et al., ICML 2021, Fig. 3) in place of
learned prompts. Pictures of one outfit share a caption; as in supervised contrast (Khosla et al.,
NeurIPS 2020, Eq. 2) a caption has all of them for positives.

Captions tell colours and garments apart, which no identity label names: features that answer them
see through the colours of a camera.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn
from torch.nn import functional

from crosscam_kernels import triplet_loss
from crosscam_kernels.errors import InputError
from crosscam_trainer.data.samplers import PersonSampler
from crosscam_trainer.methods.base import Method, Part, Stage
from crosscam_trainer.methods.identity import LinearClassifier, identity_loss
from crosscam_trainer.methods.labels import cameras_of_pictures, train_labels, unit
from crosscam_trainer.methods.prompts_stage import text_tower
from crosscam_trainer.methods.requirements import need_clothes, say_naive, trainable
from crosscam_trainer.recipe import OptimiserRecipe, Share, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.methods.base import Run
    from crosscam_trainer.recipe import BatchRecipe, Recipe

OPTIMISER = OptimiserRecipe(
    name="adamw", lr=1e-3, weight_decay=0.02, bias_lr=1.0, warmup_epochs=1, schedule="cosine"
)
"""For random weights."""

_TOWERS = "towers"
_MOST_LOGIT = 100.0  # largest factor on cosines, as CLIP clips it


class Options(Strict):
    """Training with captions."""

    epochs: PositiveInt = 40
    identities: Literal["people", "outfits"] = Field(
        default="people",
        description="'outfits': who changes clothes is somebody else, for models that find people "
        "on the same day",
    )
    id_weight: NonNegativeFloat = Field(default=1.0, description="of L_id, on the final feature")
    joint_id_weight: NonNegativeFloat = Field(default=0.0, description="of L_id, on the joint one")
    triplet_weight: NonNegativeFloat = Field(default=1.0, description="of L_tri")
    caption_weight: NonNegativeFloat = Field(default=1.0, description="of the captions' contrast")
    margin: NonNegativeFloat | None = Field(default=None, description="of L_tri; None: soft")
    label_smoothing: Share = Field(default=0.1, description="of L_id")
    temperature: PositiveFloat = Field(default=0.07, description="first one of the contrast")
    across_cameras: bool = Field(
        default=True, description="spread a person's pictures in a batch over cameras"
    )
    optimiser: OptimiserRecipe = OPTIMISER


class CaptionHeads(nn.Module):
    """Classifiers of identities, and the contrast's learned factor.

    Args:
        final_dim: `D`.
        joint_dim: `J`.
        people: Number of identities.
        temperature: First one.
    """

    def __init__(self, final_dim: int, joint_dim: int, people: int, temperature: float) -> None:
        super().__init__()
        self.final = LinearClassifier(final_dim, people)
        self.joint = LinearClassifier(joint_dim, people)
        self.log_factor = nn.Parameter(torch.tensor(-math.log(temperature)))


def caption_loss(joint: Tensor, texts: Tensor, which: Tensor, factor: Tensor) -> Tensor:
    """Return `(L_i2c + L_c2i) / 2` of a batch.

    Args:
        joint: `(B, J)` of pictures.
        texts: `(U, J)` of the different captions of the batch.
        which: `(B,)` int64, caption of each picture; every caption has one at least.
        factor: Scalar, the inverse temperature.
    """
    logits = factor * unit(joint) @ unit(texts).T
    to_caption = functional.cross_entropy(logits, which)
    log_p = functional.log_softmax(logits, 0)
    own = functional.one_hot(which, len(texts)).to(log_p.dtype)
    to_picture = -((log_p * own).sum(0) / own.sum(0)).mean()
    return (to_caption + to_picture) / 2


class CaptionStage(Stage):
    """Image tower, text tower and classifiers, with one optimiser.

    Args:
        run: What it is trained for; the text tower is unfrozen where captions count.
        options: How.
        batch: Sizes of batches.

    Attributes:
        heads: See `CaptionHeads`.
        text: The text tower.
    """

    name = "captions"

    def __init__(self, run: Run, options: Options, batch: BatchRecipe) -> None:
        self.epochs = options.epochs
        self._options, self._batch = options, batch
        self._model, self._seed = run.model, run.seed
        labels = train_labels(run.data, run.device)
        by_outfit = options.identities == "outfits"
        self._identity = labels.clothes if by_outfit else labels.person
        self._camera = labels.camera
        number = labels.clothes_count if by_outfit else labels.people
        sizes = run.model.final_dim, run.model.joint_dim
        self.heads = CaptionHeads(*sizes, number, options.temperature).to(run.device)
        self.text = text_tower(run) if options.caption_weight else None
        self.trains_text = self.text is not None
        if self.text is None:
            return
        cast("nn.Module", self.text).requires_grad_(True)
        captions = [sample.caption or "" for sample in run.data.train]
        different = sorted(set(captions))
        place = {caption: k for k, caption in enumerate(different)}
        self._caption = torch.tensor([place[c] for c in captions], device=run.device)
        self._tokens = self.text.tokens(different).to(run.device)

    def parts(self) -> Mapping[str, Part]:
        """Return towers and heads together: one optimiser."""
        parameters = trainable(self._model) + trainable(self.heads)
        if self.text is not None:
            words = trainable(cast("nn.Module", self.text))
            parameters += tuple((f"text.{name}", value) for name, value in words)
        return {_TOWERS: Part(parameters, self._options.optimiser)}

    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        """Return P people by K pictures, of different cameras where that can be."""
        across = self._camera.cpu().numpy() if self._options.across_cameras else None
        return PersonSampler(
            self._identity.cpu().numpy(),
            self._batch.people,
            self._batch.pictures,
            across=across,
            seed=self._seed,
            rank=rank,
            world_size=world_size,
            batches=self._batch.iterations,
        )

    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Take a step of everything."""
        options, person = self._options, self._identity[batch["index"]]
        features = run.model(batch["image"], cameras_of_pictures(batch))
        smoothing = options.label_smoothing
        parts = {
            "id": identity_loss(features.final_bn, self.heads.final, person, smoothing),
            "triplet": triplet_loss(features.final, person, margin=options.margin),
        }
        total = options.id_weight * parts["id"] + options.triplet_weight * parts["triplet"]
        if options.joint_id_weight:
            parts["joint_id"] = identity_loss(
                features.joint_bn, self.heads.joint, person, smoothing
            )
            total = total + options.joint_id_weight * parts["joint_id"]
        if self.text is not None:
            worn, which = self._caption[batch["index"]].unique(return_inverse=True)
            tokens = self._tokens[worn]
            texts = self.text(self.text.embed(tokens), tokens).float()
            factor = self.heads.log_factor.exp().clamp(max=_MOST_LOGIT)
            parts["caption"] = caption_loss(features.joint, texts, which, factor)
            total = total + options.caption_weight * parts["caption"]
        run.minimise(_TOWERS, total)
        return {name: loss.detach() for name, loss in parts.items()}

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return heads and text tower."""
        found: list[tuple[str, nn.Module]] = [("heads", self.heads)]
        if self.text is not None:
            found.append(("text", cast("nn.Module", self.text)))
        return found


class Captions(Method):
    """Supervised training with captions.

    Args:
        recipe: Of the run.
        options: Of the method.
    """

    name = "captions"

    def __init__(self, recipe: Recipe, options: Options) -> None:
        self._batch, self._options = recipe.batch, options

    def check(self, data: ReIDData) -> None:
        """Refuse data without captions, where they count."""
        say_naive(self.name, data)
        if self._options.identities == "outfits":
            need_clothes(self.name, data)
        missing = sum(not sample.caption for sample in data.train)
        if missing and self._options.caption_weight:
            raise InputError(
                f"{missing} of {len(data.train)} training pictures have no caption",
                expected="a caption for every one, as `crosscam simulate people` writes them",
                fix="method.caption_weight=0, or a method without captions such as clip_reid",
            )

    def stages(self, run: Run) -> list[Stage]:
        """Return the only stage."""
        return [CaptionStage(run, self._options, self._batch)]


def build(recipe: Recipe, options: Options) -> Captions:
    """Make the method of a recipe."""
    return Captions(recipe, options)
