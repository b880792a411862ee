"""`normalise_quantise` on a GPU: one program per row, two passes over it, the second from cache."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosscam_kernels.aot import KernelSpec

# Adding 1.5 * 2^23 leaves no fraction bits: the sum is rounded to an integer, halves to even.
_ROUND = tl.constexpr(12582912.0)

# Features of one step -> warps: eight elements per thread, 16 bytes of half precision.
_WARPS = {256: 1, 512: 2, 1024: 4, 2048: 8}


@triton.jit
def normalise_quantise_kernel(
    rows_ptr,  # (N, D) fp32, fp16 or bf16
    dim,  # D
    stride,  # elements from row to row
    codes_ptr,  # out (N, D) int8, dense
    scale_ptr,  # out (N,) fp32
    BLOCK: tl.constexpr,  # noqa: N803  # Triton's spelling of constants
):
    """One row: its largest magnitude, then codes and norm from values of at most 1."""
    row = tl.program_id(0).to(tl.int64)
    rows_ptr += row * stride
    codes_ptr += row * dim
    column = tl.arange(0, BLOCK)
    largest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, dim, BLOCK):
        inside = start + column < dim
        x = tl.load(rows_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        magnitude = tl.abs(x)
        # A NaN counts as infinite, so that one comparison finds every row without an answer.
        magnitude = tl.where(magnitude < float("inf"), magnitude, float("inf"))
        largest = tl.maximum(largest, magnitude)
    peak = tl.max(largest, axis=0)
    finite = peak < float("inf")
    divisor = tl.where(finite & (peak > 0.0), peak, 1.0)
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, dim, BLOCK):
        inside = start + column < dim
        x = tl.load(rows_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        x = tl.where(finite, x, 0.0)
        y = tl.div_rn(x, divisor + tl.zeros_like(x))
        squares += y * y
        code = (y * 127.0 + _ROUND) - _ROUND
        tl.store(codes_ptr + start + column, code.to(tl.int8), mask=inside)
    total = tl.sum(squares, axis=0)
    norm = tl.sqrt_rn(tl.where(total > 0.0, total, 1.0))
    scale = tl.where(total > 0.0, tl.div_rn(1.0, 127.0 * norm), 0.0)
    tl.store(scale_ptr + row, tl.where(finite, scale, float("nan")))


def block_of(dim: int) -> int:
    """Features of one step for rows of `dim`; wider rows take several."""
    return next((block for block in _WARPS if dim <= block), max(_WARPS))


def normalise_quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Launches the kernel.

    Args:
        rows: (N, D) float32, float16 or bfloat16 on a CUDA device.

    Returns:
        (N, D) int8 codes and (N,) float32 scales.
    """
    count, dim = rows.shape
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    codes = torch.empty((count, dim), dtype=torch.int8, device=rows.device)
    scale = torch.empty((count,), dtype=torch.float32, device=rows.device)
    if count:
        block = block_of(dim)
        with torch.cuda.device_of(rows):
            normalise_quantise_kernel[(count,)](
                rows,
                dim,
                rows.stride(0),
                codes,
                scale,
                BLOCK=block,
                num_warps=_WARPS[block],
                enable_fp_fusion=False,
            )
    return codes, scale


AOT_KERNELS = [
    KernelSpec(
        name=f"normalise_quantise_{dtype}_{block}",
        fn=normalise_quantise_kernel,
        # D and the stride are multiples of 16: embeddings of 256, 512, 768, 1280, 2048.
        signature={
            "rows_ptr": f"*{dtype}:16",
            "dim": "i32:16",
            "stride": "i32:16",
            "codes_ptr": "*i8:16",
            "scale_ptr": "*fp32:16",
        },
        constexprs={"BLOCK": block},
        num_warps=_WARPS[block],
        plugin=True,
        enable_fp_fusion=False,
    )
    for dtype in ("fp32", "fp16", "bf16")
    for block in (512, 2048)
]
