"""`build_model`: from the model part of a recipe to towers with heads and their input."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch.nn.modules.batchnorm import _BatchNorm

from crosscam_deploy.log import get_logger
from crosscam_trainer.data.transforms import Preparation
from crosscam_trainer.models.architectures import architecture, make_clip
from crosscam_trainer.models.checkpoint import load_into
from crosscam_trainer.models.reid import ReIDModel
from crosscam_trainer.models.slim import expand
from crosscam_trainer.models.text import ClipText
from crosscam_trainer.models.towers import adapt_tower
from crosscam_trainer.models.weights import find_weights, read_checkpoint

if TYPE_CHECKING:
    from torch import nn

    from crosscam_trainer.recipe import ModelRecipe

_log = get_logger("trainer")


class Built(NamedTuple):
    """What `build_model` makes.

    Attributes:
        model: Image tower with pooling and necks; on the CPU, in training mode.
        text: Frozen text encoder of the same CLIP model; not a part of `model`.
        preparation: How pictures become inputs, in training, evaluation and the bundle.
    """

    model: ReIDModel
    text: ClipText
    preparation: Preparation


def build_model(recipe: ModelRecipe, *, cameras: int = 0) -> Built:
    """Build a model with its weights.

    Random weights follow torch's generator, which the caller seeds. Where nothing pretrained is
    named, a warning says so: the accuracies of papers are those of pretrained CLIP models.

    Args:
        recipe: Tower, weights, heads, size.
        cameras: Number of cameras of the training split; needed with `recipe.camera_embedding`.

    Raises:
        InputError: Unknown tower, a size or stride that it cannot take, or weights that are
            missing, damaged, unsafe or of another architecture.
        RunError: Weights must be downloaded and cannot be.
    """
    found = None
    if recipe.weights is not None:
        found = find_weights(recipe.tower, recipe.weights, recipe.weights_sha256)
    checkpoint = None
    if found is not None:
        checkpoint = expand(read_checkpoint(found.path), str(found.path))
    quick = found is not None and found.quick_gelu
    if checkpoint is not None and "quick_gelu" in checkpoint.facts:
        quick = checkpoint.facts["quick_gelu"] == "true"
    built = bare_model(recipe, cameras=cameras, quick_gelu=quick)
    if checkpoint is not None and found is not None:
        load_into(built.model, built.text, checkpoint, origin=str(found.path))
        if recipe.keep_statistics:
            keep_statistics(built.model.tower)
        _log.info("weights", tower=recipe.tower, source=found.source, sha256=found.sha256)
    else:
        _log.warning(
            "random weights: nothing is pretrained; papers start from CLIP (model.weights=hub)",
            tower=recipe.tower,
        )
    return built


def bare_model(recipe: ModelRecipe, *, cameras: int = 0, quick_gelu: bool = False) -> Built:
    """Build a model with random weights, whatever the recipe says of weights.

    Args:
        recipe: Tower, heads, size.
        cameras: Number of cameras of the training split; needed with `recipe.camera_embedding`.
        quick_gelu: Whether its activations are those of OpenAI's weights.

    Raises:
        InputError: Unknown tower, or a size or stride that it cannot take.
    """
    clip = make_clip(recipe.tower, quick_gelu=quick_gelu)
    tower = adapt_tower(
        clip.visual,
        recipe.size,
        stride=recipe.stride or architecture(recipe.tower).stride,
        cameras=cameras,
        camera_weight=recipe.camera_embedding,
    )
    return Built(
        ReIDModel(tower, recipe.pooling, recipe.embedding, whiten=recipe.whiten is not None),
        ClipText(clip),
        Preparation(recipe.size, recipe.interpolation, recipe.mean, recipe.std),
    )


def keep_statistics(tower: nn.Module) -> None:
    """Leave the running means and variances of batch norm as they are, also in training.

    Batches are normalised by their own statistics as before; what is kept is what the trained
    model is used with.
    """
    for module in tower.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 0.0


def count_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Return the number of parameters of a module.

    Args:
        module: Which.
        trained: Count only those that take gradients.
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)
