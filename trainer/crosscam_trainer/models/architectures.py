"""CLIP models by name: open_clip's, and crosscam's own small ones for CPUs and the edge.

The small ones are trained from random weights: image towers of a few million parameters that run
on 128 x 64 to 256 x 128 pixels, and text towers that need not know more than a person's looks.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import open_clip
from open_clip.transformer import QuickGELU

from crosscam_kernels.errors import InputError
from crosscam_trainer.models import ibn

if TYPE_CHECKING:
    from torch import nn

_VOCABULARY = 49408  # of CLIP's byte-pair encoding


class Architecture(NamedTuple):
    """How a CLIP model is built.

    Attributes:
        config: As open_clip's model configurations.
        stride: Pixels between cells of the last feature map that crosscam uses by default; None for
            those of the architecture.
    """

    config: dict[str, Any]
    stride: int | None = None


def _small(trunk: str, embed_dim: int) -> Architecture:
    """A convolutional trunk of timm, and a text tower of 7 million parameters (6 of them words)."""
    vision = {
        "timm_model_name": trunk,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 128,
    }
    text = _text(width=128, heads=4, layers=4, context=64)
    config = {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    return Architecture(config, stride=16)


def _text(*, width: int, heads: int, layers: int, context: int) -> dict[str, Any]:
    return {
        "context_length": context,
        "vocab_size": _VOCABULARY,
        "width": width,
        "heads": heads,
        "layers": layers,
    }


OWN: dict[str, Architecture] = {
    # RegNets (Radosavovic et al., CVPR 2020) train fastest on CPUs among timm's trunks of their
    # size, and their plain convolutions quantise well.
    "crosscam-s": _small("regnety_002", 256),
    "crosscam-m": _small("regnety_004", 256),
    # For cameras that training did not see; see `ibn`.
    "crosscam-ibn": _small(ibn.crosscam_ibn.__name__, 256),
    # For tests: milliseconds a step.
    "test-tiny": Architecture(
        {
            "embed_dim": 32,
            "vision_cfg": {
                "layers": [1, 1, 1, 1],
                "width": 8,
                "head_width": 64,
                "image_size": 64,
            },
            "text_cfg": _text(width=16, heads=2, layers=1, context=24),
        },
        stride=16,
    ),
    "test-tiny-vit": Architecture(
        {
            "embed_dim": 32,
            "vision_cfg": {
                "layers": 2,
                "width": 32,
                "head_width": 16,
                "patch_size": 8,
                "image_size": 32,
            },
            "text_cfg": _text(width=16, heads=2, layers=1, context=24),
        }
    ),
}

SUPPORTED: dict[str, str] = {
    "crosscam-s": "gem",
    "crosscam-m": "gem",
    "crosscam-ibn": "gem",
    "RN50": "gem",
    "ViT-B-16": "own",
    "MobileCLIP2-S0": "gem",
    "PE-Core-T-16-384": "own",
}
"""Towers that engines are built of in tests and benchmarks, with a pooling that suits each.

Others of open_clip train and export too, but nobody promises an engine of them.
"""


def names() -> list[str]:
    """Return the names that `architecture` knows, crosscam's own first."""
    return [*OWN, *open_clip.list_models()]


def architecture(name: str) -> Architecture:
    """Look up an architecture.

    Raises:
        InputError: Unknown, or with a text tower that has to be downloaded or generates captions.
    """
    if name in OWN:
        return Architecture(deepcopy(OWN[name].config), OWN[name].stride)
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise InputError(
            f"tower {name!r} is not known",
            expected=f"{', '.join(OWN)}, or a name of open_clip.list_models() such as RN50, "
            "ViT-B-16 or MobileCLIP2-S0",
            fix="correct model.tower in the recipe",
        )
    if "hf_model_name" in config["text_cfg"] or "multimodal_cfg" in config:
        raise InputError(
            f"tower {name!r} comes with a text tower that is not CLIP's",
            expected="a model whose text tower is a transformer of open_clip",
            fix="use another tower, such as RN50, ViT-B-16 or MobileCLIP2-S0",
        )
    is_resnet = isinstance(config["vision_cfg"].get("layers"), list)
    return Architecture(config, 16 if is_resnet else None)


def make_clip(name: str, *, quick_gelu: bool = False) -> nn.Module:
    """Build an untrained CLIP model at the picture size of its architecture.

    Random weights follow torch's generator.

    Args:
        name: See `architecture`.
        quick_gelu: Use the sigmoid approximation of GELU that OpenAI's weights were trained with.

    Returns:
        An `open_clip.CLIP` or `open_clip.CustomTextCLIP`, in training mode.
    """
    config = architecture(name).config
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    if quick_gelu:
        config["quick_gelu"] = True
    return kind(**config)


def uses_quick_gelu(*modules: nn.Module) -> bool:
    """Whether activations are those of OpenAI's weights; the same tensors fit either kind."""
    return any(isinstance(m, QuickGELU) for part in modules for m in part.modules())
