"""Rows to int8 with a scale of their own, as `crosscam_kernels.quantise_rows` does it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# Adding and taking away 1.5 * 2**23 rounds a float32 below 2**22 to an integer, halves to even.
ROUNDER = tl.constexpr(12582912.0)


@triton.jit
def quantise_rows_kernel(rows, values, scales, dim, stride, BLOCK: tl.constexpr):
    """One row a program: ``scale = max |x| / 127``, ``values = rint(x / scale)``."""
    row = tl.program_id(0).to(tl.int64)
    feature = tl.arange(0, BLOCK)
    largest = tl.zeros((BLOCK,), tl.float32)
    finite = tl.full((BLOCK,), 1, tl.int32)
    for start in range(0, dim, BLOCK):
        inside = feature < dim - start
        x = tl.load(rows + row * stride + start + feature, mask=inside, other=0).to(tl.float32)
        size = tl.abs(x)
        largest = tl.maximum(largest, size)
        finite = tl.where(size < float("inf"), finite, 0)  # NaN is not less either
    is_finite = tl.min(finite, axis=0) > 0
    scale = tl.div_rn(tl.max(largest, axis=0), 127.0)
    divisor = tl.where(scale > 0, scale, 1.0)
    holds = is_finite & (scale > 0)
    for start in range(0, dim, BLOCK):
        inside = feature < dim - start
        x = tl.load(rows + row * stride + start + feature, mask=inside, other=0).to(tl.float32)
        ratio = tl.div_rn(x, tl.broadcast_to(divisor, (BLOCK,)))
        limited = tl.minimum(tl.maximum(ratio, -127.0), 127.0)
        rounded = (limited + ROUNDER) - ROUNDER
        code = tl.where(holds, rounded, 0.0).to(tl.int8)
        tl.store(values + row * dim + start + feature, code, mask=inside)
    tl.store(scales + row, tl.where(is_finite, scale, float("nan")))


def quantise_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 (N, D) and float32 scales (N,) of float rows (N, D) whose elements are dense."""
    count, dim = rows.shape
    values = torch.empty(count, dim, dtype=torch.int8, device=rows.device)
    scales = torch.empty(count, dtype=torch.float32, device=rows.device)
    if count:
        block = min(triton.next_power_of_2(max(dim, 1)), 1024)
        quantise_rows_kernel[(count,)](
            rows, values, scales, dim, rows.stride(0), block, num_warps=4, enable_fp_fusion=False
        )
    return values, scales
