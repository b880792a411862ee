"""`crosscam_ibn`: a small residual trunk with instance normalisation, for people of unseen cameras.

Instance normalisation takes out of a picture's features what is the same all over it: exposure,
white balance, contrast, the style of a renderer. Batch normalisation keeps it, and with it what
tells clothes apart. Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via
IBN-Net", ECCV 2018 give each half of the channels of early blocks (their IBN-a), and leave the last
stage, which says who it is, to batch normalisation. So does this trunk.

Convolutions are dense, at a sixteenth of the picture's resolution at last: for each multiplication
CPUs compute them several times as fast as depthwise and grouped ones, in training above all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from timm.models import register_model
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Stage(NamedTuple):
    """A stage of the trunk.

    Attributes:
        blocks: How many.
        middle: Channels of a block's 3 x 3 convolution.
        channels: That leave it.
        stride: Of its first block.
        instance: Whether half of the channels are normalised by picture.
    """

    blocks: int
    middle: int
    channels: int
    stride: int
    instance: bool


class IBN(nn.Module):
    """Instance normalisation of the first half of the channels, batch normalisation of the others.

    Args:
        channels: Of the input `(B, channels, h, w)`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.instance = nn.InstanceNorm2d(self.half, affine=True)
        self.batch = nn.BatchNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        first, second = x.split([self.half, x.shape[1] - self.half], 1)
        return torch.cat([self.instance(first.contiguous()), self.batch(second.contiguous())], 1)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 with a shortcut; `He et al., CVPR 2016`, with IBN-a.

    Args:
        inputs: Channels.
        stage: Of which it is a block.
        stride: Of the 3 x 3 convolution.
    """

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        middle, outputs = stage.middle, stage.channels
        self.reduce = nn.Conv2d(inputs, middle, 1, bias=False)
        self.norm1 = IBN(middle) if stage.instance else nn.BatchNorm2d(middle)
        self.mix = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.expand = nn.Conv2d(middle, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.norm3.weight)  # blocks begin as shortcuts (Goyal et al., 2017)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Compute."""
        y = self.act(self.norm1(self.reduce(x)))
        y = self.act(self.norm2(self.mix(y)))
        found: Tensor = self.act(self.norm3(self.expand(y)) + self.shortcut(x))
        return found


class IBNTrunk(nn.Module):
    """The trunk, with those parts of timm's interface that `tower_timm.ConvTower` uses.

    Args:
        stem: Channels of the two strided convolutions that begin.
        stages: What follows, from a quarter of the resolution on.
    """

    default_cfg: dict[str, Any] = {}  # noqa: RUF012 - open_clip asks for it

    def __init__(self, stem: tuple[int, int], stages: tuple[Stage, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem[0], 3, 2, 1, bias=False),
            nn.InstanceNorm2d(stem[0], affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem[0], stem[1], 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem[1]),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList()
        self.feature_info: list[dict[str, Any]] = []
        inputs, reduction = stem[1], 4
        for number, stage in enumerate(stages):
            blocks = []
            for block in range(stage.blocks):
                blocks.append(Bottleneck(inputs, stage, stage.stride if block == 0 else 1))
                inputs = stage.channels
            self.stages.append(nn.Sequential(*blocks))
            reduction *= stage.stride
            self.feature_info.append(
                {"num_chs": inputs, "reduction": reduction, "module": f"stages.{number}"}
            )
        self.num_features = inputs
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward_intermediates(
        self, images: Tensor, indices: int = 2
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last feature map, and those of the last `indices` stages."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return x, maps[-indices:]

    def forward_head(self, x: Tensor) -> Tensor:
        """Return the mean of a map, `(B, C)`."""
        return x.mean((2, 3))

    def reset_classifier(self, number: int, global_pool: str = "avg") -> None:
        """Do nothing: there is no classifier."""

    def forward(self, images: Tensor) -> Tensor:
        """Return pooled features, `(B, C)`."""
        return self.forward_head(self.forward_intermediates(images)[0])


def crosscam_ibn(pretrained: bool = False, **_: Any) -> IBNTrunk:
    """Make the trunk of ``crosscam-ibn``: 1.4 million parameters."""
    return IBNTrunk(
        (32, 64),
        (
            Stage(2, 48, 128, 1, instance=True),
            Stage(3, 96, 256, 2, instance=True),
            Stage(2, 160, 384, 2, instance=False),
        ),
    )


register_model(crosscam_ibn)
