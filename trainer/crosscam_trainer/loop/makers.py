"""Where the command takes models, methods and evaluation from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_trainer.evaluation.hook import make_evaluation
from crosscam_trainer.loop.finish import export_run
from crosscam_trainer.loop.train import Makers
from crosscam_trainer.methods.registry import make_method
from crosscam_trainer.models.build import build_model

if TYPE_CHECKING:
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.models.reid import ReIDModel
    from crosscam_trainer.models.types import TextTower
    from crosscam_trainer.recipe import Recipe


def default_makers() -> Makers:
    """Return the makers of `crosscam train`."""
    return Makers(models=_models, method=make_method, evaluate=make_evaluation, finish=export_run)


def _models(recipe: Recipe, data: ReIDData) -> tuple[ReIDModel, TextTower | None]:
    built = build_model(recipe.model, cameras=len(data.cameras))
    return built.model, built.text
