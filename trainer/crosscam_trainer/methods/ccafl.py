"""CCAFL: camera-agnostic features from labels that hold inside their camera only.

Tan, Gong and Xiang, "CLIP-based Camera-Agnostic Feature Learning for Intra-camera Supervised Person
Re-Identification", IEEE TCSVT 35(5), 2025 (arXiv 2409.19563). The equations are in

=============  =================================================================================
Eq. 1-3        `prompts_stage`: one prompt for each person of each camera, encoders frozen
Eq. 4-11       `icdl`: hybrid memory of each camera, L_intra
Eq. 12         `association`: which labels of different cameras are one person
Eq. 13-16      `inter_camera`: memory of pseudo identities, L_inter
Eq. 17-19      `ical`: L_GID for the classifier, L_ICAL for the encoder
Eq. 20         `CameraAgnosticStage.step`
=============  =================================================================================

What the official code adds or does otherwise is a switch, off by default; see the options and
docs/reference/methods.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from crosscam_trainer.data.samplers import PersonSampler
from crosscam_trainer.methods.association import ALONE, Association, associate, pair_quality
from crosscam_trainer.methods.base import Extracted, Method, Part, Stage
from crosscam_trainer.methods.ical import CosineClassifier, ICALOptions, classifier_loss, ical_loss
from crosscam_trainer.methods.icdl import HybridMemory, ICDLOptions, icdl_losses
from crosscam_trainer.methods.inter_camera import IdentityMemory, InterOptions, inter_losses
from crosscam_trainer.methods.labels import (
    TrainLabels,
    cameras_of_pictures,
    centroids,
    train_labels,
    unit,
    without_camera_means,
)
from crosscam_trainer.methods.prompts_stage import PromptOptions, PromptStage
from crosscam_trainer.methods.requirements import need_intra_camera_labels, trainable
from crosscam_trainer.recipe import OptimiserRecipe, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.methods.base import Run
    from crosscam_trainer.models.types import Features
    from crosscam_trainer.recipe import BatchRecipe, Recipe

ENCODER_OPTIMISER = OptimiserRecipe(
    lr=3.5e-4,
    weight_decay=5e-4,
    warmup_epochs=10,
    warmup_from=0.01,
    schedule="steps",
    milestones=(40, 50),
    gamma=0.1,
)
"""CCAFL: Adam 3.5e-4, 10 epochs of warm-up, a tenth from epochs 40 and 50."""

_INSTANCES, _ENCODER, _CLASSIFIER = 1, "encoder", "classifier"


class AssociationOptions(Strict):
    """Cross-camera association, Eq. 12."""

    method: Literal["graph", "greedy"] = Field(
        default="graph", description="the paper's graph, or the official code's greedy pairs"
    )
    rate: NonNegativeFloat = Field(
        default=1.7,
        description="closest pairs looked at, for each label; 1.7 Market-1501, 1.5 DukeMTMC, 1.3 "
        "MSMT17",
    )
    threshold: NonNegativeFloat | None = Field(
        default=None, description="T, largest squared distance of unit vectors; None: by the rate"
    )
    one_per_camera: bool = Field(
        default=False, description="forbid identities that hold two labels of one camera"
    )
    centre: bool = Field(
        default=False,
        description="ours: compare features less the mean of their camera, so that one threshold "
        "serves pairs of cameras that look alike and pairs that do not",
    )


class Options(Strict):
    """Options of CCAFL; by default the paper's equations and the official code's numbers."""

    epochs: PositiveInt = Field(default=80, description="stages 2 and 3 together")
    prompts: PromptOptions = PromptOptions()
    intra: ICDLOptions = ICDLOptions()
    association: AssociationOptions = AssociationOptions()
    inter: InterOptions = InterOptions()
    ical: ICALOptions = ICALOptions()
    optimiser: OptimiserRecipe = ENCODER_OPTIMISER


class CameraAgnosticStage(Stage):
    """Stages 2 and 3 of CCAFL with ICAL: one schedule over the image encoder.

    Args:
        run: What it is trained for.
        options: How.
        batch: Sizes of batches.
        prompts: Stage 1, whose texts are fixed from here on.

    Attributes:
        classifier: Phi of Eq. 17, a class for each label.
    """

    name = "camera-agnostic"

    def __init__(
        self, run: Run, options: Options, batch: BatchRecipe, prompts: PromptStage
    ) -> None:
        self.epochs = options.epochs
        self.options, self._batch, self._prompts = options, batch, prompts
        self._model, self._seed = run.model, run.seed
        self.labels: TrainLabels = train_labels(run.data, run.device)
        self.camera_of = self.labels.camera_of
        self.classifier = CosineClassifier(self.labels.people, run.model.final_dim).to(run.device)
        self.texts: Tensor | None = None
        self.pseudo = self.camera_of.new_full((self.labels.people,), ALONE)
        self._hybrid: HybridMemory | None = None
        self._identities: IdentityMemory | None = None

    def begin(self, run: Run) -> None:
        """Fix the texts that stage 1 has learned."""
        self.texts = self._prompts.texts()

    def parts(self) -> Mapping[str, Part]:
        """Return the encoder, and the classifier with an optimiser of its own."""
        return {
            _ENCODER: Part(trainable(self._model), self.options.optimiser),
            _CLASSIFIER: Part(trainable(self.classifier), self.options.ical.optimiser),
        }

    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        """Return P labels by K pictures; a label is of one camera, so batches mix cameras."""
        return PersonSampler(
            self.labels.person.cpu().numpy(),
            self._batch.people,
            self._batch.pictures,
            covers="people",
            seed=self._seed,
            rank=rank,
            world_size=world_size,
            batches=self._batch.iterations,
        )

    def begin_epoch(self, run: Run, epoch: int) -> None:
        """Associate labels (Eq. 12) and build the epoch's memory anew (Eq. 4, or that of Eq. 13).

        An epoch for which fewer than two pseudo identities were found learns inside cameras.
        """
        self.remember(run, epoch, run.extract())

    def remember(self, run: Run, epoch: int, extracted: Extracted) -> None:
        """Do what `begin_epoch` says, from features that were extracted."""
        assert self.texts is not None
        features, person = extracted.final_bn, self.labels.person
        how = self.options.association
        compared = without_camera_means(features, self.labels.camera) if how.centre else features
        vectors = centroids(compared, person, self.labels.people).cpu().numpy()
        found = associate(
            vectors, self.camera_of.cpu().numpy(), **how.model_dump(exclude={"centre"})
        )
        note_association(run, found)
        self.pseudo = self.camera_of.new_tensor(found.pseudo)
        self._hybrid = self._identities = None
        if epoch < self.options.intra.epochs or found.identities < 2:
            rng = np.random.default_rng([run.seed, epoch, _INSTANCES])
            slots = self.options.intra.slots
            self._hybrid = HybridMemory.of(features, person, self.camera_of, slots, rng)
        else:
            self._identities = IdentityMemory.of(
                features, self.texts, person, self.pseudo, found.identities
            )

    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Take a step of the classifier, then one of the encoder (Algorithm 1, Eq. 20)."""
        person, camera = batch["person"], batch["camera"]
        features = run.model(batch["image"], cameras_of_pictures(batch))
        f = unit(features.final_bn)

        gid = classifier_loss(f, self.classifier, person, self.options.ical.temperature)  # Eq. 17
        run.minimise(_CLASSIFIER, gid)

        if self._identities is not None:
            total, parts = inter_losses(
                f, features.joint, person, self._identities, self.options.inter, epoch
            )
        else:
            assert self._hybrid is not None
            assert self.texts is not None
            total, parts = icdl_losses(
                f, features.joint, person, camera, self._hybrid, self.texts, self.options.intra
            )
        if self._identities is not None and self.options.ical.active(epoch):
            parts["ical"] = ical_loss(  # Eq. 18-19
                f, self.classifier, person, self.pseudo, self.camera_of, self.options.ical
            )
            total = total + self.options.ical.weight * parts["ical"]
        total = total + self.further_losses(run, batch, features, epoch, parts)
        run.minimise(_ENCODER, total)  # Eq. 20

        if self._identities is not None:
            inter = self.options.inter
            self._identities.update(f, person, inter.momentum, hardest=inter.hard_update)
        elif self._hybrid is not None:
            self._hybrid.update(f, person, self.options.intra.momentum)
        return {"gid": gid.detach()} | {name: loss.detach() for name, loss in parts.items()}

    def further_losses(
        self,
        run: Run,
        batch: Batch,
        features: Features,
        epoch: int,
        parts: dict[str, Tensor],
    ) -> Tensor | float:
        """Return what methods that build on this one add to Eq. 20, and note it in `parts`."""
        return 0.0

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return the classifier."""
        return (("classifier", self.classifier),)

    def state_dict(self) -> dict[str, Tensor]:
        """Return texts, pseudo identities and the memory of the epoch."""
        state = {} if self.texts is None else {"texts": self.texts}
        state["pseudo"] = self.pseudo
        for memory in (self._hybrid, self._identities):
            if memory is not None:
                state |= memory.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over texts, pseudo identities and memory."""
        device = self.camera_of.device
        self.texts = state["texts"].to(device)
        self.pseudo = state["pseudo"].to(device)
        self._hybrid = self._identities = None
        if "instances" in state:
            self._hybrid = HybridMemory.load(state, self.camera_of)
        if "identity_rows" in state:
            self._identities = IdentityMemory.load(state, device)


class CCAFL(Method):
    """Camera-agnostic feature learning.

    Args:
        recipe: Of the run.
        options: Of the method.
    """

    name = "ccafl"

    def __init__(self, recipe: Recipe, options: Options) -> None:
        self._batch, self._options = recipe.batch, options

    def check(self, data: ReIDData) -> None:
        """Refuse labels that hold across cameras, and data of one camera."""
        need_intra_camera_labels(self.name, data)

    def stages(self, run: Run) -> list[Stage]:
        """Return prompt learning (Eq. 1-3), then the rest (Eq. 4-20)."""
        labels = train_labels(run.data, run.device)
        prompts = PromptStage(
            run, self._options.prompts, labels.people, labels.person, labels.camera
        )
        return [prompts, CameraAgnosticStage(run, self._options, self._batch, prompts)]


def note_association(run: Run, found: Association) -> None:
    """Log how labels were associated, and how well where the truth is known."""
    paired = float(np.mean(found.pseudo != ALONE)) if len(found.pseudo) else 0.0
    figures = {
        "identities": float(found.identities),
        "labels_paired": paired,
        "identities_with_conflict": float(found.conflicts),
    }
    if run.data.intra is not None:
        quality = pair_quality(found.pseudo, run.data.intra.person_of)
        figures |= {"pair_precision": quality.precision, "pair_recall": quality.recall}
    run.note(**{name: value for name, value in figures.items() if not np.isnan(value)})


def build(recipe: Recipe, options: Options) -> CCAFL:
    """Make the method of a recipe."""
    return CCAFL(recipe, options)
