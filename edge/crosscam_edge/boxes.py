"""Boxes: conversions and overlaps, all vectorised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TINY = 1e-9


def to_cxcywh(xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return `(N, 4)` centre x, centre y, width, height of `(N, 4)` corner boxes."""
    box = xyxy.astype(np.float64)
    return np.stack(
        [
            (box[:, 0] + box[:, 2]) / 2,
            (box[:, 1] + box[:, 3]) / 2,
            box[:, 2] - box[:, 0],
            box[:, 3] - box[:, 1],
        ],
        axis=1,
    )


def to_xyxy(cxcywh: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return `(N, 4)` corner boxes of `(N, 4)` centre x, centre y, width, height."""
    half = np.maximum(cxcywh[:, 2:], 0) / 2
    return np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half], axis=1).astype(np.float64)


def intersection(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the `(N, M)` areas common to boxes `a` `(N, 4)` and `b` `(M, 4)` in pixels²."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    side = np.maximum(high - low, 0).astype(np.float64)
    area: NDArray[np.float64] = side[..., 0] * side[..., 1]
    return area


def area(xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the `(N,)` areas of corner boxes; 0 for inverted ones."""
    side = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0).astype(np.float64)
    out: NDArray[np.float64] = side[:, 0] * side[:, 1]
    return out


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the `(N, M)` intersection over union in [0, 1] of corner boxes."""
    common = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - common
    out: NDArray[np.float64] = common / np.maximum(union, _TINY)
    return out


def lie_on_each_other(
    xyxy: NDArray[np.floating], *, least_iou: float = 0.5, least_inside: float = 0.9
) -> NDArray[np.bool_]:
    """Return `(N, N)`: True where two boxes may well be of one and the same person.

    Args:
        xyxy: `(N, 4)` corners.
        least_iou: Boxes that overlap more than this lie on each other; so do ...
        least_inside: ... those of which one lies in the other by more than this share of it.
    """
    shared = intersection(xyxy, xyxy)
    size = area(xyxy)
    union = size[:, None] + size[None, :] - shared
    smaller = np.minimum(size[:, None], size[None, :])
    out: NDArray[np.bool_] = (shared > least_iou * union) | (shared > least_inside * smaller)
    np.fill_diagonal(out, False)
    return out


def share_inside(xyxy: NDArray[np.floating], image_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return which share `(N,)` in [0, 1] of each box lies in an image of `(width, height)`."""
    size = np.array([*image_size, *image_size], np.float64)
    inside = np.clip(xyxy, 0, size)
    out: NDArray[np.float64] = area(inside) / np.maximum(area(xyxy), _TINY)
    return out


def at_border(
    xyxy: NDArray[np.floating], image_size: tuple[int, int], *, margin: float = 0.05
) -> NDArray[np.bool_]:
    """Return which boxes `(N,)` come within `margin` box heights of the border of the image."""
    near = margin * np.maximum(xyxy[:, 3:4] - xyxy[:, 1:2], 1.0)
    size = np.array([image_size], np.float64)
    cut = (xyxy[:, :2] <= near) | (xyxy[:, 2:] >= size - near)
    out: NDArray[np.bool_] = cut[:, 0] | cut[:, 1]
    return out
