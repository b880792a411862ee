"""Specification of `crosscam_kernels.crop_resize_normalize`, in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels.crop import ColorOrder, checked_boxes


def crop_resize_normalize(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    boxes: ArrayLike,
    *,
    size: tuple[int, int],
    frame_index: ArrayLike | None = None,
    color_in: ColorOrder = "bgr",
    color_out: ColorOrder = "rgb",
    scale: float = 1.0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    dtype: type[np.floating[Any]] = np.float64,
) -> NDArray[np.floating[Any]]:
    """Same result as the operator, by one dense matrix product per axis.

    Returns:
        (N, 3, h, w) of `dtype`.
    """
    frames = [images] if isinstance(images, np.ndarray) else list(images)
    height, width = size
    whole = checked_boxes(boxes, frame_index, [frame.shape for frame in frames])
    out = np.empty((len(whole), 3, height, width), dtype)
    for n, (i, x0, y0, x1, y1) in enumerate(whole):
        pixels = frames[i][y0:y1, x0:x1].astype(dtype)
        if color_in != color_out:
            pixels = pixels[..., ::-1]
        rows = triangle_weights(y1 - y0, height).astype(dtype)
        columns = triangle_weights(x1 - x0, width).astype(dtype)
        resized = np.einsum("hy,yxc,wx->chw", rows, pixels, columns, optimize=True)
        channel = (3, 1, 1)
        out[n] = (resized * scale - np.reshape(mean, channel)) / np.reshape(std, channel)
    return out


def triangle_weights(size_in: int, size_out: int) -> NDArray[np.float64]:
    """(size_out, size_in) weights of Pillow's BILINEAR resampling along one axis.

    The triangle has half-width 1 in output pixels when reducing (which is the antialiasing) and in
    input pixels when enlarging. It is cut at the border and normalised to sum 1.
    """
    scale = size_in / size_out
    support = max(scale, 1.0)
    center = (np.arange(size_out)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(size_in)[None, :] + 0.5 - center) / support
    weights = np.maximum(0.0, 1.0 - distance)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)
