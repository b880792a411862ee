"""CCAFL and CCAF in one: camera- and cloth-agnostic, from labels of each camera. Ours, new.

CCAFL's stages with three changes (ADR 0016):

* prompts of (camera, identity) are learned against shielding images, so that the texts which
  Eq. 9 and 15 pull towards tell nothing of clothes;
* `L_i2i` pulls a picture to its shielding image, in every epoch;
* CFM: prompts of outfits, an examiner, and `L_cfm` in a window. Which outfits are one person's
  is known inside a label only; across cameras it is what association (Eq. 12) found for the epoch.

What an outfit is, without anyone labelling it: the clothes label where there is one, else the
tracklet (nobody changes inside one), else the accumulated label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from pydantic import Field

from crosscam_trainer.methods.base import Method, Part, Stage
from crosscam_trainer.methods.ccafl import CameraAgnosticStage
from crosscam_trainer.methods.ccafl import Options as CCAFLOptions
from crosscam_trainer.methods.labels import TrainLabels, train_labels
from crosscam_trainer.methods.prompts_stage import PromptStage
from crosscam_trainer.methods.requirements import need_intra_camera_labels, need_masks, trainable
from crosscam_trainer.methods.shielding import (
    CFMOptions,
    ClothesExaminer,
    IFPOptions,
    Shielded,
    differences,
    examine_loss,
    minimise_loss,
)
from crosscam_trainer.models.prompts import CLOTHES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.methods.base import Extracted, Run
    from crosscam_trainer.models.types import Features
    from crosscam_trainer.recipe import BatchRecipe, Recipe

_EXAMINER = "examiner"


class Options(CCAFLOptions):
    """Options of the combination: CCAFL's, and those of IFP and CFM."""

    ifp: IFPOptions = IFPOptions()
    cfm: CFMOptions = Field(
        default=CFMOptions(start=40), description="starts with L_ICAL, when pairs are reliable"
    )
    outfits: Literal["auto", "clothes", "tracklets", "labels"] = Field(
        default="auto", description="what counts as one outfit; auto: the first that the data have"
    )


class Outfits(NamedTuple):
    """What people wear.

    Attributes:
        of_picture: `(N,)` int64, 0 to `O` - 1.
        person: `(O,)` int64, the accumulated label that wears it.
    """

    of_picture: Tensor
    person: Tensor


def find_outfits(labels: TrainLabels, kind: str = "auto") -> Outfits:
    """Number the outfits of the training split; each is of one accumulated label.

    Args:
        labels: Of the training split.
        kind: As `Options.outfits`. A picture without the label asked for wears an outfit that its
            accumulated label has for such pictures.
    """
    known = {"clothes": labels.clothes, "tracklets": labels.tracklet}
    if kind == "auto":
        kind = next((name for name, given in known.items() if bool((given >= 0).any())), "labels")
    worn = known.get(kind, torch.full_like(labels.person, -1))
    pairs, of_picture = torch.stack([labels.person, worn], 1).unique(dim=0, return_inverse=True)
    return Outfits(of_picture, pairs[:, 0])


def outfit_groups(pseudo: Tensor, outfits: Outfits) -> Tensor:
    """Return whose each outfit is, `(O,)`: the person as far as association knows.

    Outfits of labels with one pseudo identity are one person's; those of a label without partner
    are that label's. A group of a single outfit says nothing about clothes and is -1.

    Args:
        pseudo: `(G,)` int64, -1 for none.
        outfits: Of the training split.
    """
    alone = torch.arange(len(pseudo), device=pseudo.device) + len(pseudo)
    group = torch.where(pseudo >= 0, pseudo, alone)[outfits.person]
    _, inverse, number = group.unique(return_inverse=True, return_counts=True)
    return torch.where(number[inverse] > 1, group, -1)


class AgnosticStage(CameraAgnosticStage):
    """CCAFL's stages 2 and 3 with I2I and CFM.

    Args:
        run: What it is trained for.
        options: How.
        batch: Sizes of batches.
        prompts: Of accumulated labels, learned on shielding images.
        clothes_prompts: Of outfits, learned on clothes alone.
        outfits: Of the training split.

    Attributes:
        examiner: Of CFM.
    """

    name = "camera-and-cloth-agnostic"

    def __init__(
        self,
        run: Run,
        options: Options,
        batch: BatchRecipe,
        prompts: PromptStage,
        clothes_prompts: PromptStage,
        outfits: Outfits,
    ) -> None:
        super().__init__(run, options, batch, prompts)
        self._both, self._clothes_prompts, self._outfits = options, clothes_prompts, outfits
        self.examiner = ClothesExaminer.of(run.model, options.cfm).to(run.device)
        self._clothes_texts: Tensor | None = None
        self._shielded = Shielded(options.ifp)

    def begin(self, run: Run) -> None:
        """Fix the texts of labels and outfits."""
        super().begin(run)
        self._clothes_texts = differences(self._clothes_prompts.texts())

    def parts(self) -> Mapping[str, Part]:
        """Return CCAFL's parts, and the examiner."""
        examiner = Part(trainable(self.examiner), self._both.cfm.optimiser)
        return {**super().parts(), _EXAMINER: examiner}

    def remember(self, run: Run, epoch: int, extracted: Extracted) -> None:
        """Build CCAFL's memories, and look at the shielding images."""
        super().remember(run, epoch, extracted)
        self._shielded.look(run)

    def further_losses(
        self,
        run: Run,
        batch: Batch,
        features: Features,
        epoch: int,
        parts: dict[str, Tensor],
    ) -> Tensor | float:
        """Take the examiner's step; return `L_i2i` and `L_cfm`, weighted."""
        assert self._clothes_texts is not None
        ifp, cfm = self._both.ifp, self._both.cfm
        worn = self._outfits.of_picture[batch["index"]]
        seen = getattr(features, cfm.feature)
        parts["examine"] = examine_loss(
            self.examiner, seen, worn, self._clothes_texts, cfm.temperature
        )
        run.minimise(_EXAMINER, parts["examine"])
        total = features.joint.new_zeros(())
        if self._shielded.rows:
            parts["i2i"] = self._shielded.loss(features, batch["index"])
            total = total + ifp.i2i_weight * parts["i2i"]
        if epoch >= cfm.start:
            groups = outfit_groups(self.pseudo, self._outfits)
            parts["cfm"] = minimise_loss(
                self.examiner, seen, worn, self._clothes_texts, groups, cfm
            )
            total = total + cfm.weight * parts["cfm"]
        return total

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return classifier and examiner."""
        return (*super().modules(), ("examiner", self.examiner))

    def state_dict(self) -> dict[str, Tensor]:
        """Return CCAFL's state, texts of outfits and features of shielding images."""
        state = super().state_dict()
        if self._clothes_texts is not None:
            state["clothes_texts"] = self._clothes_texts
        return state | self._shielded.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over all of it."""
        super().load_state_dict(state)
        device = self.camera_of.device
        self._clothes_texts = state["clothes_texts"].to(device)
        self._shielded.load_state_dict(state, device)


class CCAFLAndCCAF(Method):
    """Camera- and cloth-agnostic feature learning.

    Args:
        recipe: Of the run.
        options: Of the method.
    """

    name = "ccafl+ccaf"

    def __init__(self, recipe: Recipe, options: Options) -> None:
        self._batch, self._options = recipe.batch, options

    def check(self, data: ReIDData) -> None:
        """Refuse data without masks, of one camera, or with labels across cameras."""
        need_intra_camera_labels(self.name, data)
        need_masks(self.name, data)

    def stages(self, run: Run) -> list[Stage]:
        """Return both prompt stages, then the encoder."""
        labels, options = train_labels(run.data, run.device), self._options
        outfits = find_outfits(labels, options.outfits)
        people = PromptStage(
            run, options.prompts, labels.people, labels.person, labels.camera,
            images="shielded", name="identity-prompts",
        )  # fmt: skip
        clothes = PromptStage(
            run, options.prompts, len(outfits.person), outfits.of_picture,
            template=CLOTHES, images="clothes", name="clothes-prompts",
        )  # fmt: skip
        last = AgnosticStage(run, options, self._batch, people, clothes, outfits)
        return [people, clothes, last]


def build(recipe: Recipe, options: Options) -> CCAFLAndCCAF:
    """Make the method of a recipe."""
    return CCAFLAndCCAF(recipe, options)
