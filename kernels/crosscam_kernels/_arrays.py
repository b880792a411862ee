"""Argument checks shared by the operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels.errors import InputError, ShapeError, UsageError


def as_numpy(value: Any, name: str) -> NDArray[Any]:
    """Any array-like as a NumPy array, without a copy where the object can share its memory.

    Args:
        value: NumPy array, anything with ``__dlpack__`` on the CPU, a buffer, or nested sequences.
        name: Name of the argument, for the message.

    Raises:
        ShapeError: The object cannot be read as an array.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise ShapeError(
            f"{name} of type {type(value).__name__} cannot be read as an array ({error})",
            expected="a NumPy array or an object that offers DLPack or a buffer on the CPU",
        ) from error


def feature_rows(value: Any, name: str, count: str) -> NDArray[np.float32]:
    """Checks a (count, D) float32 matrix; rows may be strided, elements of a row may not."""
    array = as_numpy(value, name)
    if array.ndim != 2 or array.dtype != np.float32:
        raise ShapeError(
            f"{name} is {array.dtype} of shape {array.shape}",
            expected=f"float32 of shape ({count}, D)",
            fix="convert with .astype('float32') and keep one feature vector per row",
        )
    dense = array.strides[1] == 4 and array.strides[0] % 4 == 0
    return array if dense and array.flags.aligned else np.ascontiguousarray(array)


def integer_column(value: Any, name: str, count: int, dtype: type[np.signedinteger[Any]]) -> Any:
    """Checks a (count,) array of integers and brings it to `dtype` without losing a value."""
    array = as_numpy(value, name)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ShapeError(
            f"{name} is {array.dtype} of shape {array.shape}",
            expected=f"integers of shape ({count},), one per row",
        )
    limits = np.iinfo(dtype)
    if not np.can_cast(array.dtype, dtype) and count:
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise InputError(
                f"{name} holds values from {low} to {high}",
                expected=f"values that fit {np.dtype(dtype).name}",
            )
    return np.ascontiguousarray(array, dtype=dtype)


def worker_limit(threads: int | None) -> int:
    """The native meaning of `threads`: 0 for one worker per processor.

    Raises:
        UsageError: `threads` is not positive.
    """
    if threads is None:
        return 0
    if threads < 1:
        raise UsageError(f"threads={threads}", expected="at least 1, or None for one per processor")
    return min(int(threads), 4096)
