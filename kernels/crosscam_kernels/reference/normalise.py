"""Specification of `crosscam_kernels.normalise_quantise`, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosscam_kernels.normalise import QuantisedUnitRows


def normalise_quantise(
    features: ArrayLike, *, dtype: type[np.floating[Any]] = np.float64
) -> QuantisedUnitRows:
    """Same result as the operator.

    Args:
        features: (N, D) rows.
        dtype: Precision of everything between input and output.

    Returns:
        Codes, and scales rounded to float32 only at the end. In float32 the codes are those of the
        operator to the bit; in float64 they may differ by one where 127 y is a hair from a half.
    """
    x = np.asarray(features).astype(dtype)
    finite = np.isfinite(x).all(axis=1)
    x[~finite] = 0
    peak = np.abs(x).max(axis=1, initial=0)
    y = x / np.where(peak > 0, peak, 1)[:, None]
    codes = np.rint(y * dtype(127)).astype(np.int8)
    norm = np.sqrt((y * y).sum(axis=1))
    scale = np.where(norm > 0, 1 / (127 * np.where(norm > 0, norm, 1)), 0)
    return QuantisedUnitRows(codes, np.where(finite, scale, np.nan).astype(np.float32))
