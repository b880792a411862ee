"""Batched crop, antialiased resize and normalisation of 8-bit images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy, integer_column, worker_limit
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.simd import simd_level

ColorOrder = Literal["bgr", "rgb"]
COLOR_ORDERS: tuple[ColorOrder, ...] = ("bgr", "rgb")
Triple = tuple[float, float, float]


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
    out: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Cuts boxes out of images and makes the normalised planes that networks take.

    Each box is resized with the antialiased triangle filter of Pillow's
    ``image.crop(box).resize((w, h), Image.Resampling.BILINEAR)``, the filter of training pipelines,
    but without Pillow's rounding to 8 bits between and after the passes: a pixel differs from
    Pillow's by at most 1 of 255. Specification: `crosscam_kernels.reference.crop`. The result does
    not depend on the number of threads nor on the instruction set.

    Boxes become whole pixels as in Pillow's ``crop``: each coordinate is rounded to the nearest
    integer, halves to even. The part outside the image is then cut off, so a box that hangs over
    the border is stretched from what is visible of it; no padding is invented.

    Args:
        images: One (H, W, 3) uint8 image, or a sequence of them of any sizes. Rows may be strided,
            as in a view of a larger frame; other layouts are copied.
        boxes: (N, 4) xyxy in pixels, x to the right, the far edge exclusive; fractions allowed.
        size: Height and width (h, w) of the output, pixels.
        frame_index: (N,) which image each box belongs to; may be left out for a single image.
        color_in: Channel order of the images.
        color_out: Channel order of the output.
        scale: Factor of the pixel value, for example ``1 / 255``.
        mean: Subtracted after scaling, one per channel in *output* order.
        std: Divided by after that, likewise; not zero.
        out: Where to write: (N, 3, h, w) float32 whose last axis is dense. May be a view into a
            larger array, such as the inner part of a letterboxed canvas.
        threads: At most this many threads; None for one per processor. Small problems use fewer.

    Returns:
        (N, 3, h, w) float32, ``(pixel * scale - mean[c]) / std[c]``; `out` when it was given.

    Raises:
        ShapeError: An array has the wrong shape, dtype or layout.
        InputError: A box is not finite, empty, or outside its image; the message names it.
        UsageError: Another argument is impossible.
    """
    frames = checked_images(images)
    whole = checked_boxes(boxes, frame_index, [frame.shape for frame in frames])
    gain, bias = pixel_transform(scale, mean, std)
    output = _checked_out(out, (len(whole), 3, *_checked_size(size)))
    for order, name in ((color_in, "color_in"), (color_out, "color_out")):
        if order not in COLOR_ORDERS:
            raise UsageError(f"{name}={order!r}", expected="'bgr' or 'rgb'")
    _native.crop_resize_normalize(
        images=frames,
        boxes=whole,
        source_channel=(0, 1, 2) if color_in == color_out else (2, 1, 0),
        gain=gain,
        bias=bias,
        threads=worker_limit(threads),
        simd=simd_level(),
        out=output,
    )
    return output


def checked_images(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
) -> list[NDArray[np.uint8]]:
    """The images as a list of arrays whose pixels are dense.

    Raises:
        ShapeError: An image is not (H, W, 3) uint8.
    """
    single = hasattr(images, "ndim") or hasattr(images, "__dlpack__")
    frames = []
    for i, image in enumerate([images] if single else images):
        array = as_numpy(image, f"image {i}")
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ShapeError(
                f"image {i} is {array.dtype} of shape {array.shape}",
                expected="uint8 of shape (H, W, 3)",
            )
        dense = array.strides[1:] == (3, 1)
        frames.append(array if dense else np.ascontiguousarray(array))
    return frames


def checked_boxes(
    boxes: ArrayLike, frame_index: ArrayLike | None, shapes: Sequence[tuple[int, ...]]
) -> NDArray[np.int64]:
    """Whole-pixel boxes inside their images.

    Args:
        boxes: (N, 4) xyxy, pixels.
        frame_index: (N,) image of each box, or None for a single image.
        shapes: Shape (H, W, ...) of each image.

    Returns:
        (N, 5) int64: image, x0, y0, x1, y1; the far edge exclusive.

    Raises:
        ShapeError: Wrong shape or dtype.
        InputError: A box that is not finite, empty or outside, or an image that does not exist.
    """
    array = as_numpy(boxes, "boxes")
    if array.size == 0 and array.ndim <= 2:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "fiu":
        raise ShapeError(
            f"boxes are {array.dtype} of shape {array.shape}",
            expected="numbers of shape (N, 4), xyxy in pixels",
        )
    count = len(array)
    if frame_index is None:
        if len(shapes) != 1 and count:
            raise ShapeError(
                f"{len(shapes)} images are given without frame_index",
                fix="say with frame_index which image each box belongs to",
            )
        index = np.zeros(count, np.int64)
    else:
        index = integer_column(frame_index, "frame_index", count, np.int64)
        if count and (index.min() < 0 or index.max() >= len(shapes)):
            raise InputError(
                f"frame_index holds values from {index.min()} to {index.max()}",
                expected=f"0 to {len(shapes) - 1}, as there are {len(shapes)} images",
            )
    sizes = np.array([shape[:2] for shape in shapes], np.int64).reshape(-1, 2)[index]
    height, width = sizes[:, 0], sizes[:, 1]
    finite = np.isfinite(array).all(axis=1)
    # Far coordinates are cut before the conversion: a float beyond int64 has no integer.
    rounded = np.clip(np.rint(np.where(finite[:, None], array, 0)), -1, 2**31).astype(np.int64)
    whole = np.empty((count, 5), np.int64)
    whole[:, 0] = index
    whole[:, 1:] = np.clip(rounded, 0, np.stack([width, height, width, height], axis=1))
    bad = ~finite | (whole[:, 3] <= whole[:, 1]) | (whole[:, 4] <= whole[:, 2])
    if bad.any():
        n = int(bad.argmax())
        raise InputError(
            f"box {n} {array[n].tolist()} covers no pixel of image {index[n]}, "
            f"which is {width[n]} wide and {height[n]} high",
            expected="finite xyxy with x0 < x1 and y0 < y1 that overlaps its image",
            fix="drop such boxes before cropping",
        )
    return whole


def pixel_transform(
    scale: float, mean: Sequence[float], std: Sequence[float]
) -> tuple[Triple, Triple]:
    """Gain and bias per output channel with ``(p * scale - mean) / std == p * gain + bias``.

    Raises:
        ShapeError: `mean` or `std` has not three values.
        UsageError: A value is not finite or a standard deviation is zero.
    """
    if len(mean) != 3 or len(std) != 3:
        raise ShapeError(
            f"mean has {len(mean)} and std {len(std)} values",
            expected="three each, one per channel",
        )
    if not np.isfinite([scale, *mean, *std]).all() or 0.0 in [float(s) for s in std]:
        raise UsageError(
            f"scale={scale}, mean={tuple(mean)}, std={tuple(std)}",
            expected="finite values and no zero in std",
        )
    gain = [float(scale) / float(s) for s in std]
    bias = [-float(m) / float(s) for m, s in zip(mean, std, strict=True)]
    return (gain[0], gain[1], gain[2]), (bias[0], bias[1], bias[2])


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    height, width = (int(value) for value in size)
    if height < 1 or width < 1 or max(height, width) > 1 << 20:
        raise UsageError(f"size={tuple(size)}", expected="(height, width) of at least 1 pixel each")
    return height, width


def _checked_out(
    out: NDArray[np.float32] | None, shape: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float32:
        found = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else repr(out)
        raise ShapeError(f"out is {found}", expected=f"a float32 array of shape {shape}")
    if not out.flags.writeable or out.strides[3] != 4 or not out.flags.aligned:
        raise ShapeError(
            "out is read-only or its last axis is not dense", expected="a plain buffer"
        )
    return out
