"""CLIP-ReID: supervised, with a learned prompt for each identity.

Li, Sun and Li, "CLIP-ReID: Exploiting Vision-Language Model for Image Re-Identification without
Concrete Text Labels", AAAI 2023. Stage 1 learns prompts (`prompts_stage`), stage 2 the image
encoder with ``L = w_id L_id + w_tri L_tri + w_i2t L_i2tce``, as its official code weighs them.

On intra-camera labels it is the naive baseline: a person in two cameras counts as two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import nn

from crosscam_kernels import triplet_loss
from crosscam_trainer.data.samplers import PersonSampler
from crosscam_trainer.methods.base import Method, Part, Stage
from crosscam_trainer.methods.identity import (
    LinearClassifier,
    identity_loss,
    image_to_text_loss,
)
from crosscam_trainer.methods.labels import cameras_of_pictures, train_labels
from crosscam_trainer.methods.prompts_stage import PromptOptions, PromptStage
from crosscam_trainer.methods.requirements import say_naive, trainable
from crosscam_trainer.recipe import OptimiserRecipe, Share, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.methods.base import Run
    from crosscam_trainer.models.types import Features
    from crosscam_trainer.recipe import BatchRecipe, Recipe

CLIP_REID_OPTIMISER = OptimiserRecipe(
    lr=3.5e-4,
    weight_decay=5e-4,
    warmup_epochs=10,
    warmup_from=0.01,
    schedule="steps",
    milestones=(40, 70),
)
"""Of the ResNet-50; ViT-B/16: 5e-6, weight decay 1e-4, warm-up from 0.1, milestones 30 and 50."""

_ENCODER = "encoder"


class SupervisedOptions(Strict):
    """Weights of the losses on known identities."""

    id_weight: NonNegativeFloat = Field(
        default=1.0, description="of L_id, on both features; ResNet-50 1.0, ViT-B/16 0.25"
    )
    triplet_weight: NonNegativeFloat = Field(default=1.0, description="of L_tri, on three features")
    i2t_weight: NonNegativeFloat = Field(default=1.0, description="of L_i2tce")
    margin: NonNegativeFloat = Field(default=0.3, description="of L_tri")
    label_smoothing: Share = Field(default=0.1, description="of L_id and L_i2tce")


class Options(SupervisedOptions):
    """Options of CLIP-ReID; by default those of its ResNet-50."""

    epochs: PositiveInt = Field(default=120, description="of stage 2; ViT-B/16: 60")
    prompts: PromptOptions = PromptOptions()
    optimiser: OptimiserRecipe = CLIP_REID_OPTIMISER


class SupervisedHeads(nn.Module):
    """The two classifiers of CLIP-ReID, on the final and on the joint feature.

    Args:
        final_dim: `D`.
        joint_dim: `J`.
        people: Number of identities.
    """

    def __init__(self, final_dim: int, joint_dim: int, people: int) -> None:
        super().__init__()
        self.final = LinearClassifier(final_dim, people)
        self.joint = LinearClassifier(joint_dim, people)


def supervised_losses(
    features: Features,
    heads: SupervisedHeads,
    texts: Tensor,
    person: Tensor,
    options: SupervisedOptions,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return CLIP-ReID's stage-2 loss and its parts, unweighted.

    Args:
        features: Of the batch.
        heads: Classifiers.
        texts: `(G, J)` of stage 1.
        person: `(B,)` int64.
        options: Weights.
    """
    smoothing = options.label_smoothing
    parts = {
        "id": identity_loss(features.final_bn, heads.final, person, smoothing)
        + identity_loss(features.joint_bn, heads.joint, person, smoothing),
        "triplet": sum(
            triplet_loss(x, person, margin=options.margin)
            for x in (features.previous, features.final, features.joint)
        ),
        "i2tce": image_to_text_loss(features.joint, texts, person, smoothing),
    }
    total = (
        options.id_weight * parts["id"]
        + options.triplet_weight * parts["triplet"]
        + options.i2t_weight * parts["i2tce"]
    )
    return total, parts


class SupervisedStage(Stage):
    """Stage 2 of CLIP-ReID: the image encoder and its classifiers.

    Args:
        run: What it is trained for.
        options: How.
        batch: Sizes of batches.
        prompts: Stage 1, whose texts are fixed from here on.

    Attributes:
        heads: Classifiers.
    """

    name = "supervised"

    def __init__(
        self, run: Run, options: Options, batch: BatchRecipe, prompts: PromptStage
    ) -> None:
        self.epochs = options.epochs
        self._options, self._batch, self._prompts = options, batch, prompts
        self._model, self._seed = run.model, run.seed
        self.labels = train_labels(run.data, run.device)
        sizes = run.model.final_dim, run.model.joint_dim
        self.heads = SupervisedHeads(*sizes, self.labels.people).to(run.device)
        self.texts: Tensor | None = None

    def begin(self, run: Run) -> None:
        """Fix the texts that stage 1 has learned."""
        self.texts = self._prompts.texts()

    def parts(self) -> Mapping[str, Part]:
        """Return encoder and classifiers together: one optimiser."""
        parameters = trainable(self._model) + trainable(self.heads)
        return {_ENCODER: Part(parameters, self._options.optimiser)}

    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        """Return P people by K pictures."""
        return PersonSampler(
            self.labels.person.cpu().numpy(),
            self._batch.people,
            self._batch.pictures,
            seed=self._seed,
            rank=rank,
            world_size=world_size,
            batches=self._batch.iterations,
        )

    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Take a step of encoder and classifiers."""
        assert self.texts is not None
        features = run.model(batch["image"], cameras_of_pictures(batch))
        total, parts = supervised_losses(
            features, self.heads, self.texts, batch["person"], self._options
        )
        run.minimise(_ENCODER, total)
        return {name: loss.detach() for name, loss in parts.items()}

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return the classifiers."""
        return (("heads", self.heads),)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the texts."""
        return {} if self.texts is None else {"texts": self.texts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the texts."""
        self.texts = state["texts"].to(self.labels.person.device)


class CLIPReID(Method):
    """CLIP-ReID.

    Args:
        recipe: Of the run.
        options: Of the method.
    """

    name = "clip_reid"

    def __init__(self, recipe: Recipe, options: Options) -> None:
        self._batch, self._options = recipe.batch, options

    def check(self, data: ReIDData) -> None:
        """Accept any labels; say so when they hold inside a camera only."""
        say_naive(self.name, data)

    def stages(self, run: Run) -> list[Stage]:
        """Return prompt learning, then the image encoder."""
        labels = train_labels(run.data, run.device)
        prompts = PromptStage(run, self._options.prompts, labels.people, labels.person)
        return [prompts, SupervisedStage(run, self._options, self._batch, prompts)]


def build(recipe: Recipe, options: Options) -> CLIPReID:
    """Make the method of a recipe."""
    return CLIPReID(recipe, options)
