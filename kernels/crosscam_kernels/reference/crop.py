"""Specification of `crosscam_kernels.crop_resize_normalize`, in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels._crop_args import (
    Align,
    ColorInput,
    ColorOrder,
    Fit,
    YuvMatrix,
    YuvRange,
    checked_boxes,
    checked_nv12,
    yuv_factors,
)


def crop_resize_normalize(
    images: Any,
    boxes: ArrayLike,
    *,
    size: tuple[int, int],
    frame_index: ArrayLike | None = None,
    color_in: ColorInput = "bgr",
    color_out: ColorOrder = "rgb",
    scale: float = 1.0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    fit: Fit = "stretch",
    align: Align = "center",
    pad_value: float = 114.0,
    yuv_matrix: YuvMatrix = "bt601",
    yuv_range: YuvRange = "limited",
    dtype: type[np.floating[Any]] = np.float64,
) -> NDArray[np.floating[Any]]:
    """Same result as the operator in float32, by one dense matrix product per axis.

    Returns:
        (N, 3, h, w) of `dtype`.
    """
    if color_in == "nv12":
        frames = [nv12_to_rgb(*f, yuv_matrix, yuv_range) for f in checked_nv12(images)]
        color_in = "rgb"
    else:
        frames = [images] if isinstance(images, np.ndarray) else list(images)
    height, width = size
    whole = checked_boxes(boxes, frame_index, [frame.shape for frame in frames])
    out = np.empty((len(whole), 3, height, width), dtype)
    for n, (i, x0, y0, x1, y1) in enumerate(whole):
        pixels = frames[i][y0:y1, x0:x1].astype(dtype)
        if color_in != color_out:
            pixels = pixels[..., ::-1]
        top, left, h, w = 0, 0, height, width
        if fit == "letterbox":
            factor = min(height / (y1 - y0), width / (x1 - x0))
            h = min(max(round((y1 - y0) * factor), 1), height)
            w = min(max(round((x1 - x0) * factor), 1), width)
            top, left = ((height - h) // 2, (width - w) // 2) if align == "center" else (0, 0)
        rows = triangle_weights(y1 - y0, h).astype(dtype)
        columns = triangle_weights(x1 - x0, w).astype(dtype)
        resized = np.full((3, height, width), pad_value, dtype)
        resized[:, top : top + h, left : left + w] = np.einsum(
            "hy,yxc,wx->chw", rows, pixels, columns, optimize=True
        )
        channel = (3, 1, 1)
        out[n] = (resized * scale - np.reshape(mean, channel)) / np.reshape(std, channel)
    return out


def nv12_to_rgb(
    luma: NDArray[np.uint8], chroma: NDArray[np.uint8], matrix: YuvMatrix, levels: YuvRange
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of the planes (H, W) and ((H+1)//2, (W+1)//2, 2); see `yuv_factors`."""
    y_low, y_gain, v_to_red, u_to_green, v_to_green, u_to_blue = yuv_factors(matrix, levels)
    light = np.maximum(luma.astype(np.int64) - y_low, 0) * y_gain
    around = chroma.astype(np.int64).repeat(2, axis=0).repeat(2, axis=1) - 128
    u, v = np.moveaxis(around[: luma.shape[0], : luma.shape[1]], 2, 0)
    exact = np.stack(
        [light + v_to_red * v, light + u_to_green * u + v_to_green * v, light + u_to_blue * u], 2
    )
    return np.asarray(np.clip((exact + (1 << 19)) >> 20, 0, 255), np.uint8)


def quantise(values: NDArray[np.float32], scale: float, zero_point: int) -> NDArray[np.int8]:
    """What dtype int8 makes of the float32 result: ONNX QuantizeLinear."""
    steps = np.rint(values / np.float32(scale)) + zero_point
    return np.asarray(np.clip(steps, -128, 127), np.int8)


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
