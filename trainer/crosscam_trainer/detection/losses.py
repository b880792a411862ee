"""Losses of the detector: focal loss, generalised IoU, and quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from crosscam_trainer.detection.cells import assign, boxes_of, cells_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from crosscam_trainer.detection.network import Raw
    from crosscam_trainer.detection.recipe import DetectorLosses


def losses(
    raw: Raw,
    truth: Sequence[tuple[Tensor, Tensor]],
    size: tuple[int, int],
    recipe: DetectorLosses,
) -> dict[str, Tensor]:
    """Compare what the network says with who is there.

    ``person`` is the focal loss (Lin et al., ICCV 2017) over all cells that are asked, ``box`` the
    generalised IoU loss (Rezatofighi et al., CVPR 2019) and ``quality`` the cross-entropy of the
    quality with the IoU, both over the cells that are responsible for somebody; each is a sum
    divided by their number, which keeps the share of each picture as FCOS does.

    Args:
        raw: Of a batch of B pictures.
        truth: For each its corners `(N, 4)` in pixels of the input, and which `(N,)` are ignored.
        size: ``(height, width)`` of the input.
        recipe: Weights.

    Returns:
        The weighted losses by name; their sum is what is minimised.
    """
    cells = cells_of(size, raw.box.device)
    found = [assign(boxes, ignored, cells) for boxes, ignored in truth]
    positive = torch.stack([f.positive for f in found])
    asked = torch.stack([f.asked for f in found])
    number = positive.sum().clamp(min=1)
    focal = sigmoid_focal_loss(
        raw.person, positive.to(raw.person.dtype), recipe.alpha, recipe.gamma, reduction="none"
    )
    out = {"person": (focal * asked).sum() / number}
    wanted = torch.cat(
        [boxes[f.person[f.positive]] for f, (boxes, _) in zip(found, truth, strict=True)]
    )
    said = boxes_of(raw.box, cells)[positive]
    apart = generalized_box_iou_loss(said, wanted, reduction="sum")
    out["box"] = recipe.box * apart / number
    overlap = _iou(said.detach(), wanted)
    quality = functional.binary_cross_entropy_with_logits(
        raw.quality[positive], overlap, reduction="sum"
    )
    out["quality"] = recipe.quality * quality / number
    return out


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap `(N,)` of boxes with the same index."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    both = common.prod(1)
    return both / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both + 1e-9)
