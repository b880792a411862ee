"""Checks of the arguments of `crop_resize_normalize`, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels._arrays import as_numpy, integer_column
from crosscam_kernels.errors import InputError, ShapeError, UsageError

ColorOrder = Literal["bgr", "rgb"]
ColorInput = Literal["bgr", "rgb", "nv12"]
YuvMatrix = Literal["bt601", "bt709"]
YuvRange = Literal["limited", "full"]
Fit = Literal["stretch", "letterbox"]
Align = Literal["center", "top_left"]
Triple = tuple[float, float, float]
Image = NDArray[np.uint8]

COLOR_ORDERS: tuple[ColorOrder, ...] = ("bgr", "rgb")
COLOR_INPUTS: tuple[ColorInput, ...] = ("bgr", "rgb", "nv12")
ELEMENTS = ("float32", "float16", "int8")
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # of red and of blue
YUV_RANGES: tuple[YuvRange, ...] = ("limited", "full")
_FLOAT32_NORMAL = (1.1754944e-38, 3.4028234e38)
FIXED_POINT = 20  # bits after the point of the factors below


class Nv12(NamedTuple):
    """One image of NV12: `luma` (H, W) and `chroma` ((H+1)//2, (W+1)//2, 2), U then V."""

    luma: Image
    chroma: Image


class Quantization(NamedTuple):
    """How int8 outputs stand for values: ``value = (element - zero_point) * scale``."""

    scale: float
    zero_point: int


def one_of(value: Any, name: str, choices: Sequence[str]) -> None:
    """Refuses a value that is not among `choices`.

    Raises:
        UsageError: It is not.
    """
    if value not in choices:
        names = [repr(choice) for choice in choices]
        raise UsageError(f"{name}={value!r}", expected=f"{', '.join(names[:-1])} or {names[-1]}")


def checked_images(images: Any) -> list[Image]:
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


def checked_nv12(images: Any) -> list[Nv12]:
    """The images as planes of luma and chroma whose rows are dense.

    Args:
        images: One image or a sequence. An image is a pair of planes, see `Nv12`, or one array
            (H + (H+1)//2, W) that holds the rows of both, for an even W.

    Raises:
        ShapeError: An image is neither.
    """
    single = hasattr(images, "ndim") or hasattr(images, "__dlpack__") or isinstance(images, Nv12)
    if not single and isinstance(images, tuple) and len(images) == 2:
        single = as_numpy(images[1], "image 0").ndim == 3
    frames = []
    for i, image in enumerate([images] if single else images):
        if isinstance(image, tuple | list):
            luma, chroma = (as_numpy(plane, f"image {i}") for plane in image)
        else:
            luma, chroma = _split_nv12(as_numpy(image, f"image {i}"), i)
        height, width = luma.shape if luma.ndim == 2 else (0, 0)
        wanted = ((height + 1) // 2, (width + 1) // 2, 2)
        if not luma.size or chroma.shape != wanted or {luma.dtype, chroma.dtype} != {_U8}:
            raise ShapeError(
                f"image {i} has luma {luma.dtype} {luma.shape} and chroma {chroma.dtype} "
                f"{chroma.shape}",
                expected="uint8 of shapes (H, W) and ((H+1)//2, (W+1)//2, 2)",
            )
        luma = luma if luma.strides[1] == 1 else np.ascontiguousarray(luma)
        chroma = chroma if chroma.strides[1:] == (2, 1) else np.ascontiguousarray(chroma)
        frames.append(Nv12(luma, chroma))
    return frames


_U8 = np.dtype(np.uint8)


def _split_nv12(array: NDArray[Any], i: int) -> tuple[NDArray[Any], NDArray[Any]]:
    # H + ceil(H / 2) rows: divisible by three for an even H, one more than that plus one otherwise.
    if array.ndim != 2 or array.shape[1] % 2 or array.shape[0] % 3 == 1:
        raise ShapeError(
            f"image {i} is {array.dtype} of shape {array.shape}",
            expected="NV12 as uint8 of shape (H + (H+1)//2, W) with an even W",
            fix="pass a pair (luma, chroma) when the width is odd or the planes lie apart",
        )
    height = array.shape[0] * 2 // 3
    rows = np.ascontiguousarray(array[height:])
    return array[:height], rows.reshape(len(rows), array.shape[1] // 2, 2)


def yuv_factors(matrix: YuvMatrix, levels: YuvRange) -> tuple[int, int, int, int, int, int]:
    """Colour conversion of ITU-R BT.601 or BT.709 in fixed point with 20 bits after the point.

    With y = max(Y - y_low, 0), u = U - 128 and v = V - 128, each channel is rounded once and cut
    to 0..255: R = y_gain y + v_to_red v, G = y_gain y + u_to_green u + v_to_green v,
    B = y_gain y + u_to_blue u.

    Returns:
        y_low, y_gain, v_to_red, u_to_green, v_to_green, u_to_blue.

    Raises:
        UsageError: An unknown matrix or range.
    """
    one_of(matrix, "yuv_matrix", tuple(LUMA_WEIGHTS))
    one_of(levels, "yuv_range", YUV_RANGES)
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    y_gain, c_gain, y_low = (255 / 219, 255 / 224, 16) if levels == "limited" else (1.0, 1.0, 0)
    factors = (
        y_gain,
        2 * (1 - red) * c_gain,
        -2 * (1 - blue) * blue / green * c_gain,
        -2 * (1 - red) * red / green * c_gain,
        2 * (1 - blue) * c_gain,
    )
    a, b, c, d, e = (round(factor * (1 << FIXED_POINT)) for factor in factors)
    return y_low, a, b, c, d, e


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


def letterbox_places(
    whole: NDArray[np.int64], size: tuple[int, int], align: Align
) -> NDArray[np.int64]:
    """Where each crop goes in its output when its shape is kept.

    Args:
        whole: (N, 5) as `checked_boxes` returns them.
        size: Height and width of the output.
        align: Whether what is left is split evenly (an odd pixel goes to the right or the bottom)
            or lies all on the right or at the bottom.

    Returns:
        (N, 4) int64: top, left, height, width; sides are rounded to the nearest pixel, halves to
        even, and are at least 1.
    """
    one_of(align, "align", ("center", "top_left"))
    sides = np.stack([whole[:, 4] - whole[:, 2], whole[:, 3] - whole[:, 1]], axis=1)
    canvas = np.array(size, np.int64)
    factor = (canvas / sides).min(axis=1, keepdims=True)
    inner = np.clip(np.rint(sides * factor).astype(np.int64), 1, canvas)
    corner = (canvas - inner) // 2 if align == "center" else np.zeros_like(inner)
    return np.ascontiguousarray(np.concatenate([corner, inner], axis=1))


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
    if not all(math.isfinite(v) for v in (scale, *mean, *std)) or 0.0 in [float(s) for s in std]:
        raise UsageError(
            f"scale={scale}, mean={tuple(mean)}, std={tuple(std)}",
            expected="finite values and no zero in std",
        )
    gain = [float(scale) / float(s) for s in std]
    bias = [-float(m) / float(s) for m, s in zip(mean, std, strict=True)]
    return (gain[0], gain[1], gain[2]), (bias[0], bias[1], bias[2])


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the output.

    Raises:
        UsageError: A side is not positive, or absurdly long.
    """
    height, width = (int(value) for value in size)
    if height < 1 or width < 1 or max(height, width) > 1 << 20:
        raise UsageError(f"size={tuple(size)}", expected="(height, width) of at least 1 pixel each")
    return height, width


def checked_element(dtype: str, quantization: tuple[float, int] | None) -> Quantization:
    """Scale and zero point of the output; (1, 0) where its dtype needs none.

    Raises:
        UsageError: An unknown dtype, or a quantization that is missing, useless or out of range.
    """
    one_of(dtype, "dtype", ELEMENTS)
    if dtype != "int8":
        if quantization is not None:
            raise UsageError(f"quantization is given for dtype={dtype!r}", expected="dtype='int8'")
        return Quantization(1.0, 0)
    if quantization is None:
        raise UsageError(
            "dtype='int8' without quantization",
            expected="quantization=(scale, zero_point) of the network's input",
        )
    scale, zero_point = float(quantization[0]), int(quantization[1])
    if not _FLOAT32_NORMAL[0] <= scale <= _FLOAT32_NORMAL[1] or not -128 <= zero_point <= 127:
        raise UsageError(
            f"quantization={tuple(quantization)}",
            expected="a positive normal float32 scale and a zero point of -128..127",
        )
    return Quantization(scale, zero_point)


def checked_out(out: Any, shape: tuple[int, int, int, int], dtype: str) -> NDArray[Any]:
    """The array to write to, a new one for None.

    Raises:
        ShapeError: `out` has another shape or dtype, is read-only or has gaps in its last axis.
    """
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.dtype(dtype):
        found = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else repr(out)
        raise ShapeError(f"out is {found}", expected=f"a {dtype} array of shape {shape}")
    if not out.flags.writeable or out.strides[3] != out.itemsize or not out.flags.aligned:
        raise ShapeError(
            "out is read-only or its last axis is not dense", expected="a plain buffer"
        )
    return out
