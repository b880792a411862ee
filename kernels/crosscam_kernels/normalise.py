"""Unit length and eight bits in one pass: what a gallery stores of an embedding."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy, feature_rows, worker_limit
from crosscam_kernels._torch import is_tensor, require_torch
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.simd import simd_level


class QuantisedUnitRows(NamedTuple):
    """Rows of unit length as ``codes * scale[:, None]``.

    Attributes:
        codes: (N, D) int8 in -127 .. 127.
        scale: (N,) float32; zero for a row of zeros, NaN for a row that is not finite.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]


def normalise_quantise(features: Any, *, threads: int | None = None) -> QuantisedUnitRows:
    """L2-normalises rows and quantises them to int8 with one scale per row.

    For a row x with largest magnitude m, and y = x / m::

        codes = round(127 y), halves to even        scale = 1 / (127 |y|)

    so that ``codes * scale`` is x / |x| within half a step: ``|error| <= scale / 2``. The codes do
    not depend on the length of x, and neither very large nor very small values overflow. The codes
    of a NumPy array, of a tensor on the CPU and of one on a GPU are equal; scales agree within
    1e-6 between CPU and GPU, and on the CPU to the last bit for any number of threads and any
    instruction set. A row that holds NaN or infinity gets codes 0 and scale NaN, whose similarities
    are NaN and never selected. Specification: `crosscam_kernels.reference.normalise`.

    Args:
        features: (N, D) float32 or float16 array, or a tensor that may also be bfloat16. Rows may
            be strided; other layouts are copied. No gradient flows through.
        threads: At most this many threads for arrays; None for one per processor. Tensors on the
            CPU use as many as torch is set to.

    Returns:
        `QuantisedUnitRows` of arrays, or of tensors on the device of `features`.

    Raises:
        ShapeError: `features` has the wrong shape or dtype.
        UsageError: `threads` is not positive.
    """
    if is_tensor(features):
        require_torch("normalise_quantise of tensors")
        from crosscam_kernels.torch_ops import normalise as torch_ops

        return QuantisedUnitRows(*torch_ops.checked_normalise_quantise(features))
    array = as_numpy(features, "features")
    if array.ndim != 2 or array.dtype not in (np.float32, np.float16):
        raise ShapeError(
            f"features is {array.dtype} of shape {array.shape}",
            expected="float32 or float16 of shape (N, D)",
            fix="convert with .astype('float32') and keep one feature vector per row",
        )
    rows = feature_rows(array.astype(np.float32, copy=False), "features", "N")
    result = QuantisedUnitRows(np.empty(rows.shape, np.int8), np.empty(len(rows), np.float32))
    _native.normalise_quantise(
        rows=rows, threads=worker_limit(threads), simd=simd_level(), **result._asdict()
    )
    return result
