"""Cells of the levels, boxes that they say, and people whom they are responsible for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torchvision.ops import nms

from crosscam_trainer.detection.recipe import STRIDES

if TYPE_CHECKING:
    from torch import Tensor

    from crosscam_trainer.detection.network import Raw

# Heights of people, in strides, whom a level looks for; neighbours overlap, so that nobody is at
# the edge of all.
_HEIGHTS = ((0.0, 10.0), (4.0, 14.0), (5.0, float("inf")))
_RADIUS = 1.5  # cells around the centre of a person (centre sampling of FCOS)
_LARGEST = 8.0  # logarithm of a size in strides; bfloat16 weights can say anything at first


class Cells(NamedTuple):
    """Where each cell is.

    Attributes:
        corner: `(A, 2)` left top, in pixels.
        stride: `(A,)` side, in pixels.
        level: `(A,)` index into the levels.
    """

    corner: Tensor
    stride: Tensor
    level: Tensor

    @property
    def centre(self) -> Tensor:
        """`(A, 2)` pixels."""
        return self.corner + self.stride[:, None] / 2


def cells_of(size: tuple[int, int], device: torch.device | None = None) -> Cells:
    """Return the cells of an input of ``(height, width)`` pixels, in the order of `Raw`."""
    corners, strides, levels = [], [], []
    for level, stride in enumerate(STRIDES):
        rows, columns = size[0] // stride, size[1] // stride
        y, x = torch.meshgrid(
            torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
        )
        corners.append(torch.stack([x.flatten(), y.flatten()], 1).float() * stride)
        strides.append(torch.full((rows * columns,), float(stride), device=device))
        levels.append(torch.full((rows * columns,), level, device=device))
    return Cells(torch.cat(corners), torch.cat(strides), torch.cat(levels))


def boxes_of(box: Tensor, cells: Cells) -> Tensor:
    """Return corners in pixels of what the head says.

    Args:
        box: `(..., A, 4)` as in `Raw`.
        cells: Of the input.

    Returns:
        `(..., A, 4)` x0, y0, x1, y1.
    """
    stride = cells.stride[:, None]
    centre = box[..., :2] * stride + cells.corner
    half = box[..., 2:].clamp(max=_LARGEST).exp() * stride / 2
    return torch.cat([centre - half, centre + half], -1)


class Targets(NamedTuple):
    """What the cells of one picture should say.

    Attributes:
        person: `(A,)` index of the person; -1 for none, -2 where nothing is asked.
    """

    person: Tensor

    @property
    def asked(self) -> Tensor:
        """`(A,)` bool: cells that the losses look at."""
        return self.person != -2

    @property
    def positive(self) -> Tensor:
        """`(A,)` bool: cells that are responsible for somebody."""
        return self.person >= 0


def assign(boxes: Tensor, ignored: Tensor, cells: Cells) -> Targets:
    """Find the cells that are responsible for each person (FCOS with centre sampling).

    A cell is responsible for a person whose height suits its level, when its centre is within 1.5
    strides of the person's and inside the box, or is the nearest to it; for the smallest of
    several. Cells inside people who are ignored, and of nobody else, are not asked.

    Args:
        boxes: `(N, 4)` corners in pixels.
        ignored: `(N,)` bool.
        cells: Of the input.
    """
    person = torch.full((len(cells.stride),), -1, dtype=torch.int64, device=cells.stride.device)
    if not len(boxes):
        return Targets(person)
    at, stride = cells.centre[:, None], cells.stride[:, None]
    inside = ((at > boxes[:, :2]) & (at < boxes[:, 2:])).all(2)
    person[(inside & ignored).any(1)] = -2
    wanted = (~ignored).nonzero()[:, 0]
    if not len(wanted):
        return Targets(person)
    chosen = boxes[wanted]
    centre, size = (chosen[:, :2] + chosen[:, 2:]) / 2, chosen[:, 2:] - chosen[:, :2]
    low, high = torch.tensor(_HEIGHTS, device=boxes.device).unbind(1)
    tall = size[None, :, 1] / stride
    suits = (tall >= low[cells.level][:, None]) & (tall < high[cells.level][:, None])
    away = (at - centre).abs().amax(2) / stride
    holds = (
        (centre >= cells.corner[:, None]) & (centre < cells.corner[:, None] + stride[..., None])
    ).all(2)
    mine = suits & ((inside[:, wanted] & (away < _RADIUS)) | holds)
    area = torch.where(mine, size.prod(1), torch.inf)
    least, which = area.min(1)
    found = least.isfinite()
    person[found] = wanted[which[found]]
    return Targets(person)


def detect(
    raw: Raw,
    size: tuple[int, int],
    least: float = 0.05,
    overlap: float = 0.6,
    most: int = 300,
) -> list[tuple[Tensor, Tensor]]:
    """Return the people of each picture.

    Args:
        raw: Of the network.
        size: ``(height, width)`` of its input in pixels.
        least: Lowest score.
        overlap: Boxes that overlap a better one by more are dropped.
        most: Boxes of a picture.

    Returns:
        For each picture corners `(N, 4)` in pixels of the input and scores `(N,)`, best first.
    """
    boxes = boxes_of(raw.box, cells_of(size, raw.box.device))
    scores = (raw.person.sigmoid() * raw.quality.sigmoid()).sqrt()
    out = []
    for box, score in zip(boxes, scores, strict=True):
        some = score >= least
        kept = nms(box[some], score[some], overlap)[:most]
        out.append((box[some][kept], score[some][kept]))
    return out
