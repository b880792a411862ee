"""Eight-bit feature rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels._elements import Rows, float32_rows, stored_rows, widened
from crosscam_kernels._torch import is_tensor

_BLOCK_ELEMENTS = 1 << 20  # worked on at a time, so that temporaries stay in the cache


class QuantisedRows(NamedTuple):
    """Rows as ``scale[:, None] * values``.

    Attributes:
        values: (N, D) int8 from -127 to 127.
        scale: (N,) float32; NaN for a row that holds NaN or infinity.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]


def quantise_rows(rows: ArrayLike) -> QuantisedRows:
    """Rounds each row to int8 with a scale of its own.

    ``scale = max_d |x[d]| / 127`` and ``values[d] = rint(x[d] / scale)``, in float32, halves to
    even. The error of an element is at most half the scale. A row of zeros has scale 0. A row that
    is not finite has values 0 and scale NaN, so that `similarity_topk` never finds it.

    Args:
        rows: (N, D) float32, float16 or bfloat16 (as `similarity_topk` takes them). Of a torch
            tensor, the parts are tensors on its device, without a gradient.

    Returns:
        `QuantisedRows` of (N, D) int8 and (N,) float32.

    Raises:
        ShapeError: `rows` is not a matrix of floats.
    """
    if is_tensor(rows):
        from crosscam_kernels.torch_ops import quantise as torch_ops

        return QuantisedRows(*torch_ops.checked_quantise_rows(rows))
    stored = stored_rows(rows, "rows", "N")
    if stored.element == "int8":
        float32_rows(stored.array, "rows", "N")  # says what is wrong
    count, dim = stored.array.shape
    out = QuantisedRows(np.empty((count, dim), np.int8), np.empty(count, np.float32))
    step = max(1, _BLOCK_ELEMENTS // max(1, dim))
    for begin in range(0, count, step):
        block = slice(begin, begin + step)
        x = widened(Rows(stored.array[block], stored.element))
        out.values[block], out.scale[block] = _quantised(x)
    return out


def _quantised(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scale = np.abs(x).max(axis=1, initial=0.0) / np.float32(127)
    finite = np.isfinite(x).all(axis=1)
    scale[~finite] = np.nan
    divisor = np.where(scale > 0, scale, np.float32(1))[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.clip(np.rint(x / divisor), -127, 127)
    values[~(scale > 0)] = 0
    return values, scale
