"""The quality gate: which crops deserve an embedding, and how much to trust each.

A ReID network answers something for any crop: for a sliver at the frame border, for a box whose
lower half is another person, for a smear of 20 pixels. Such answers pollute a tracklet for good, so
they are kept out here, from geometry alone, before any pixel is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.boxes import area

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.types import Detections


@dataclass(frozen=True, slots=True)
class QualityConfig:
    """Where the gate closes.

    Attributes:
        min_height: Least height of a crop, in pixels.
        good_height: Height from which size no longer limits quality, in pixels.
        min_aspect: Least height / width of a person's box.
        good_aspect: Height / width from which a box holds a whole standing person. Lower ones lack
            the legs, and networks trained on whole people answer with what half people have in
            common.
        max_aspect: Greatest height / width.
        min_visible: Least share of the box that lies in the image and is not covered by a person
            in front, in [0, 1].
        min_confidence: Least confidence of the detection.
        min_sharpness: Least sharpness (see `sharpness`) when pixels are given; 0 accepts all.
    """

    min_height: float = 40.0
    good_height: float = 128.0
    min_aspect: float = 1.2
    good_aspect: float = 2.0
    max_aspect: float = 5.0
    min_visible: float = 0.6
    min_confidence: float = 0.3
    min_sharpness: float = 0.0


def visible_share(
    xyxy: NDArray[np.floating], image_size: tuple[int, int], *, grid: tuple[int, int] = (6, 12)
) -> NDArray[np.float64]:
    """Return how much of each box is in the image and not behind another box.

    A box is in front of another when its foot (lower edge) is lower in the image, as it is for
    people on one floor. Coverage by several boxes is counted once: cells of a coarse grid over each
    box are tested against all boxes in front of it.

    Args:
        xyxy: `(N, 4)` boxes in pixels.
        image_size: `(width, height)` in pixels.
        grid: Cells across and down a box.

    Returns:
        `(N,)` share in [0, 1].
    """
    n = len(xyxy)
    if n == 0:
        return np.zeros(0)
    across, down = grid
    u = (np.arange(across) + 0.5) / across
    v = (np.arange(down) + 0.5) / down
    box = xyxy.astype(np.float64)
    x = box[:, :1] + (box[:, 2:3] - box[:, :1]) * u  # (N, across)
    y = box[:, 1:2] + (box[:, 3:4] - box[:, 1:2]) * v  # (N, down)
    free_x = (x >= 0) & (x <= image_size[0])
    free_y = (y >= 0) & (y <= image_size[1])
    free = free_y[:, :, None] & free_x[:, None, :]  # (N, down, across)
    foot = box[:, 3]
    order = np.arange(n)
    front = (foot[None, :] > foot[:, None]) | (
        (foot[None, :] == foot[:, None]) & (order[None, :] < order[:, None])
    )
    touching = (
        (box[:, None, 0] < box[None, :, 2])
        & (box[None, :, 0] < box[:, None, 2])
        & (box[:, None, 1] < box[None, :, 3])
        & (box[None, :, 1] < box[:, None, 3])
    )
    for behind, ahead in np.argwhere(front & touching):
        in_x = (x[behind] > box[ahead, 0]) & (x[behind] < box[ahead, 2])
        in_y = (y[behind] > box[ahead, 1]) & (y[behind] < box[ahead, 3])
        free[behind] &= ~(in_y[:, None] & in_x[None, :])
    out: NDArray[np.float64] = free.mean(axis=(1, 2))
    return out


def sharpness(image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the sharpness of each crop: gradient energy over intensity variance.

    The mean squared difference of neighbouring pixels over the variance of the crop is near 0 for
    a motion-blurred crop and does not depend on contrast or exposure.

    Args:
        image: `(H, W, 3)` uint8.
        xyxy: `(N, 4)` boxes in pixels.

    Returns:
        `(N,)`, 0 or more; 0 for boxes without pixels.
    """
    height, width = image.shape[:2]
    out = np.zeros(len(xyxy))
    low = np.floor(np.maximum(xyxy[:, :2], 0)).astype(np.int64)
    high = np.ceil(np.minimum(xyxy[:, 2:], [width, height])).astype(np.int64)
    for i, ((x1, y1), (x2, y2)) in enumerate(zip(low, high, strict=True)):
        if x2 - x1 < 3 or y2 - y1 < 3:
            continue
        grey = image[y1:y2, x1:x2].mean(axis=2)
        change = float(
            np.square(np.diff(grey, axis=0)).mean() + np.square(np.diff(grey, axis=1)).mean()
        )
        out[i] = change / (float(grey.var()) + 1.0)
    return out


def crop_quality(
    detections: Detections,
    image_size: tuple[int, int],
    config: QualityConfig | None = None,
    *,
    image: NDArray[np.uint8] | None = None,
) -> NDArray[np.float32]:
    """Grade the crops of one frame.

    Args:
        detections: All detections of the frame: each may hide others.
        image_size: `(width, height)` in pixels.
        config: Where the gate closes.
        image: `(H, W, 3)` uint8 pixels; only needed for `QualityConfig.min_sharpness`.

    Returns:
        `(N,)` float32: 0 = do not embed, otherwise a weight in (0, 1] that is the product of
        size, visibility and confidence.
    """
    config = config or QualityConfig()
    n = len(detections)
    if n == 0:
        return np.zeros(0, np.float32)
    box = detections.xyxy.astype(np.float64)
    confidence = detections.confidence.astype(np.float64)
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    aspect = height / np.maximum(width, 1e-6)
    # Only boxes that are likely people may hide others.
    solid = confidence >= config.min_confidence
    visible = np.zeros(n)
    visible[solid] = visible_share(box[solid], image_size)
    ok = (
        solid
        & (area(box) > 0)
        & (height >= config.min_height)
        & (aspect >= config.min_aspect)
        & (aspect <= config.max_aspect)
        & (visible >= config.min_visible)
    )
    if image is not None and config.min_sharpness > 0 and ok.any():
        index = np.flatnonzero(ok)
        ok[index] &= sharpness(image, box[index]) >= config.min_sharpness
    size = np.minimum(np.sqrt(height / config.good_height), 1.0)
    whole = np.square(np.minimum(aspect / config.good_aspect, 1.0))
    value = size * visible * whole * confidence
    out: NDArray[np.float32] = np.where(ok, value, 0.0).astype(np.float32)
    return np.minimum(out, np.float32(1.0))
