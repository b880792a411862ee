"""`crop_resize_normalize` on tensors: ``torch.ops.crosscam.crop_resize_normalize``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam_kernels import _crop_args as args
from crosscam_kernels import _native
from crosscam_kernels.crop import source_channels
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.simd import simd_level

DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


@torch.library.custom_op("crosscam::crop_resize_normalize", mutates_args=(), device_types="cpu")
def crop_resize_normalize(
    images: Tensor,
    chroma: Tensor | None,
    boxes: Tensor,
    frame_index: Tensor | None,
    size: Sequence[int],
    source_channel: Sequence[int],
    gain: Sequence[float],
    bias: Sequence[float],
    letterbox: str,
    pad_value: float,
    dtype: str,
    quant_scale: float,
    zero_point: int,
    yuv: Sequence[int],
    threads: int,
) -> Tensor:
    """The operator with its arguments worked out; see `crosscam_kernels.crop_resize_normalize`.

    Args:
        images: (B, H, W, 3) uint8, or luma (B, H, W) when `chroma` is given.
        chroma: (B, (H+1)//2, (W+1)//2, 2) uint8 of NV12.
        boxes: (N, 4) xyxy of any number type.
        frame_index: (N,) integers; may be left out when B is 1.
        size: Height and width of the output.
        source_channel: Channel of the image of each output channel.
        gain: Per output channel, as `bias`: out = pixel * gain + bias.
        bias: See `gain`.
        letterbox: Empty to stretch, else ``"center"`` or ``"top_left"``.
        pad_value: Pixel value of the padding.
        dtype: ``"float32"``, ``"float16"`` or ``"int8"``.
        quant_scale: Of int8.
        zero_point: Of int8.
        yuv: Six factors, see `yuv_factors`.
        threads: At most this many on the CPU; 0 for torch's number.

    Returns:
        (N, 3, h, w) of `dtype` on the device of the images.
    """
    height, width = size
    frames = [frame.numpy() for frame in images]
    planes = (
        [args.Nv12(y, c.numpy()) for y, c in zip(frames, chroma, strict=True)]
        if (chroma is not None)
        else None
    )
    if planes is None:
        frames = args.checked_images(frames)
    else:
        planes = args.checked_nv12(planes)
        frames = [plane.luma for plane in planes]
    whole, places = _placed(boxes, frame_index, images.shape, (height, width), letterbox)
    out = torch.empty((len(whole), 3, height, width), dtype=DTYPES[dtype])
    red, green, blue = source_channel
    _native.crop_resize_normalize(
        images=frames,
        chroma=[plane.chroma for plane in planes] if planes is not None else [],
        boxes=whole,
        places=places,
        padding=pad_value,
        yuv=_six(yuv),
        source_channel=(red, green, blue),
        gain=_three(gain),
        bias=_three(bias),
        quantization=(quant_scale, zero_point),
        threads=threads or torch.get_num_threads(),
        simd=simd_level(),
        out=out.numpy(),
    )
    return out


@crop_resize_normalize.register_fake
def _(
    images: Tensor,
    chroma: Tensor | None,
    boxes: Tensor,
    frame_index: Tensor | None,
    size: Sequence[int],
    source_channel: Sequence[int],
    gain: Sequence[float],
    bias: Sequence[float],
    letterbox: str,
    pad_value: float,
    dtype: str,
    quant_scale: float,
    zero_point: int,
    yuv: Sequence[int],
    threads: int,
) -> Tensor:
    return images.new_empty((boxes.shape[0], 3, size[0], size[1]), dtype=DTYPES[dtype])


@crop_resize_normalize.register_kernel("cuda")
def _(
    images: Tensor,
    chroma: Tensor | None,
    boxes: Tensor,
    frame_index: Tensor | None,
    size: Sequence[int],
    source_channel: Sequence[int],
    gain: Sequence[float],
    bias: Sequence[float],
    letterbox: str,
    pad_value: float,
    dtype: str,
    quant_scale: float,
    zero_point: int,
    yuv: Sequence[int],
    threads: int,
) -> Tensor:
    from crosscam_kernels.gpu.crop import launch_crop

    height, width = size
    # The boxes are checked where Python is: a box that covers nothing must be an error, not noise.
    whole, places = _placed(boxes, frame_index, images.shape, (height, width), letterbox)
    if places is None:
        places = np.tile(np.array([0, 0, height, width], np.int64), (len(whole), 1))
    table = torch.from_numpy(np.concatenate([whole, places], axis=1))
    return launch_crop(
        images,
        chroma,
        table.to(images.device, torch.int32),
        size=(height, width),
        swap=source_channel[0] == 2,
        gain=_three(gain),
        bias=_three(bias),
        pad_value=pad_value,
        dtype=DTYPES[dtype],
        quantization=(quant_scale, zero_point),
        yuv=_six(yuv),
    )


def crop_tensors(
    images: Any,
    boxes: Any,
    frame_index: Any,
    *,
    size: tuple[int, int],
    source: tuple[args.ColorInput, args.ColorOrder],
    gain: args.Triple,
    bias: args.Triple,
    letterbox: args.Align | None,
    pad_value: float,
    dtype: str,
    quantization: args.Quantization,
    yuv: tuple[int, int, int, int, int, int],
    threads: int,
) -> Tensor:
    """Brings the images to one batch and calls the custom op."""
    chroma: Tensor | None = None
    if source[0] == "nv12":
        images, chroma = _nv12_planes(images)
    elif not isinstance(images, Tensor) or images.ndim not in (3, 4) or images.shape[-1] != 3:
        raise ShapeError(
            f"images are {_describe(images)}",
            expected="one tensor (H, W, 3) or (B, H, W, 3)",
            fix="stack tensors of one size, or pass NumPy arrays of several",
        )
    elif images.ndim == 3:
        images = images[None]
    if images.dtype != torch.uint8 or (chroma is not None and chroma.dtype != torch.uint8):
        raise ShapeError(f"images are {images.dtype}", expected="torch.uint8")
    index = None if frame_index is None else torch.as_tensor(frame_index)
    corners = torch.as_tensor(boxes)
    if corners.numel() == 0 and corners.ndim <= 2:
        corners = corners.reshape(0, 4)
    result: Tensor = crop_resize_normalize(
        images,
        chroma,
        corners.to(images.device),
        None if index is None else index.to(images.device),
        list(size),
        list(source_channels(*source)),
        list(gain),
        list(bias),
        letterbox or "",
        pad_value,
        dtype,
        quantization.scale,
        quantization.zero_point,
        list(yuv),
        threads,
    )
    return result


def _nv12_planes(images: Any) -> tuple[Tensor, Tensor]:
    pair = isinstance(images, tuple | list) and len(images) == 2
    if not pair or not all(isinstance(plane, Tensor) for plane in images):
        raise ShapeError(
            f"images are {_describe(images)}",
            expected="a pair of tensors (B, H, W) and (B, (H+1)//2, (W+1)//2, 2), B optional",
        )
    luma, chroma = images
    if luma.ndim == 2 and chroma.ndim == 3:
        luma, chroma = luma[None], chroma[None]
    wanted = (luma.shape[0], (luma.shape[-2] + 1) // 2, (luma.shape[-1] + 1) // 2, 2)
    if luma.ndim != 3 or tuple(chroma.shape) != wanted or luma.device != chroma.device:
        raise ShapeError(
            f"luma is {tuple(luma.shape)} on {luma.device}, chroma {tuple(chroma.shape)} on "
            f"{chroma.device}",
            expected="(B, H, W) and (B, (H+1)//2, (W+1)//2, 2) on one device",
        )
    return luma, chroma


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__} of {len(value)}"


def _placed(
    boxes: Tensor,
    frame_index: Tensor | None,
    shape: Sequence[int],
    size: tuple[int, int],
    letterbox: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    corners = boxes.detach().cpu()
    corners = corners.double() if corners.is_floating_point() else corners
    index = None if frame_index is None else frame_index.cpu().numpy()
    shapes = [(int(shape[1]), int(shape[2]))] * int(shape[0])
    whole = args.checked_boxes(corners.numpy(), index, shapes)
    if not letterbox:
        return whole, None
    align: args.Align = "center" if letterbox == "center" else "top_left"
    return whole, args.letterbox_places(whole, size, align)


def _three(values: Sequence[float]) -> args.Triple:
    first, second, third = values
    return first, second, third


def _six(values: Sequence[int]) -> tuple[int, int, int, int, int, int]:
    a, b, c, d, e, f = values
    return a, b, c, d, e, f
