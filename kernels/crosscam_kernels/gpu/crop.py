"""`crop_resize_normalize` on a GPU: one launch for all crops, a tile of one output per program.

The filter is separable, and within the window of source pixels that a tile needs it is two small
dense products, rows (columns pixels): ``wy @ (pixels @ wx)``. The weights are made on the fly from
the definition of the triangle and are zero for pixels that an output does not see. Sums run in
fp32 in a fixed order; nothing is read back by another program.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosscam_kernels.aot import KernelSpec

# Adding 1.5 * 2^23 leaves no fraction bits: the sum is rounded to an integer, halves to even.
_ROUND = tl.constexpr(12582912.0)
TILE, STEP, WARPS = 32, 32, 8  # output pixels and source pixels on a side; warps of a program


@triton.jit
def _center(index, size_in, size_out):
    """Centre of output pixel `index` in source pixels: whole part and fraction, both exact."""
    numerator = (2 * index + 1).to(tl.int64) * size_in
    whole = numerator // (2 * size_out)
    rest = (numerator - whole * 2 * size_out).to(tl.float32)
    return whole.to(tl.int32), rest / (2 * size_out).to(tl.float32)


@triton.jit
def _triangle(whole, fraction, source, size_in, support):
    """Weights, not normalised, of source pixels `source` around centres; shapes broadcast."""
    distance = tl.abs((source - whole).to(tl.float32) + (0.5 - fraction)) / support
    weight = tl.maximum(1.0 - distance, 0.0)
    return tl.where(source < size_in, weight, 0.0)


@triton.jit
def _window(first, last, size_in, size_out):
    """Source pixels [low, high) that outputs first..last may see; empty when last < first."""
    reach = tl.maximum((size_in + size_out - 1) // size_out, 1) + 1
    low, _ = _center(first, size_in, size_out)
    high, _ = _center(last, size_in, size_out)
    low = tl.maximum(low - reach, 0)
    high = tl.minimum(high + reach + 1, size_in)
    return low, tl.where(last < first, low, high)


@triton.jit
def _byte(value):
    return tl.minimum(tl.maximum(value >> 20, 0), 255).to(tl.float32)


@triton.jit
def _pixels(
    image_ptr, chroma_ptr, row_stride, chroma_stride, rows, columns, seen,
    y_low, y_gain, v_red, u_green, v_green, u_blue,
    NV12: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Three channels of the pixels at `rows` and `columns` of one image, fp32; 0 where not seen."""
    if NV12:
        y = tl.load(image_ptr + rows.to(tl.int64) * row_stride + columns, mask=seen, other=0)
        pair = chroma_ptr + (rows // 2).to(tl.int64) * chroma_stride + columns // 2 * 2
        u = tl.load(pair, mask=seen, other=128).to(tl.int32) - 128
        v = tl.load(pair + 1, mask=seen, other=128).to(tl.int32) - 128
        light = tl.maximum(y.to(tl.int32) - y_low, 0) * y_gain + (1 << 19)
        a = _byte(light + v_red * v)
        b = _byte(light + u_green * u + v_green * v)
        c = _byte(light + u_blue * u)
        return tl.where(seen, a, 0.0), tl.where(seen, b, 0.0), tl.where(seen, c, 0.0)
    at = image_ptr + rows.to(tl.int64) * row_stride + columns * 3
    a = tl.load(at, mask=seen, other=0).to(tl.float32)
    b = tl.load(at + 1, mask=seen, other=0).to(tl.float32)
    c = tl.load(at + 2, mask=seen, other=0).to(tl.float32)
    return a, b, c


@triton.jit
def _finish(value, norm, inside, pad, gain, bias, quant_scale, zero_point, INT8: tl.constexpr):  # noqa: N803
    """Normalises one channel; int8 as ONNX QuantizeLinear."""
    value = tl.where(inside, value / tl.where(inside, norm, 1.0), pad) * gain + bias
    if INT8:
        steps = tl.div_rn(value, quant_scale + tl.zeros_like(value))
        steps = tl.minimum(tl.maximum(steps, -1024.0), 1024.0)
        steps = (steps + _ROUND) - _ROUND + zero_point
        value = tl.minimum(tl.maximum(steps, -128.0), 127.0)
    return value


@triton.jit
def crop_kernel(
    images_ptr,  # (B, H, W, 3) uint8, or luma (B, H, W)
    chroma_ptr,  # (B, (H+1)//2, (W+1)//2, 2) uint8 of NV12
    table_ptr,  # (N, 9) int32: image, x0, y0, x1, y1, top, left, height, width
    image_stride,  # bytes from image to image
    row_stride,  # bytes from row to row
    chroma_image_stride,
    chroma_stride,
    out_ptr,  # out (N, 3, out_height, out_width), dense
    out_height,
    out_width,
    tiles_x,  # tiles in a row of an output
    tiles,  # tiles of an output
    gain0, gain1, gain2, bias0, bias1, bias2, pad,
    quant_scale, zero_point,
    y_low, y_gain, v_red, u_green, v_green, u_blue,
    NV12: tl.constexpr,  # noqa: N803
    SWAP: tl.constexpr,  # noqa: N803  # output channels are the source's in reverse
    INT8: tl.constexpr,  # noqa: N803
    TILE: tl.constexpr,  # noqa: N803
    STEP: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """One tile of one output."""
    crop = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    entry = table_ptr + crop * 9
    image = tl.load(entry).to(tl.int64)
    x0 = tl.load(entry + 1)
    y0 = tl.load(entry + 2)
    size_x = tl.load(entry + 3) - x0
    size_y = tl.load(entry + 4) - y0
    top = tl.load(entry + 5)
    left = tl.load(entry + 6)
    height = tl.load(entry + 7)
    width = tl.load(entry + 8)
    images_ptr += image * image_stride
    chroma_ptr += image * chroma_image_stride

    line = tile // tiles_x * TILE + tl.arange(0, TILE)  # of the output
    column = tile % tiles_x * TILE + tl.arange(0, TILE)
    y = line - top  # of the placed crop
    x = column - left
    y_first = tl.maximum(tile // tiles_x * TILE - top, 0)
    x_first = tl.maximum(tile % tiles_x * TILE - left, 0)
    y_last = tl.minimum(tile // tiles_x * TILE + TILE - 1 - top, height - 1)
    x_last = tl.minimum(tile % tiles_x * TILE + TILE - 1 - left, width - 1)
    y_low_row, y_high_row = _window(y_first, y_last, size_y, height)
    x_low_col, x_high_col = _window(x_first, x_last, size_x, width)
    y_support = tl.maximum(size_y.to(tl.float32) / height.to(tl.float32), 1.0)
    x_support = tl.maximum(size_x.to(tl.float32) / width.to(tl.float32), 1.0)
    y_whole, y_fraction = _center(y, size_y, height)
    x_whole, x_fraction = _center(x, size_x, width)

    x_norm = tl.zeros((TILE,), tl.float32)
    for start in range(x_low_col, x_high_col, STEP):
        source = start + tl.arange(0, STEP)
        x_norm += tl.sum(
            _triangle(x_whole[None, :], x_fraction[None, :], source[:, None], size_x, x_support),
            axis=0,
        )
    y_norm = tl.zeros((TILE,), tl.float32)
    sum0 = tl.zeros((TILE, TILE), tl.float32)
    sum1 = tl.zeros((TILE, TILE), tl.float32)
    sum2 = tl.zeros((TILE, TILE), tl.float32)
    for start_y in range(y_low_row, y_high_row, STEP):
        rows = start_y + tl.arange(0, STEP)
        wy = _triangle(y_whole[:, None], y_fraction[:, None], rows[None, :], size_y, y_support)
        y_norm += tl.sum(wy, axis=1)
        part0 = tl.zeros((STEP, TILE), tl.float32)
        part1 = tl.zeros((STEP, TILE), tl.float32)
        part2 = tl.zeros((STEP, TILE), tl.float32)
        for start_x in range(x_low_col, x_high_col, STEP):
            columns = start_x + tl.arange(0, STEP)
            wx = _triangle(
                x_whole[None, :], x_fraction[None, :], columns[:, None], size_x, x_support
            )
            seen = (rows < y_high_row)[:, None] & (columns < x_high_col)[None, :]
            a, b, c = _pixels(
                images_ptr, chroma_ptr, row_stride, chroma_stride,
                (y0 + rows)[:, None], (x0 + columns)[None, :], seen,
                y_low, y_gain, v_red, u_green, v_green, u_blue,
                NV12,
            )  # fmt: skip
            part0 = tl.dot(a, wx, part0, input_precision="ieee")
            part1 = tl.dot(b, wx, part1, input_precision="ieee")
            part2 = tl.dot(c, wx, part2, input_precision="ieee")
        sum0 = tl.dot(wy, part0, sum0, input_precision="ieee")
        sum1 = tl.dot(wy, part1, sum1, input_precision="ieee")
        sum2 = tl.dot(wy, part2, sum2, input_precision="ieee")

    norm = y_norm[:, None] * x_norm[None, :]
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
    if SWAP:
        red, blue = sum2, sum0
    else:
        red, blue = sum0, sum2
    first = _finish(red, norm, inside, pad, gain0, bias0, quant_scale, zero_point, INT8)
    second = _finish(sum1, norm, inside, pad, gain1, bias1, quant_scale, zero_point, INT8)
    third = _finish(blue, norm, inside, pad, gain2, bias2, quant_scale, zero_point, INT8)
    plane = out_height.to(tl.int64) * out_width
    to = out_ptr + crop * 3 * plane + line[:, None].to(tl.int64) * out_width + column[None, :]
    keep = (line < out_height)[:, None] & (column < out_width)[None, :]
    element = out_ptr.dtype.element_ty
    tl.store(to, first.to(element), mask=keep)
    tl.store(to + plane, second.to(element), mask=keep)
    tl.store(to + 2 * plane, third.to(element), mask=keep)


def launch_crop(
    images: Tensor,
    chroma: Tensor | None,
    table: Tensor,
    *,
    size: tuple[int, int],
    swap: bool,
    gain: tuple[float, float, float],
    bias: tuple[float, float, float],
    pad_value: float,
    dtype: torch.dtype,
    quantization: tuple[float, int],
    yuv: tuple[int, int, int, int, int, int],
) -> Tensor:
    """Launches the kernel.

    Args:
        images: (B, H, W, 3) uint8, or luma (B, H, W) when `chroma` is given.
        chroma: (B, (H+1)//2, (W+1)//2, 2) uint8.
        table: (N, 9) int32 on the same device: image, x0, y0, x1, y1 of the box, inside its
            image; top, left, height, width of its place in the output.
        size: Height and width of the output.
        swap: Whether output channels are those of the image in reverse.
        gain: Per output channel, out = pixel * gain + bias.
        bias: See `gain`.
        pad_value: Pixel value outside a place.
        dtype: float32, float16 or int8.
        quantization: Scale and zero point of int8.
        yuv: Factors of NV12, see `yuv_factors`.

    Returns:
        (N, 3, h, w) of `dtype`.
    """
    images = images if images[0:1].stride()[2:] in ((3, 1), (1,)) else images.contiguous()
    if chroma is not None and chroma.stride()[2:] != (2, 1):
        chroma = chroma.contiguous()
    height, width = size
    out = torch.empty((len(table), 3, height, width), dtype=dtype, device=images.device)
    if not len(table):
        return out
    tiles_x, tiles_y = triton.cdiv(width, TILE), triton.cdiv(height, TILE)
    planes = images if chroma is None else chroma
    with torch.cuda.device_of(images):
        crop_kernel[(len(table) * tiles_x * tiles_y,)](
            images,
            planes,
            table,
            images.stride(0),
            images.stride(1),
            planes.stride(0),
            planes.stride(1),
            out,
            height,
            width,
            tiles_x,
            tiles_x * tiles_y,
            *gain,
            *bias,
            pad_value,
            *quantization,
            *yuv,
            NV12=chroma is not None,
            SWAP=swap,
            INT8=dtype == torch.int8,
            TILE=TILE,
            STEP=STEP,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
    return out


_SCALARS = {
    **dict.fromkeys(("image_stride", "row_stride", "chroma_image_stride", "chroma_stride"), "i64"),
}
AOT_KERNELS = [
    KernelSpec(
        name=f"crop_{'nv12' if nv12 else 'rgb'}_{dtype}",
        fn=crop_kernel,
        signature={
            "images_ptr": "*u8",
            "chroma_ptr": "*u8",
            "table_ptr": "*i32:16",
            **_SCALARS,
            "out_ptr": f"*{dtype}:16",
            **dict.fromkeys(("out_height", "out_width", "tiles_x", "tiles"), "i32"),
            **dict.fromkeys(("gain0", "gain1", "gain2", "bias0", "bias1", "bias2"), "fp32"),
            **dict.fromkeys(("pad", "quant_scale"), "fp32"),
            "zero_point": "i32",
            **dict.fromkeys(("y_low", "y_gain", "v_red"), "i32"),
            **dict.fromkeys(("u_green", "v_green", "u_blue"), "i32"),
        },
        constexprs={
            "NV12": nv12,
            "SWAP": not nv12,
            "INT8": dtype == "i8",
            "TILE": TILE,
            "STEP": STEP,
        },
        num_warps=WARPS,
        enable_fp_fusion=True,
    )
    for nv12, dtype in ((False, "fp32"), (True, "fp16"), (True, "i8"))
]
