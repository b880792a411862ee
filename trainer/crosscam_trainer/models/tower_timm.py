"""Image towers whose trunk is a model of timm: MobileCLIP, PE-Core, crosscam's small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from crosscam_kernels.errors import InputError
from crosscam_trainer.models.tower_base import Tower, cells, wrong_stride
from crosscam_trainer.models.types import TowerFeatures

if TYPE_CHECKING:
    from torch import Tensor


class ConvTower(Tower):
    """A convolutional trunk, such as MobileCLIP's FastViT or a RegNet.

    Features: `previous` is the mean of the last stage but one, `map` the trunk's last feature map
    (after its last convolution, where it has one), `final` the mean of `map`, `joint` the output of
    the trunk's head.

    Args:
        visual: `open_clip.TimmModel`, taken over.
        size: ``(height, width)`` of pictures in pixels.
        stride: Pixels between cells of `map`; half the trunk's own makes its last stage keep the
            resolution ("last stride 1" of Luo et al., "Bag of Tricks", CVPRW 2019). None for the
            trunk's own.

    Raises:
        InputError: Another stride, or a trunk without feature maps.
    """

    def __init__(self, visual: Any, size: tuple[int, int], stride: int | None = None) -> None:
        super().__init__()
        self.size, self.visual = size, visual
        trunk = visual.trunk
        stages = getattr(trunk, "feature_info", None)
        if not stages or len(stages) < 2 or not hasattr(trunk, "forward_intermediates"):
            raise InputError(
                f"{type(trunk).__name__} does not give its feature maps", fix="use another tower"
            )
        own = int(stages[-1]["reduction"])
        if stride == own // 2:
            _keep_resolution(trunk.get_submodule(stages[-1]["module"]), stride)
        elif stride not in (None, own):
            raise wrong_stride(stride, f"{own // 2} or {own}", type(trunk).__name__)
        with torch.no_grad():
            example = _evaluate(self, torch.zeros(1, 3, *size))
        self.previous_dim, self.final_dim = example.previous.shape[1], example.map.shape[1]
        self.joint_dim = example.joint.shape[1]
        self.grid = (example.map.shape[2], example.map.shape[3])

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """See `ImageTower`; cameras are not used."""
        self.check(images)
        trunk = self.visual.trunk
        last, (before, _) = trunk.forward_intermediates(images, indices=2)
        return TowerFeatures(
            previous=before.mean((2, 3)),
            map=last,
            final=last.mean((2, 3)),
            joint=self.visual.head(trunk.forward_head(last)),
        )


class TokenTower(Tower):
    """A transformer trunk, such as PE-Core's.

    Features: `previous` is the class token after the last block but one (the mean of the patches,
    where there is none), `map` the patches after the last block and its normalisation, `final` what
    the trunk pools of them (PE-Core: by an attention pool), normalised, `joint` its projection.

    Args:
        visual: `open_clip.TimmModel`, taken over.
        size: ``(height, width)`` of pictures in pixels.
        stride: None or the patch's size.

    Raises:
        InputError: Another stride, or a size that is no multiple of the patch's.
    """

    def __init__(self, visual: Any, size: tuple[int, int], stride: int | None = None) -> None:
        super().__init__()
        trunk = visual.trunk
        patch = int(trunk.patch_embed.patch_size[0])
        if stride not in (None, patch):
            raise wrong_stride(stride, f"{patch}", type(trunk).__name__)
        self.size, self.visual, self.grid = size, visual, cells(size, patch)
        visual.set_input_size(size)
        self.prefix = int(trunk.num_prefix_tokens)
        with torch.no_grad():
            example = _evaluate(self, torch.zeros(1, 3, *size))
        self.previous_dim, self.final_dim = example.previous.shape[1], example.map.shape[1]
        self.joint_dim = example.joint.shape[1]
        if example.final.shape[1] != self.final_dim:
            raise InputError(
                f"{type(trunk).__name__} pools {self.final_dim} channels into "
                f"{example.final.shape[1]}",
                expected="a summary with the channels of the feature map",
                fix="use another tower",
            )

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """See `ImageTower`; cameras are not used."""
        self.check(images)
        trunk, n = self.visual.trunk, images.shape[0]
        tokens, (before, _) = trunk.forward_intermediates(
            images, indices=2, return_prefix_tokens=True, output_fmt="NLC"
        )
        patches, first = before
        final = trunk.forward_head(tokens, pre_logits=True)
        rows, columns = self.grid
        grid = tokens[:, self.prefix :].transpose(1, 2).reshape(n, -1, rows, columns)
        return TowerFeatures(
            previous=first[:, 0] if self.prefix else patches.mean(1),
            map=grid,
            final=final,
            joint=self.visual.head(trunk.head(final)),
        )


def _evaluate(tower: Tower, images: Tensor) -> TowerFeatures:
    """Run a tower without touching BN statistics."""
    was_training = tower.training
    tower.eval()
    found: TowerFeatures = tower(images)
    tower.train(was_training)
    return found


def _keep_resolution(stage: nn.Module, stride: int) -> None:
    """Take the halving of the resolution out of a stage; weights stay as they are."""
    halving = [
        m
        for m in stage.modules()
        if isinstance(m, nn.Conv2d | nn.AvgPool2d | nn.MaxPool2d) and m.stride in (2, (2, 2))
    ]
    if not halving or not all(isinstance(m, nn.Conv2d) for m in halving):
        raise InputError(
            f"model.stride={stride}: the last stage of this tower has no strided convolution",
            fix="leave model.stride out",
        )
    for m in halving:
        m.stride = (1, 1)
