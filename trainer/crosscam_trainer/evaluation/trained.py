"""Models back from the weights that a run has written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.loop.checkpoint import read_weights
from crosscam_trainer.models.build import bare_model
from crosscam_trainer.recipe import Recipe

if TYPE_CHECKING:
    from crosscam_trainer.data.transforms import Preparation
    from crosscam_trainer.models.reid import ReIDModel

WHICH = ("last", "best")


class Trained(NamedTuple):
    """A model of a run.

    Attributes:
        model: In evaluation mode, on the CPU.
        preparation: How pictures become its inputs.
        recipe: Of the run.
        about: What else the run has written of it: "which", "seed", "judged", "selected_on".
    """

    model: ReIDModel
    preparation: Preparation
    recipe: Recipe
    about: dict[str, Any]


def load_trained(path: Path) -> Trained:
    """Read a model; what it was pretrained from is not needed.

    Args:
        path: ``last.safetensors`` or ``best.safetensors`` of a run.

    Raises:
        InputError: It cannot be read, or holds weights of another model than its header says.
    """
    tensors, about = read_weights(path)
    try:
        recipe = Recipe.model_validate(about["recipe"])
    except (KeyError, ValidationError) as error:
        raise InputError(
            f"{path} has no recipe that this version of crosscam understands ({error})",
            expected="weights that `crosscam train` has written",
        ) from error
    cameras = len(tensors["tower.cameras"]) if "tower.cameras" in tensors else 0
    built = bare_model(
        recipe.model, cameras=cameras, quick_gelu=bool(about.get("quick_gelu", False))
    )
    try:
        built.model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path} does not fit the model of its recipe: {error}",
            fix="evaluate it with the version of crosscam that wrote it",
        ) from error
    return Trained(built.model.eval(), built.preparation, recipe, about)


def weights_file(path: Path, which: str = "last", seed: int | None = None) -> Path:
    """Find the weights in a run.

    Args:
        path: Folder of a run, of one of its seeds, or a file of weights.
        which: "last" or "best".
        seed: Which seed of a run; not needed when there is one.

    Raises:
        InputError: There are none.
        UsageError: There are several seeds, and none is chosen.
    """
    if path.is_file():
        return path
    folder = path
    if not (path / f"{which}.safetensors").exists():
        seeds = sorted(int(f.name[5:]) for f in path.glob("seed-*") if f.name[5:].isdigit())
        if seed is None and len(seeds) > 1:
            raise UsageError(
                f"{path} has the seeds {', '.join(map(str, seeds))}", fix=f"--seed {seeds[0]}"
            )
        chosen = seed if seed is not None else (seeds[0] if seeds else None)
        folder = path if chosen is None else path / f"seed-{chosen}"
    file = folder / f"{which}.safetensors"
    if not file.is_file():
        raise InputError(
            f"there is no {which}.safetensors in {folder}",
            expected="the folder of a run of `crosscam train` that has ended, or a bundle",
            fix="let it end: crosscam train … --resume; runs that judge no model have no best one",
        )
    return file
