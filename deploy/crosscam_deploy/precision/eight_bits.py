"""Numbers of 8 bits: how ranges become scales, and weights whole numbers or short floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosscam_deploy.precision.ranges import centred

if TYPE_CHECKING:
    from numpy.typing import NDArray

Numbers = Literal["uint8", "int8", "fp8"]
"""Of what enters a product: ``uint8`` with any zero, for processors; ``int8`` and ``fp8`` (E4M3:
4 bits of exponent, 3 of digits, no infinity) with the zero in the middle, as TensorRT takes them.
Weights are int8 with the first two, fp8 with the last."""
Scales = Literal["f32", "f16"]
LARGEST_FP8 = 448.0
"""Largest number of E4M3."""
_STEPS = 255
_LARGEST_INT8 = 127
_LEAST_SCALE = 1e-12  # channels that were never used have weights near the least float


def numpy_type(name: Numbers | Scales) -> Any:
    """Return the NumPy type of numbers or scales; fp8, which NumPy lacks, is of `ml_dtypes`."""
    if name == "fp8":
        import ml_dtypes  # comes with onnx

        return np.dtype(ml_dtypes.float8_e4m3fn)
    known: dict[str, Any] = {
        "uint8": np.uint8, "int8": np.int8, "f32": np.float32, "f16": np.float16
    }  # fmt: skip
    return np.dtype(known[name])


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights in 8 bits.

    Attributes:
        values: As the float weights, int8 or fp8.
        scale: `(C,)` float32, or a scalar where there is no axis.
        axis: Of the channels; None for one scale.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32]
    axis: int | None


def rounded(
    weights: NDArray[np.float32], axis: int | None, numbers: Numbers, scales: Scales
) -> Weights:
    """Round weights, each output channel by its largest one.

    Args:
        weights: Any shape.
        axis: Of the channels; None for one scale.
        numbers: Of what they meet.
        scales: Type that the scales will have: they are numbers of it already.
    """
    others = tuple(k for k in range(weights.ndim) if k != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    if numbers == "fp8":
        scale = _representable(largest / LARGEST_FP8, scales)
        values = np.clip(weights / scale, -LARGEST_FP8, LARGEST_FP8).astype(numpy_type("fp8"))
    else:
        scale = _representable(largest / _LARGEST_INT8, scales)
        whole = np.clip(np.round(weights / scale), -_LARGEST_INT8, _LARGEST_INT8)
        values = whole.astype(np.int8)
    return Weights(values, scale.reshape(()) if axis is None else scale.ravel(), axis)


def parameters(
    low: float, high: float, numbers: Numbers, scales: Scales, *, symmetric: bool
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return scale and zero of a tensor.

    Args:
        low: Least value, at most 0.
        high: Greatest value, at least 0.
        numbers: That it becomes.
        scales: Type that the scale will have: it is a number of it already.
        symmetric: Of ``uint8``: whether a range with negative values has its zero in the middle.
    """
    kind = numpy_type(numbers)
    if numbers != "uint8":
        largest = LARGEST_FP8 if numbers == "fp8" else _LARGEST_INT8
        return _representable(np.array(max(-low, high) / largest), scales), np.zeros((), kind)
    if symmetric:
        low, high = centred(low, high)
    scale = _representable(np.array((high - low) / _STEPS), scales)
    return scale, np.clip(np.round(-low / scale), 0, _STEPS).astype(kind)


def _representable(scale: NDArray[Any], scales: Scales) -> NDArray[np.float32]:
    """Round scales to numbers above zero of a type: TensorRT takes no others."""
    kind = numpy_type(scales)
    least = float(np.finfo(np.float16).smallest_subnormal) if scales == "f16" else _LEAST_SCALE
    return np.asarray(np.maximum(scale, least).astype(kind), np.float32)
