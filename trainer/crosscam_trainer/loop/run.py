"""`TrainingRun`: what a stage is given, see `methods.base.Run`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.cameras import OtherCamera
from crosscam_trainer.data.transforms import Augmentation, Preparation, for_training
from crosscam_trainer.loop.batches import Batches
from crosscam_trainer.loop.extract import extract
from crosscam_trainer.loop.optimise import LossScale, PartOptimiser
from crosscam_trainer.loop.progress import Progress
from crosscam_trainer.loop.types import Sums

if TYPE_CHECKING:
    from torch import Tensor

    from crosscam_trainer.data.masks import LabelSet
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.loop.devices import World
    from crosscam_trainer.methods.base import Extracted, Stage
    from crosscam_trainer.models.reid import ReIDModel
    from crosscam_trainer.models.types import TextTower
    from crosscam_trainer.recipe import AugmentationRecipe, Recipe


class TrainingRun:
    """Implements `Run`.

    Args:
        model: On the device.
        data: With masks, where the recipe names some.
        recipe: Of the run.
        seed: One of its seeds.
        world: Processes.
        text: Text tower, on the device.
        progress: Shows long work.
        mask_labels: Meaning of the masks.

    Attributes:
        sums: Figures of the current epoch.
        optimisers: Of the current stage, by part.
        scale: Loss scale.
    """

    def __init__(
        self,
        model: ReIDModel,
        data: ReIDData,
        recipe: Recipe,
        seed: int,
        world: World,
        *,
        text: TextTower | None = None,
        progress: Progress | None = None,
        mask_labels: LabelSet | None = None,
    ) -> None:
        self.model, self.data, self.recipe, self.seed = model, data, recipe, seed
        self.text = text
        self.world, self.device = world, world.device
        self.progress = progress or Progress()
        self.mask_labels = mask_labels
        self.preparation = preparation(recipe)
        self.sums = Sums()
        self.scale = LossScale.of(world.half)
        self.optimisers: dict[str, PartOptimiser] = {}
        self._loaders: dict[str, Any] = {}

    def extract(self, images: str = "image") -> Extracted:
        """Compute the features of the training split; see `Run`."""
        samples = self.data.train
        self.progress.begin(f"features of {images}s", len(samples) // self.world.size)
        return extract(
            self.model,
            samples,
            self.preparation,
            self.world,
            images=images,
            mask_labels=self.mask_labels,
            batch_size=self.recipe.evaluation.batch_size,
            workers=self.recipe.loop.workers,
            progress=lambda done, _total: self.progress.move(done),
            loaders=self._loaders,
        )

    def minimise(self, part: str, loss: Tensor) -> None:
        """Go back from a loss; see `Run`."""
        if part not in self.optimisers:
            raise UsageError(
                f"no part {part!r} in this stage", expected=" or ".join(self.optimisers)
            )
        self.optimisers[part].minimise(loss)

    def note(self, **figures: float) -> None:
        """Log figures of the epoch; see `Run`."""
        self.sums.notes |= {name: float(value) for name, value in figures.items()}

    def optimise(self, stage: Stage) -> None:
        """Make the optimisers of a stage that has begun."""
        self.optimisers = {
            name: PartOptimiser(
                name,
                part,
                self.world,
                self.scale,
                accumulate=self.recipe.batch.accumulate,
                epochs=stage.epochs,
            )
            for name, part in stage.parts().items()
        }

    def batches(self, stage: Stage) -> Batches:
        """Make the batches of a stage."""
        sampler: EpochSampler = stage.sampler(rank=self.world.rank, world_size=self.world.size)
        transform = None
        if stage.needs_pictures:
            transform = for_training(_augmentation(self.recipe.augmentation), self.preparation)
        return Batches(
            self.data.train,
            sampler,
            self.device,
            transform=transform,
            mask_labels=self.mask_labels if stage.needs_masks else None,
            workers=self.recipe.loop.workers,
            keep=self.recipe.loop.keep,
        )


def preparation(recipe: Recipe) -> Preparation:
    """Return how pictures become inputs of a recipe's model."""
    model: Any = recipe.model
    return Preparation(model.size, model.interpolation, model.mean, model.std)


def _augmentation(recipe: AugmentationRecipe) -> Augmentation:
    strengths = recipe.model_dump()
    camera = OtherCamera(**{each.name: strengths.pop(each.name) for each in fields(OtherCamera)})
    return Augmentation(**strengths, camera=camera)
