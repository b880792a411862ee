"""CCAF: cloth-agnostic features by prompts; a documented RECONSTRUCTION, see `shielding`.

Li et al., arXiv 2406.09198. Three stages:

1. *identity prompts*: ``A photo of a [X] person.`` against shielding images (IFP);
2. *clothes prompts*: ``A photo of the [X] clothes.`` against pictures of clothes alone, one for
   each outfit (CFM; template after SCI, arXiv 2412.01345; one for each outfit is a GUESS);
3. *cloth-agnostic*: the encoder with ``L = L_id + L_tri + L_i2t + w1 L_i2i + w2 L_cfm``; the
   first three are CLIP-ReID's (GUESS), with the texts of (1).

The encoder sees plain pictures. Shielding-image features come from the encoder as it was when the
epoch began (GUESS): a teacher that is stable, independent of augmentation, and whose pictures never
enter the statistics of the BN necks. In use nothing but the image tower is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from crosscam_trainer.data.samplers import PersonSampler
from crosscam_trainer.methods.base import Method, Part, Stage
from crosscam_trainer.methods.clip_reid import (
    Options as CLIPReIDOptions,
)
from crosscam_trainer.methods.clip_reid import (
    SupervisedStage,
    supervised_losses,
)
from crosscam_trainer.methods.labels import cameras_of_pictures, train_labels
from crosscam_trainer.methods.prompts_stage import PromptStage
from crosscam_trainer.methods.requirements import need_clothes, need_masks, say_naive, trainable
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
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.methods.base import Run
    from crosscam_trainer.recipe import BatchRecipe, Recipe

_ENCODER, _EXAMINER = "encoder", "examiner"


class Options(CLIPReIDOptions):
    """Options of CCAF: CLIP-ReID's, and those of IFP and CFM."""

    ifp: IFPOptions = IFPOptions()
    cfm: CFMOptions = Field(default=CFMOptions(), description="starts at 40 % of 120 epochs")


class ClothAgnosticStage(SupervisedStage):
    """The image encoder with IFP and CFM.

    Args:
        run: What it is trained for.
        options: How.
        batch: Sizes of batches.
        prompts: Of identities, learned on shielding images.
        clothes_prompts: Of outfits, learned on clothes alone.

    Attributes:
        examiner: Of CFM.
    """

    name = "cloth-agnostic"

    def __init__(
        self,
        run: Run,
        options: Options,
        batch: BatchRecipe,
        prompts: PromptStage,
        clothes_prompts: PromptStage,
    ) -> None:
        super().__init__(run, options, batch, prompts)
        self._ccaf, self._clothes_prompts = options, clothes_prompts
        self.examiner = ClothesExaminer.of(run.model, options.cfm).to(run.device)
        self._person_of = self.labels.person_of_clothes
        self._clothes_texts: Tensor | None = None
        self._shielded = Shielded(options.ifp)

    def begin(self, run: Run) -> None:
        """Fix the texts of identities and outfits."""
        super().begin(run)
        self._clothes_texts = differences(self._clothes_prompts.texts())

    def begin_epoch(self, run: Run, epoch: int) -> None:
        """Look at the shielding images with the encoder as it is now."""
        self._shielded.look(run)

    def parts(self) -> Mapping[str, Part]:
        """Return encoder and classifiers, and the examiner with an optimiser of its own."""
        examiner = Part(trainable(self.examiner), self._ccaf.cfm.optimiser)
        return {**super().parts(), _EXAMINER: examiner}

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
        """Examine clothes (the head's step), then minimise them (the encoder's)."""
        assert self.texts is not None
        assert self._clothes_texts is not None
        options, clothes = self._ccaf, batch["clothes"]
        features = run.model(batch["image"], cameras_of_pictures(batch))
        seen = getattr(features, options.cfm.feature)
        examined = examine_loss(
            self.examiner, seen, clothes, self._clothes_texts, options.cfm.temperature
        )
        run.minimise(_EXAMINER, examined)
        total, parts = supervised_losses(features, self.heads, self.texts, batch["person"], options)
        if self._shielded.rows:
            parts["i2i"] = self._shielded.loss(features, batch["index"])
            total = total + options.ifp.i2i_weight * parts["i2i"]
        if epoch >= options.cfm.start:
            parts["cfm"] = minimise_loss(
                self.examiner,
                seen,
                clothes,
                self._clothes_texts,
                self._person_of,
                options.cfm,
            )
            total = total + options.cfm.weight * parts["cfm"]
        run.minimise(_ENCODER, total)
        return {"examine": examined.detach()} | {k: v.detach() for k, v in parts.items()}

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return classifiers and examiner."""
        return (*super().modules(), ("examiner", self.examiner))

    def state_dict(self) -> dict[str, Tensor]:
        """Return texts and the epoch's features of shielding images."""
        state = super().state_dict()
        if self._clothes_texts is not None:
            state["clothes_texts"] = self._clothes_texts
        return state | self._shielded.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over texts and features."""
        super().load_state_dict(state)
        device = self.labels.person.device
        self._clothes_texts = state["clothes_texts"].to(device)
        self._shielded.load_state_dict(state, device)


class CCAF(Method):
    """Cloth-agnostic feature learning, reconstructed.

    Args:
        recipe: Of the run.
        options: Of the method.
    """

    name = "ccaf"

    def __init__(self, recipe: Recipe, options: Options) -> None:
        self._batch, self._options = recipe.batch, options

    def check(self, data: ReIDData) -> None:
        """Refuse data without masks or outfits."""
        need_clothes(self.name, data)
        need_masks(self.name, data)
        say_naive(self.name, data)

    def stages(self, run: Run) -> list[Stage]:
        """Return both prompt stages, then the encoder."""
        labels, options = train_labels(run.data, run.device), self._options
        people = PromptStage(
            run, options.prompts, labels.people, labels.person,
            images="shielded", name="identity-prompts",
        )  # fmt: skip
        clothes = PromptStage(
            run, options.prompts, labels.clothes_count, labels.clothes,
            template=CLOTHES, images="clothes", name="clothes-prompts",
        )  # fmt: skip
        return [people, clothes, ClothAgnosticStage(run, options, self._batch, people, clothes)]


def build(recipe: Recipe, options: Options) -> CCAF:
    """Make the method of a recipe."""
    return CCAF(recipe, options)
