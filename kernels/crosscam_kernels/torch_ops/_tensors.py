"""Checks and conversions shared by the losses on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crosscam_kernels.errors import ShapeError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_rows(value: Tensor, name: str, dimensions: int, like: Tensor | None = None) -> None:
    """Checks a floating tensor of so many dimensions, on the device and of the type of `like`.

    Raises:
        ShapeError: It is something else.
    """
    if value.ndim != dimensions or value.dtype not in FLOATS:
        raise ShapeError(
            f"{name} is {value.dtype} of shape {tuple(value.shape)}",
            expected=f"a floating type and {dimensions} dimensions",
        )
    if like is None:
        return
    if value.dtype != like.dtype or value.device != like.device:
        raise ShapeError(
            f"{name} is {value.dtype} on {value.device}, "
            f"features are {like.dtype} on {like.device}",
            expected="one type on one device",
            fix=f"convert {name} with .to(features)",
        )
    if value.shape[-1] != like.shape[-1] or value.shape[-1] == 0:
        raise ShapeError(
            f"{name} has {value.shape[-1]} columns and features {like.shape[-1]}",
            expected="the same number, at least 1",
        )


def column(value: Any, name: str, count: int, like: Tensor) -> Tensor:
    """Checks a column of integers on the device of `like`; int64, contiguous.

    Raises:
        ShapeError: It is something else.
    """
    if not isinstance(value, Tensor):
        value = torch.as_tensor(value, device=like.device)
    if tuple(value.shape) != (count,) or value.dtype not in _INTEGERS:
        raise ShapeError(
            f"{name} is {value.dtype} of shape {tuple(value.shape)}",
            expected=f"integers of shape ({count},), one per row",
        )
    if value.device != like.device:
        raise ShapeError(
            f"{name} is on {value.device}, features are on {like.device}", expected="one device"
        )
    return value.to(torch.int64).contiguous()


def array(value: Tensor | None) -> Any:
    """NumPy array for the native functions: float32 where floating, without a copy if possible."""
    if value is None:
        return None
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).contiguous().numpy()


def reduce_losses(losses: Tensor, counted: Tensor, reduction: str) -> Tensor:
    """The losses, their sum, or their mean over the counted samples."""
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / counted.sum().clamp(min=1)


def no_gradient(features: Tensor) -> Tensor:
    """(0, D): stands for a gradient that was not computed together with the losses."""
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    return features.new_empty((0, features.shape[1]), dtype=dtype)
