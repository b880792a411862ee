"""What the Triton kernels of the contrastive losses share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 264  # two for each multiprocessor of an H100 or H200; shapes decide, never the device


@dataclass(frozen=True)
class Tile:
    """Block sizes of a product kernel: samples, rows of the bank, features of one step."""

    samples: int
    rows: int
    features: int
    warps: int
    stages: int


# Chosen by the resources of the compiled kernels (no spills), not by timing.
TILES = {
    torch.float32: Tile(32, 64, 16, 8, 2),
    torch.float16: Tile(64, 64, 64, 8, 3),
    torch.bfloat16: Tile(64, 64, 64, 8, 3),
}
# Weights are at most 1 and mostly about 1 / K, which float16 cannot hold well: scaled up there.
WEIGHT_SCALE = {torch.float32: 1.0, torch.float16: 16384.0, torch.bfloat16: 1.0}
CAMERA_RULES = {"any": 0, "only_same": 1, "exclude_same": 2}

_ANY = tl.constexpr(0)
_ONLY_SAME = tl.constexpr(1)


@triton.jit
def tile_products(
    x_ptr,
    y_ptr,
    x_row,  # (M,) int64
    y_row,  # (R,) int64
    x_inside,
    y_inside,
    dim,
    M: tl.constexpr,  # noqa: N803
    R: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """(M, R) float32 inner products of rows of two dense matrices, features in ascending order."""
    column = tl.arange(0, BLOCK_D)
    products = tl.zeros((M, R), tl.float32)
    for start in range(0, dim, BLOCK_D):
        inside = start + column < dim
        x = tl.load(
            x_ptr + x_row[:, None] * dim + (start + column)[None, :],
            mask=x_inside[:, None] & inside[None, :],
            other=0.0,
        )
        y = tl.load(
            y_ptr + y_row[None, :] * dim + (start + column)[:, None],
            mask=y_inside[None, :] & inside[:, None],
            other=0.0,
        )
        products = tl.dot(x, y, products, input_precision="ieee")
    return products


@triton.jit
def camera_allows(camera, other, RULE: tl.constexpr):  # noqa: N803
    """(M, R) bool: whether the rule lets samples of these cameras meet rows of those."""
    same = camera[:, None] == other[None, :]
    if RULE == _ONLY_SAME:
        return same
    if RULE == _ANY:
        return same | True
    return same == 0


def splits(pieces: int, others: int) -> int:
    """In how many ranges `pieces` tiles are cut when `others` programs share each."""
    return max(1, min(pieces, PROGRAMS // max(1, others)))


def camera_order(cameras: Tensor | None, sort: bool) -> Tensor | None:
    """Order of the samples that puts those of one camera together, where that helps."""
    if cameras is None or not sort:
        return None
    return torch.argsort(cameras, stable=True)


def taken(value: Tensor | None, order: Tensor | None) -> Tensor | None:
    """Rows in that order, dense."""
    if value is None:
        return None
    return value.contiguous() if order is None else value[order].contiguous()


def put_back(value: Tensor, order: Tensor | None) -> Tensor:
    """Undoes `taken`."""
    if order is None:
        return value
    out = torch.empty_like(value)
    out[order] = value
    return out
