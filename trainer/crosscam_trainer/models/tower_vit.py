"""CLIP's vision transformers, with overlapping patches and camera embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from crosscam_deploy.export.positions import resize_positions
from crosscam_kernels.errors import InputError
from crosscam_trainer.models.tower_base import Tower, cells, wrong_stride
from crosscam_trainer.models.types import TowerFeatures

if TYPE_CHECKING:
    from torch import Tensor


class ViTTower(Tower):
    """open_clip's vision transformer for pictures of any size.

    Positions are resized to the new grid. A stride below the patch's size makes patches overlap
    ("OLP" of CLIP-ReID: 12 for patches of 16, 21 x 10 cells of 256 x 128 pixels).

    Camera embeddings ("SIE", He et al., "TransReID", ICCV 2021, as CLIP-ReID uses it) are learned
    vectors that are added to the class token, times a weight. Where the camera is not known, as on
    the edge, their mean is added, which is what training has seen on average.

    Features: `previous` is the class token after the last block but one, `map` the patches after
    the last block and its normalisation, `final` the class token there, `joint` its projection.

    Args:
        visual: `open_clip.VisionTransformer`, taken over.
        size: ``(height, width)`` of pictures in pixels.
        stride: Pixels from patch to patch; None for the patch's size.
        cameras: How many have an embedding; 0 for no embeddings.
        camera_weight: What embeddings are multiplied with.

    Raises:
        InputError: A size or stride that does not fit, or a transformer that pools differently.
    """

    def __init__(
        self,
        visual: Any,
        size: tuple[int, int],
        stride: int | None = None,
        cameras: int = 0,
        camera_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if visual.attn_pool is not None or visual.pool_type != "tok":
            raise InputError(
                "this vision transformer does not summarise pictures by its class token",
                expected="one such as ViT-B-16 or ViT-L-14",
                fix="use another model.tower",
            )
        patch_height, patch_width = visual.patch_size
        stride = stride or patch_height
        if not 0 < stride <= min(patch_height, patch_width):
            raise wrong_stride(stride, f"1 to {patch_height}", "vision transformer")
        self.size = size
        if stride == patch_height == patch_width:
            self.grid = cells(size, stride)
        else:
            rows = (size[0] - patch_height) // stride + 1
            self.grid = (rows, (size[1] - patch_width) // stride + 1)
        self.visual = visual
        with torch.no_grad():
            positions = resize_positions(
                torch, visual.positional_embedding, self.grid, old=visual.grid_size
            )
        visual.positional_embedding = nn.Parameter(positions.clone())
        visual.conv1.stride = (stride, stride)
        visual.image_size, visual.grid_size = size, self.grid
        self.previous_dim = self.final_dim = int(visual.proj.shape[0])
        self.joint_dim = int(visual.proj.shape[1])
        self.camera_weight = camera_weight
        self.cameras: nn.Parameter | None = None
        if cameras:
            table = torch.empty(cameras, self.final_dim)
            self.cameras = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """See `ImageTower`; cameras beyond those of the training split count as unknown."""
        self.check(images)
        v, n = self.visual, images.shape[0]
        patches = v.conv1(images).flatten(2).transpose(1, 2)
        class_token = v.class_embedding.to(patches.dtype).expand(n, 1, -1)
        if self.cameras is not None:
            class_token = class_token + self._camera(n, cameras).to(patches.dtype).unsqueeze(1)
        tokens = torch.cat([class_token, patches], 1)
        tokens = tokens + v.positional_embedding.to(patches.dtype)
        tokens = v.ln_pre(v.patch_dropout(tokens))
        last = len(v.transformer.resblocks) - 1
        tokens, (before,) = v.transformer.forward_intermediates(tokens, indices=[last - 1])
        tokens = v.ln_post(tokens)
        final = tokens[:, 0]
        rows, columns = self.grid
        grid = tokens[:, 1:].transpose(1, 2).reshape(n, self.final_dim, rows, columns)
        return TowerFeatures(before[:, 0], grid, final, final @ v.proj)

    def _camera(self, n: int, cameras: Tensor | None) -> Tensor:
        """Weighted embedding of each picture's camera, `(n, C)`."""
        assert self.cameras is not None
        mean = self.cameras.mean(0)
        if cameras is None:
            return self.camera_weight * mean.expand(n, -1)
        known = (cameras >= 0) & (cameras < len(self.cameras))
        chosen = self.cameras[cameras.clamp(0, len(self.cameras) - 1)]
        return self.camera_weight * torch.where(known[:, None], chosen, mean)
