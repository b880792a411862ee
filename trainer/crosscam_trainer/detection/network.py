"""`PersonDetector`: a small fully convolutional network without anchors, for one class.

A residual trunk, a feature pyramid (Lin et al., CVPR 2017) and one head that all levels share, as
in FCOS (Tian et al., ICCV 2019, arXiv 1904.01355): for each cell whether a person is centred there,
how good the box is, and the box. Boxes are coded as in YOLOX (arXiv 2107.08430), whose decoder the
edge has: the centre as an offset of the cell's corner, and the logarithm of the size, both in
strides. Early stages normalise half of their channels by picture (IBN-a, Pan et al., ECCV 2018),
which takes out exposure, white balance and the style of a renderer. Convolutions are dense, which
CPUs train several times as fast, for each multiplication, as depthwise ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from crosscam_trainer.detection.recipe import STRIDES
from crosscam_trainer.models.ibn import IBN

if TYPE_CHECKING:
    from torch import Tensor

    from crosscam_trainer.detection.recipe import NetworkRecipe

_PRIOR = 0.01  # share of cells that hold a person, at the beginning (Lin et al., ICCV 2017)


class Raw(NamedTuple):
    """What the head says of every cell, levels one after another, rows of each from the top.

    Attributes:
        person: `(B, A)` logit: a person is centred here.
        quality: `(B, A)` logit: overlap of the box with that person's.
        box: `(B, A, 4)` centre (as an offset of the cell's corner) and logarithm of width and
            height, in strides.
    """

    person: Tensor
    quality: Tensor
    box: Tensor


class _Step(nn.Sequential):
    """Convolution, normalisation, SiLU."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int = 1, *, instance: bool = False
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
            IBN(outputs) if instance else nn.BatchNorm2d(outputs),
            nn.SiLU(inplace=True),
        )


class _Block(nn.Module):
    """1 x 1 to half of the channels, 3 x 3 back, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = _Step(channels, channels // 2, 1)
        self.mix = _Step(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mix(self.reduce(x))
        return out


class _Around(nn.Module):
    """Maxima around a cell at three distances (spatial pyramid pooling, as in YOLOv5's SPPF)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = _Step(channels, channels // 2, 1)
        self.join = _Step(channels // 2 * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        out: Tensor = self.join(torch.cat(parts, 1))
        return out


class PersonDetector(nn.Module):
    """The network.

    Args:
        recipe: Widths and depths.
    """

    def __init__(self, recipe: NetworkRecipe) -> None:
        super().__init__()
        first, *others = recipe.channels
        self.stem = _Step(3, first, 3, 2, instance=recipe.instance > 0)
        self.stages = nn.ModuleList()
        inputs = first
        for number, (channels, blocks) in enumerate(zip(others, recipe.blocks, strict=True), 1):
            parts: list[nn.Module] = [
                _Step(inputs, channels, 3, 2, instance=recipe.instance > number)
            ]
            parts += [_Block(channels) for _ in range(blocks)]
            inputs = channels
            self.stages.append(nn.Sequential(*parts))
        self.around = _Around(inputs)
        width = recipe.neck
        self.lateral = nn.ModuleList(_Step(c, width, 1) for c in recipe.channels[2:])
        self.smooth = nn.ModuleList(_Step(width, width, 3) for _ in STRIDES[1:])
        self.say = _Step(width, width, 3)
        self.place = _Step(width, width, 3)
        self.person = nn.Conv2d(width, 1, 1)
        self.box = nn.Conv2d(width, 5, 1)  # centre, size, quality
        self._begin()

    def _begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for output in (self.person, self.box):
            nn.init.normal_(output.weight, std=0.01)
            assert output.bias is not None
            nn.init.zeros_(output.bias)
        assert self.person.bias is not None
        assert self.box.bias is not None
        nn.init.constant_(self.person.bias, -math.log((1 - _PRIOR) / _PRIOR))
        with torch.no_grad():  # in the middle of the cell, of a grown-up's shape
            self.box.bias[:4] = torch.tensor([0.5, 0.5, 0.7, 1.6])

    def forward(self, images: Tensor) -> Raw:
        """Look at pictures.

        Args:
            images: `(B, 3, H, W)`, normalised; H and W multiples of 32.
        """
        x = self.stem(images)
        features = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number > 0:
                features.append(x)
        features[-1] = self.around(features[-1])
        levels = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        for k in range(len(levels) - 2, -1, -1):
            above = functional.interpolate(levels[k + 1], scale_factor=2.0, mode="nearest")
            levels[k] = self.smooth[k](levels[k] + above)
        person, box = [], []
        for level in levels:
            person.append(self.person(self.say(level)).flatten(2))
            box.append(self.box(self.place(level)).flatten(2))
        located = torch.cat(box, 2).transpose(1, 2).float()
        return Raw(torch.cat(person, 2)[:, 0].float(), located[..., 4], located[..., :4])


class Rows(nn.Module):
    """What is exported: rows as YOLOX's decoder takes them.

    Args:
        network: What answers.
        bend: Exponent of the score; see `export`.
    """

    def __init__(self, network: PersonDetector, bend: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.bend = bend

    def forward(self, images: Tensor) -> Tensor:
        """Look at pictures.

        The decoder multiplies the last two columns. With roots the product is the geometric mean of
        both, which FCOS and its copy in torchvision take as the score; `bend` is its exponent.

        Returns:
            `(B, A, 6)`: the box as in `Raw`, and the roots of quality and person, in [0, 1].
        """
        raw: Raw = self.network(images)
        shares = torch.stack([raw.quality, raw.person], 2).sigmoid() ** (self.bend / 2)
        return torch.cat([raw.box, shares], 2)
