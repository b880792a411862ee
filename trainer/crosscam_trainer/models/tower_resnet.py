"""CLIP's ResNets (Radford et al., "Learning transferable visual models", ICML 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from crosscam_deploy.export.positions import resize_positions
from crosscam_trainer.models.tower_base import Tower, cells, wrong_stride
from crosscam_trainer.models.types import TowerFeatures

if TYPE_CHECKING:
    from torch import Tensor


class ResNetTower(Tower):
    """CLIP's ResNet with an attention pool over a grid that need not be square.

    As in CLIP-ReID and CCAFL the last stage does not halve the resolution: a stride of 16 pixels
    makes 16 x 8 cells of 256 x 128 pixels. The strided layers of these ResNets are average pools,
    so no weight changes.

    Features: `previous` is the mean of layer3, `map` layer4, `final` the mean of `map`, `joint` the
    attention pool.

    Args:
        visual: `open_clip.ModifiedResNet`, taken over.
        size: ``(height, width)`` of pictures in pixels.
        stride: 16, or 32 as published; None for 32.

    Raises:
        InputError: Another stride, or a size that is no multiple of it.
    """

    def __init__(self, visual: Any, size: tuple[int, int], stride: int | None = None) -> None:
        super().__init__()
        stride = stride or 32
        if stride not in (16, 32):
            raise wrong_stride(stride, "16 or 32", "ResNet")
        self.size, self.grid = size, cells(size, stride)
        self.visual = visual
        if stride == 16:
            first = visual.layer4[0]
            first.avgpool = nn.Identity()
            first.downsample[0] = nn.Identity()
        pool = visual.attnpool
        with torch.no_grad():
            positions = resize_positions(torch, pool.positional_embedding, self.grid)
        pool.positional_embedding = nn.Parameter(positions.clone())
        visual.image_size = size
        self.final_dim: int = pool.q_proj.in_features
        self.previous_dim = self.final_dim // 2
        self.joint_dim: int = pool.c_proj.out_features

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """See `ImageTower`; cameras are not used."""
        self.check(images)
        v = self.visual
        third = v.layer3(v.layer2(v.layer1(v.stem(images))))
        fourth = v.layer4(third)
        return TowerFeatures(
            previous=third.mean((2, 3)),
            map=fourth,
            final=fourth.mean((2, 3)),
            joint=v.attnpool(fourth),
        )
