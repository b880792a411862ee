"""CAL: clothes-based adversarial loss, the Simple-CCReID baseline.

Gu, Chang, Ma, Bai, Shan and Chen, "Clothes-Changing Person Re-identification with RGB Modality
Only", CVPR 2022. A classifier learns outfits from fixed features (their Eq. 3); the encoder is then
trained until a person's outfits are equally close (Eq. 4-5), beside an identity loss. It has no
texts and needs no masks. The classifier and its adversary are those of `ical` with outfits in place
of accumulated labels, people in place of pseudo identities, and no cameras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from crosscam_kernels import camera_adversarial_loss, triplet_loss
from crosscam_trainer.data.samplers import PersonSampler
from crosscam_trainer.methods.base import Method, Part, Stage
from crosscam_trainer.methods.ical import CLASSIFIER_OPTIMISER, CosineClassifier, classifier_loss
from crosscam_trainer.methods.identity import LinearClassifier, identity_loss
from crosscam_trainer.methods.labels import cameras_of_pictures, train_labels
from crosscam_trainer.methods.requirements import need_clothes, say_naive, trainable
from crosscam_trainer.recipe import OptimiserRecipe, Share, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.methods.base import Run
    from crosscam_trainer.recipe import BatchRecipe, Recipe

CAL_OPTIMISER = OptimiserRecipe(
    lr=3.5e-4, weight_decay=5e-4, bias_lr=1.0, schedule="steps", milestones=(20, 40)
)
"""Simple-CCReID: Adam 3.5e-4, a tenth from epochs 20 and 40, no warm-up."""

_ENCODER, _CLASSIFIER = "encoder", "classifier"


class Options(Strict):
    """Options of CAL; by default those of its official code."""

    epochs: PositiveInt = 60
    clothes_start: NonNegativeInt = Field(
        default=25, description="epoch from which outfits are classified"
    )
    adversarial_start: NonNegativeInt = Field(default=25, description="epoch of the first L_CA")
    adversarial_weight: NonNegativeFloat = Field(default=1.0, description="of L_CA")
    epsilon: Share = Field(default=0.1, description="share of the target for all own outfits")
    temperature: PositiveFloat = Field(default=1 / 16, description="tau of both clothes losses")
    triplet_weight: NonNegativeFloat = Field(
        default=0.0, description="of a batch-hard triplet loss; 1 for LaST and DeepChange"
    )
    margin: NonNegativeFloat = Field(default=0.3, description="of the triplet loss")
    label_smoothing: Share = Field(default=0.1, description="of the identity loss")
    optimiser: OptimiserRecipe = CAL_OPTIMISER
    classifier_optimiser: OptimiserRecipe = CLASSIFIER_OPTIMISER


def clothes_adversarial_loss(
    features: Tensor,
    directions: Tensor,
    clothes: Tensor,
    person_of_clothes: Tensor,
    *,
    epsilon: float,
    temperature: float,
) -> Tensor:
    """`L_CA`: a picture is to be equally close to all outfits of its person (CAL, Eq. 4-5).

    Positives are all outfits of the person, with ``1 - epsilon`` of the target on the own one and
    `epsilon` spread over all; the denominator of each holds it and the outfits of other people.

    Args:
        features: `(B, D)`, any scale.
        directions: `(O, D)`, one for each outfit; fixed.
        clothes: `(B,)` int64; negative: left out.
        person_of_clothes: `(O,)` int64; negative: belongs to nobody known, samples are left out.
        epsilon: In [0, 1].
        temperature: tau.

    Returns:
        The mean over the samples that take part.
    """
    loss: Tensor = camera_adversarial_loss(
        features,
        directions.detach(),
        clothes,
        person_of_clothes,
        epsilon=epsilon,
        temperature=temperature,
    )
    return loss


class ClothesStage(Stage):
    """The one stage of CAL.

    Args:
        run: What it is trained for.
        options: How.
        batch: Sizes of batches.

    Attributes:
        identities: Classifier of people.
        outfits: Classifier of outfits.
    """

    name = "clothes-adversarial"

    def __init__(self, run: Run, options: Options, batch: BatchRecipe) -> None:
        self.epochs = options.epochs
        self._options, self._batch = options, batch
        self._model, self._seed = run.model, run.seed
        self.labels = train_labels(run.data, run.device)
        dim = run.model.final_dim
        self.identities = LinearClassifier(dim, self.labels.people).to(run.device)
        self.outfits = CosineClassifier(self.labels.clothes_count, dim).to(run.device)
        self._person_of = self.labels.person_of_clothes

    def parts(self) -> Mapping[str, Part]:
        """Return encoder with identities, and outfits with an optimiser of their own."""
        encoder = trainable(self._model) + trainable(self.identities)
        return {
            _ENCODER: Part(encoder, self._options.optimiser),
            _CLASSIFIER: Part(trainable(self.outfits), self._options.classifier_optimiser),
        }

    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        """Return P people by K pictures, as many of their outfits as possible."""
        return PersonSampler(
            self.labels.person.cpu().numpy(),
            self._batch.people,
            self._batch.pictures,
            across=self.labels.clothes.cpu().numpy(),
            seed=self._seed,
            rank=rank,
            world_size=world_size,
            batches=self._batch.iterations,
        )

    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Take a step of the outfits' classifier, then one of the encoder."""
        options, person, clothes = self._options, batch["person"], batch["clothes"]
        features = run.model(batch["image"], cameras_of_pictures(batch))
        f = features.final_bn
        parts = {}
        if epoch >= options.clothes_start:
            parts["clothes"] = classifier_loss(f, self.outfits, clothes, options.temperature)
            run.minimise(_CLASSIFIER, parts["clothes"])
        parts["id"] = identity_loss(f, self.identities, person, options.label_smoothing)
        total = parts["id"]
        if options.triplet_weight > 0:
            parts["triplet"] = triplet_loss(features.final, person, margin=options.margin)
            total = total + options.triplet_weight * parts["triplet"]
        if epoch >= options.adversarial_start:
            parts["ca"] = clothes_adversarial_loss(
                f,
                self.outfits.weight,
                clothes,
                self._person_of,
                epsilon=options.epsilon,
                temperature=options.temperature,
            )
            total = total + options.adversarial_weight * parts["ca"]
        run.minimise(_ENCODER, total)
        return {name: loss.detach() for name, loss in parts.items()}

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return both classifiers."""
        return (("identities", self.identities), ("outfits", self.outfits))


class CAL(Method):
    """Clothes-based adversarial learning.

    Args:
        recipe: Of the run.
        options: Of the method.
    """

    name = "cal"

    def __init__(self, recipe: Recipe, options: Options) -> None:
        self._batch, self._options = recipe.batch, options

    def check(self, data: ReIDData) -> None:
        """Refuse data without outfits."""
        need_clothes(self.name, data)
        say_naive(self.name, data)

    def stages(self, run: Run) -> list[Stage]:
        """Return the one stage."""
        return [ClothesStage(run, self._options, self._batch)]


def build(recipe: Recipe, options: Options) -> CAL:
    """Make the method of a recipe."""
    return CAL(recipe, options)
