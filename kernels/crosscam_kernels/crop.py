"""Batched crop, antialiased resize and normalisation of 8-bit images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels import _crop_args as args
from crosscam_kernels import _native
from crosscam_kernels._arrays import worker_limit
from crosscam_kernels._crop_args import Align, ColorInput, ColorOrder, Fit, YuvMatrix, YuvRange
from crosscam_kernels._torch import is_tensor
from crosscam_kernels.errors import UsageError
from crosscam_kernels.simd import simd_level


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
    dtype: str = "float32",
    quantization: tuple[float, int] | None = None,
    yuv_matrix: YuvMatrix = "bt601",
    yuv_range: YuvRange = "limited",
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> Any:
    """Cuts boxes out of images and makes the normalised planes that networks take.

    Each box is resized with the antialiased triangle filter of Pillow's
    ``image.crop(box).resize((w, h), Image.Resampling.BILINEAR)``, the filter of training pipelines,
    but without Pillow's rounding to 8 bits between and after the passes: a pixel differs from
    Pillow's by at most 1 of 255. Specification: `crosscam_kernels.reference.crop`. On the CPU the
    result does not depend on the number of threads nor on the instruction set; a GPU agrees with
    it within 0.01 of 255.

    Boxes become whole pixels as in Pillow's ``crop``: each coordinate is rounded to the nearest
    integer, halves to even. The part outside the image is then cut off, so a box that hangs over
    the border is stretched from what is visible of it; no padding is invented.

    Args:
        images: One (H, W, 3) uint8 image, or a sequence of them of any sizes. Rows may be strided,
            as in a view of a larger frame; other layouts are copied. For ``color_in="nv12"`` an
            image is a pair of planes (H, W) and ((H+1)//2, (W+1)//2, 2), or one array of both,
            (H + (H+1)//2, W), when W is even. Tensors: (H, W, 3) or (B, H, W, 3), or a pair of
            planes with or without B, on any device.
        boxes: (N, 4) xyxy in pixels, x to the right, the far edge exclusive; fractions allowed.
        size: Height and width (h, w) of the output, pixels.
        frame_index: (N,) which image each box belongs to; may be left out for a single image.
        color_in: Channel order of the images, or ``"nv12"``: converted first to 8-bit RGB, each
            pixel with the chroma of its two by two block, as OpenCV and most decoders do it.
        color_out: Channel order of the output.
        scale: Factor of the pixel value, for example ``1 / 255``.
        mean: Subtracted after scaling, one per channel in *output* order.
        std: Divided by after that, likewise; not zero.
        fit: ``"stretch"`` fills the output; ``"letterbox"`` keeps the shape of the box and pads
            the rest. `letterbox_transform` tells where things went.
        align: Of a letterbox: ``"center"``, or ``"top_left"`` with the padding right and below.
        pad_value: Pixel value 0..255 of that padding, normalised like any other.
        dtype: ``"float32"``, ``"float16"`` (rounded to nearest even) or ``"int8"``.
        quantization: For int8, (scale, zero_point) as in ONNX QuantizeLinear: the float32 value
            divided by the scale, rounded to nearest even, plus the zero point, saturated.
        yuv_matrix: Of NV12: ``"bt601"`` (what FFmpeg and OpenCV assume) or ``"bt709"``.
        yuv_range: Of NV12: ``"limited"`` (16..235) or ``"full"`` (0..255).
        out: Where to write: (N, 3, h, w) of `dtype` whose last axis is dense. May be a view into a
            larger array, such as the inner part of a canvas. Not for tensors.
        threads: At most this many threads; None for one per processor, and for tensors as many as
            torch uses. Small problems use fewer.

    Returns:
        (N, 3, h, w), ``(pixel * scale - mean[c]) / std[c]`` in `dtype`; `out` when it was given; a
        tensor on their device when the images are tensors.

    Raises:
        ShapeError: An array has the wrong shape, dtype or layout.
        InputError: A box is not finite, empty, or outside its image; the message names it.
        UsageError: Another argument is impossible.
    """
    args.one_of(color_in, "color_in", args.COLOR_INPUTS)
    args.one_of(color_out, "color_out", args.COLOR_ORDERS)
    args.one_of(fit, "fit", ("stretch", "letterbox"))
    args.one_of(align, "align", ("center", "top_left"))
    if not math.isfinite(pad_value):
        raise UsageError(f"pad_value={pad_value}", expected="a finite pixel value")
    gain, bias = args.pixel_transform(scale, mean, std)
    quant = args.checked_element(dtype, quantization)
    yuv = args.yuv_factors(yuv_matrix, yuv_range)
    height, width = args.checked_size(size)
    limit = worker_limit(threads)
    if is_tensor(images) or (
        isinstance(images, tuple | list) and len(images) and is_tensor(images[0])
    ):
        from crosscam_kernels.torch_ops.crop import crop_tensors

        if out is not None:
            raise UsageError("out is given for tensors", fix="copy the result where it belongs")
        return crop_tensors(
            images,
            boxes,
            frame_index,
            size=(height, width),
            source=(color_in, color_out),
            gain=gain,
            bias=bias,
            letterbox=None if fit == "stretch" else align,
            pad_value=float(pad_value),
            dtype=dtype,
            quantization=quant,
            yuv=yuv,
            threads=limit,
        )
    planes = args.checked_nv12(images) if color_in == "nv12" else None
    frames = [p.luma for p in planes] if planes is not None else args.checked_images(images)
    whole = args.checked_boxes(boxes, frame_index, [frame.shape for frame in frames])
    output = args.checked_out(out, (len(whole), 3, height, width), dtype)
    _native.crop_resize_normalize(
        images=frames,
        chroma=[p.chroma for p in planes] if planes is not None else [],
        boxes=whole,
        places=None if fit == "stretch" else args.letterbox_places(whole, (height, width), align),
        padding=float(pad_value),
        yuv=yuv,
        source_channel=source_channels(color_in, color_out),
        gain=gain,
        bias=bias,
        quantization=quant,
        threads=limit,
        simd=simd_level(),
        out=output,
    )
    return output


def letterbox_transform(
    boxes: ArrayLike,
    *,
    image_size: ArrayLike,
    size: tuple[int, int],
    align: Align = "center",
) -> NDArray[np.float64]:
    """Where a letterboxed crop puts the pixels of its image.

    Args:
        boxes: (N, 4) xyxy, as given to `crop_resize_normalize`.
        image_size: (2,) height and width of the image, or (N, 2) of the image of each box.
        size: Height and width of the output.
        align: As given to `crop_resize_normalize`.

    Returns:
        (N, 4) float64: scale_x, scale_y, shift_x, shift_y. A point of the image lies at
        ``x * scale_x + shift_x`` of the output; a point of the output at ``(x - shift_x) /
        scale_x`` of the image. Both scales are almost equal: they differ by the rounding of the
        sides to whole pixels.

    Raises:
        ShapeError: An array has the wrong shape.
        InputError: A box is not finite, empty, or outside its image.
    """
    shapes = np.asarray(image_size, np.int64).reshape(-1, 2)
    count = len(np.asarray(boxes).reshape(-1, 4))
    index = np.zeros(count, np.int64) if len(shapes) == 1 else np.arange(count)
    whole = args.checked_boxes(boxes, index, [tuple(shape) for shape in shapes.tolist()])
    place = args.letterbox_places(whole, args.checked_size(size), align)
    scale_x = place[:, 3] / (whole[:, 3] - whole[:, 1])
    scale_y = place[:, 2] / (whole[:, 4] - whole[:, 2])
    shift_x = place[:, 1] - whole[:, 1] * scale_x
    shift_y = place[:, 0] - whole[:, 2] * scale_y
    return np.stack([scale_x, scale_y, shift_x, shift_y], axis=1)


def source_channels(color_in: ColorInput, color_out: ColorOrder) -> tuple[int, int, int]:
    """For each output channel, the channel of the input; NV12 becomes red, green, blue."""
    order = "rgb" if color_in == "nv12" else color_in
    return (0, 1, 2) if order == color_out else (2, 1, 0)
