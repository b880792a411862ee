"""Feature rows of every element type, as the native operators take them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy
from crosscam_kernels.errors import ShapeError

Element = Literal["float32", "bfloat16", "float16", "int8"]

_BY_DTYPE: dict[str, Element] = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "uint16": "bfloat16",
    "int8": "int8",
}


class Rows(NamedTuple):
    """Feature rows in memory.

    Attributes:
        array: (N, D); elements of a row are dense, rows may be strided. float32, float16 or int8;
            bfloat16 as its bit patterns in uint16.
        element: What the elements are.
    """

    array: NDArray[Any]
    element: Element


def stored_rows(value: Any, name: str, count: str) -> Rows:
    """Checks a (count, D) matrix of features without changing its precision.

    Args:
        value: float32, float16 or int8; bfloat16 as `ml_dtypes.bfloat16`, as an object with DLPack,
            or as its bit patterns in uint16.
        name: Name of the argument, for the message.
        count: What the first axis counts, for the message.

    Raises:
        ShapeError: Not a matrix of one of these types.
    """
    array = _bits_of_dlpack(value)
    if array is None:
        array = as_numpy(value, name)
    element = _BY_DTYPE.get(array.dtype.name)
    if array.ndim != 2 or element is None:
        raise ShapeError(
            f"{name} is {array.dtype} of shape {array.shape}",
            expected=f"float32, float16, bfloat16 or int8 of shape ({count}, D)",
            fix="convert with .astype('float32') and keep one feature vector per row",
        )
    if element == "bfloat16":
        array = array.view(np.uint16)
    size = array.itemsize
    dense = array.strides[1] == size and array.strides[0] % size == 0
    return Rows(array if dense and array.flags.aligned else np.ascontiguousarray(array), element)


def float32_rows(value: Any, name: str, count: str) -> NDArray[np.float32]:
    """Checks a (count, D) matrix of floats and widens it to float32, which loses nothing.

    Raises:
        ShapeError: Not a matrix of float32, float16 or bfloat16.
    """
    rows = stored_rows(value, name, count)
    if rows.element == "int8":
        raise ShapeError(
            f"{name} is int8 of shape {rows.array.shape}",
            expected=f"float32, float16 or bfloat16 of shape ({count}, D)",
        )
    return widened(rows)


def widened(rows: Rows) -> NDArray[np.float32]:
    """Float rows as float32, exactly; no copy when they are already. int8 is converted unscaled."""
    if rows.element == "bfloat16":
        return (rows.array.astype(np.uint32) << 16).view(np.float32)
    return rows.array.astype(np.float32, copy=False)


def narrowed(rows: NDArray[np.float32], element: Element) -> NDArray[Any]:
    """float32 rows as another float type, to nearest, ties to even; bfloat16 as its bits."""
    if element == "bfloat16":
        bits = np.ascontiguousarray(rows).view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        # Rounding up could turn a NaN into infinity or zero.
        return np.where(np.isnan(rows), np.uint16(0x7FC0), rounded)
    with np.errstate(over="ignore"):
        return rows.astype(element, copy=False)


def _bits_of_dlpack(value: Any) -> NDArray[np.uint16] | None:
    """NumPy has no bfloat16 and refuses such DLPack tensors; their bits it can hold."""
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack__"):
        return None
    return _native.bfloat16_bits(value)
