"""`normalise_quantise` as ``crosscam::normalise_quantise``."""

from __future__ import annotations

import torch
from torch import Tensor

from crosscam_kernels import _native
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.simd import simd_level

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@torch.library.custom_op("crosscam::normalise_quantise", mutates_args=(), device_types="cpu")
def normalise_quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N, D) int8 and scales (N,) float32 of rows (N, D)."""
    wide = rows.detach().float()
    if wide.stride(1) != 1:
        wide = wide.contiguous()
    codes = torch.empty(wide.shape, dtype=torch.int8)
    scale = torch.empty(len(wide), dtype=torch.float32)
    _native.normalise_quantise(
        rows=wide.numpy(),
        threads=torch.get_num_threads(),
        simd=simd_level(),
        codes=codes.numpy(),
        scale=scale.numpy(),
    )
    return codes, scale


@normalise_quantise.register_kernel("cuda")
def _(rows: Tensor) -> tuple[Tensor, Tensor]:
    from crosscam_kernels.gpu import normalise as gpu

    return gpu.normalise_quantise(rows)


@normalise_quantise.register_fake
def _(rows: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(rows.shape, dtype=torch.int8, device=rows.device),
        torch.empty(rows.shape[:1], dtype=torch.float32, device=rows.device),
    )


def checked_normalise_quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The op after the checks of the public function. No gradient flows through.

    Raises:
        ShapeError: `rows` has the wrong shape or dtype.
    """
    if rows.ndim != 2 or rows.dtype not in DTYPES:
        raise ShapeError(
            f"features is {rows.dtype} of shape {tuple(rows.shape)}",
            expected="float32, float16 or bfloat16 of shape (N, D)",
        )
    codes, scale = normalise_quantise(rows.detach())
    return codes, scale
