"""Tensors of a checkpoint into a model, with positions resized; and a model into a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from crosscam_deploy.export.positions import resize_positions
from crosscam_kernels.errors import InputError
from crosscam_trainer.models.architectures import uses_quick_gelu
from crosscam_trainer.models.weights import Checkpoint, grid_fact

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from crosscam_trainer.models.reid import ReIDModel
    from crosscam_trainer.models.text import ClipText

_POSITIONS = (
    "visual.positional_embedding",
    "visual.attnpool.positional_embedding",
    "visual.trunk.pos_embed",
)
_TEXT = (
    "token_embedding.",
    "positional_embedding",
    "transformer.",
    "ln_final.",
    "text_projection",
)


def load_into(model: ReIDModel, text: ClipText, checkpoint: Checkpoint, *, origin: str) -> None:
    """Load a checkpoint of a CLIP model, or of `save_model`.

    Positions are resized to the model's grid (`resize_positions`); those of others are taken to be
    of a square grid. Of a checkpoint of crosscam the heads are loaded too, of CLIP's the
    temperature is left out. Everything else must fit exactly.

    Args:
        model: Its tower, and its heads.
        text: Its text encoder.
        checkpoint: What was read.
        origin: Where from, for messages.

    Raises:
        InputError: Tensors are missing, unknown, or of another shape; names some.
    """
    image, words, heads = _sorted(checkpoint.tensors)
    if not image:
        raise InputError(
            f"{origin} has no image tower",
            expected="a checkpoint of open_clip (visual.…) or of crosscam",
        )
    grid = grid_fact(checkpoint.facts)
    for name in _POSITIONS:
        if name in image:
            image[name] = _fitted(image[name], model.tower.grid, grid)
    _fill(model.tower, image, origin, optional=("cameras",))
    if words:
        _fill(text, words, origin)
    if heads:
        own = {k: v for k, v in heads.items() if k in model.state_dict()}
        others = tuple(k for k in model.state_dict() if k not in own)
        _fill(model, own, origin, others, "model.pooling")


def save_model(file: Path, model: ReIDModel, text: ClipText, tower: str) -> None:
    """Write towers and heads as safetensors that ``model.weights`` of a recipe can name.

    Args:
        file: Name ending in ``.safetensors``; replaced if it exists.
        model: Tower and heads.
        text: The text encoder that belongs to it.
        tower: Name of the architecture.
    """
    tensors = {k: v.detach().contiguous().cpu().clone() for k, v in model.state_dict().items()}
    tensors |= {f"text.{k}": v.detach().cpu().clone() for k, v in text.state_dict().items()}
    rows, columns = model.tower.grid
    quick = uses_quick_gelu(model, text)
    facts = {"tower": tower, "grid": f"{rows}x{columns}", "quick_gelu": str(quick).lower()}
    save_file(tensors, file, metadata=facts)


def _sorted(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    """Part a checkpoint into image tower, text encoder and crosscam's heads."""
    image, words, heads = {}, {}, {}
    for name, value in tensors.items():
        plain = name.removeprefix("tower.")
        if plain.startswith("visual.") or name == "tower.cameras":
            image[plain] = value
        elif name.removeprefix("text.").startswith(_TEXT):
            words[name.removeprefix("text.")] = value
        elif name.startswith(("pool.", "final_neck.", "joint_neck.")):
            heads[name] = value
    words.pop("attn_mask", None)
    return image, words, heads


def _fitted(positions: Tensor, grid: tuple[int, int], old: tuple[int, int] | None) -> Tensor:
    rows = positions[0] if positions.ndim == 3 else positions
    fitted: Tensor = resize_positions(torch, rows.float(), grid, old=old)
    return fitted[None] if positions.ndim == 3 else fitted


def _fill(
    module: Any,
    tensors: dict[str, Tensor],
    origin: str,
    optional: tuple[str, ...] = (),
    key: str = "model.tower",
) -> None:
    """Load tensors strictly, or say what does not fit, and which key of the recipe decides it."""
    target = module.state_dict()
    wrong = [f"{k} is missing" for k in target if k not in tensors and k not in optional]
    wrong += [f"{k} is not known" for k in tensors if k not in target]
    wrong += [
        f"{k} is {tuple(v.shape)} instead of {tuple(target[k].shape)}"
        for k, v in tensors.items()
        if k in target and v.shape != target[k].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"{origin} does not fit: {'; '.join(wrong[:5])}{more}",
            expected=f"weights of a model with the same {key}",
            fix=f"correct {key} or model.weights",
        )
    module.load_state_dict(tensors, strict=False)
