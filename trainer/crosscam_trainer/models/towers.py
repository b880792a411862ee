"""Image towers of CLIP models, adapted to pictures of people.

A tower is built at the size that its architecture was published with, so that published weights
fit, and adapted afterwards: positions resized to the grid of the new size, strides changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import open_clip
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from crosscam_kernels.errors import InputError
from crosscam_trainer.models.tower_resnet import ResNetTower
from crosscam_trainer.models.tower_timm import ConvTower, TokenTower
from crosscam_trainer.models.tower_vit import ViTTower

if TYPE_CHECKING:
    from torch import nn


def adapt_tower(
    visual: Any,
    size: tuple[int, int],
    *,
    stride: int | None = None,
    cameras: int = 0,
    camera_weight: float = 0.0,
) -> nn.Module:
    """Make an `ImageTower` of the image encoder of a CLIP model, which it takes over and changes.

    Args:
        visual: `CLIP.visual` at its published size, with its weights.
        size: ``(height, width)`` of the pictures in pixels.
        stride: Pixels between cells of the last feature map; None for the architecture's own.
        cameras: How many cameras have an embedding, when `camera_weight` is not 0.
        camera_weight: Weight of the camera embedding (SIE); only for `VisionTransformer`.

    Raises:
        InputError: The architecture cannot take the size, the stride, or camera embeddings.
    """
    if isinstance(visual, VisionTransformer):
        return ViTTower(visual, size, stride, cameras if camera_weight else 0, camera_weight)
    if camera_weight:
        raise InputError(
            f"model.camera_embedding={camera_weight:g} with a {type(visual).__name__}",
            expected="a vision transformer of open_clip, such as ViT-B-16",
            fix="set model.camera_embedding=0 or use another tower",
        )
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual, size, stride)
    if isinstance(visual, TimmModel):
        tokens = hasattr(visual.trunk, "patch_embed") and hasattr(visual.trunk, "blocks")
        return TokenTower(visual, size, stride) if tokens else ConvTower(visual, size, stride)
    raise InputError(
        f"image towers of type {type(visual).__name__} are not supported (open_clip "
        f"{open_clip.__version__})",
        expected="a ResNet or vision transformer of open_clip, or a trunk of timm",
    )
