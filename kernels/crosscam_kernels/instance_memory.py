"""InfoNCE against the hardest stored instance of each class, and the replacement of instances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy, feature_rows, integer_column, worker_limit
from crosscam_kernels._losses import (
    LossAndGradient,
    Reduction,
    check_reduction,
    check_temperature,
    reduced,
    sample_weight,
)
from crosscam_kernels._torch import is_tensor
from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_kernels.memory import check_targets, check_widths
from crosscam_kernels.simd import simd_level


def instance_infonce(
    features: Any,
    bank: Any,
    filled: Any,
    targets: Any,
    *,
    class_cameras: Any | None = None,
    cameras: Any | None = None,
    temperature: float = 0.05,
    reduction: Reduction = "mean",
    threads: int | None = None,
) -> Any:
    """Contrasts each sample with the hardest stored instance of every class of its camera.

    CCAFL Eq. 8. Over the filled slots s of class c::

        z_ic = min_s <x_i, b_cs> for the own class c = y_i, max_s <x_i, b_cs> for the others
        L_i = log sum_{c of the camera of i} exp(z_ic / temperature) - z_iy / temperature

    Ties go to the smaller slot. Classes that hold nothing take no part; a sample whose own class
    holds nothing, or belongs to another camera, has no loss. The gradient flows through the chosen
    instances only. As in the paper, nothing keeps a sample from meeting itself in the bank: update
    the bank after the backward pass. Specification: `crosscam_kernels.reference.instance_memory`.
    Neither the (N, C, S) similarities nor an (N, C) matrix is kept.

    Args:
        features: (N, D) float32, L2-normalised by contract; as tensor also float16, bfloat16 or
            float64.
        bank: (C, S, D) of the type of `features`: S slots for each class.
        filled: (C, S) bool: which slots hold an instance; or (C,) integers n: the first n do.
        targets: (N,) integer class of each sample; negative: unlabelled, takes no part.
        class_cameras: (C,) integer camera of each class.
        cameras: (N,) integer camera of each sample. Without both, all classes are candidates.
        temperature: Divides the similarities, > 0.
        reduction: ``"mean"`` over the samples that have a loss (0 when none has), ``"sum"``, or
            ``"none"``: (N,) with 0 where a sample has no loss.
        threads: At most this many threads on the CPU; None for one per processor. Arrays only.

    Returns:
        `LossAndGradient` for arrays; for tensors the loss as a tensor that knows its gradient. A
        similarity that is NaN is never chosen; a sample whose own class has no other has loss NaN.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Only one of the camera columns is given, or a value is impossible.
        InputError: A target is no class of the bank (tensors on a GPU are not looked at: such a
            sample takes no part).
    """
    if (cameras is None) != (class_cameras is None):
        raise UsageError(
            "only one of cameras and class_cameras is given", fix="pass both or neither"
        )
    check_temperature(temperature)
    check_reduction(reduction)
    if is_tensor(features):
        from crosscam_kernels.torch_ops import instance_memory as torch_instance_memory

        return torch_instance_memory.instance_infonce(
            features, bank, filled, targets, class_cameras, cameras, temperature, reduction
        )
    problem = native_problem(
        features, bank, filled, targets, class_cameras, cameras, temperature, threads
    )
    losses, found = native_losses(problem, with_gradient=True)
    weight = sample_weight(found["counted"] > 0, reduction)
    # A sample without a loss has a gradient of zeros, which a weight of zero leaves as it is.
    return LossAndGradient(reduced(losses, weight, reduction), weight[:, None] * found["gradient"])


def update_instances(bank: Any, filled: Any, features: Any, targets: Any) -> Any:
    """Replaces stored instances by the samples of a batch, in place (CCAFL Eq. 5).

    The samples of a class, in the order of the batch, go to its slots 0, 1, 2, ..; beyond the last
    slot they start over, so that the last S samples stay.

    Args:
        bank: (C, S, D) float32 array, or tensor of a floating type.
        filled: (C, S) bool; slots that are written become True.
        features: (N, D) of the type of `bank`.
        targets: (N,) integer class of each sample; negative: not stored.

    Returns:
        (N,) int64 slot of each sample; -1 where it was not stored. Array or tensor as `bank`.

    Raises:
        ShapeError: An array has the wrong shape or dtype, or cannot be written.
        InputError: A target is no class of the bank (tensors on a GPU are not looked at: such a
            sample is not stored).
    """
    if is_tensor(bank):
        from crosscam_kernels.torch_ops import instance_memory as torch_instance_memory

        return torch_instance_memory.update_instances(bank, filled, features, targets)
    rows, slots_filled = as_numpy(bank, "bank"), as_numpy(filled, "filled")
    check_bank(rows)
    if slots_filled.shape != rows.shape[:2] or slots_filled.dtype != np.bool_:
        raise ShapeError(
            f"filled is {slots_filled.dtype} of shape {slots_filled.shape}",
            expected=f"bool of shape {rows.shape[:2]}, one per slot",
        )
    if not (rows.flags.writeable and slots_filled.flags.writeable):
        raise ShapeError("bank or filled is read-only", expected="arrays that can be written")
    x = feature_rows(features, "features", "N")
    check_widths(x, rows)
    target = integer_column(targets, "targets", len(x), np.int64)
    check_targets(target, len(rows))
    slots, stays = slots_of(target, rows.shape[1])
    rows[target[stays], slots[stays]] = x[stays]
    slots_filled[target[stays], slots[stays]] = True
    return slots


def slots_of(targets: NDArray[np.int64], slots: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Slot of each sample, and whether no later sample takes it; both (N,)."""
    stored = (targets >= 0) & (slots > 0)
    order = np.argsort(targets, kind="stable")
    sorted_targets = targets[order]
    first = np.searchsorted(sorted_targets, sorted_targets, "left")
    last = np.searchsorted(sorted_targets, sorted_targets, "right")
    rank, total = np.empty_like(targets), np.empty_like(targets)
    rank[order] = np.arange(len(targets)) - first
    total[order] = last - first
    slot = np.where(stored, rank % max(1, slots), -1)
    return slot, stored & (rank >= total - slots)


def native_problem(
    features: Any,
    bank: Any,
    filled: Any,
    targets: Any,
    class_cameras: Any | None,
    cameras: Any | None,
    temperature: float,
    threads: int | None,
) -> dict[str, Any]:
    """Checks the arrays and brings them to the types of the native function."""
    x, rows = feature_rows(features, "features", "N"), as_numpy(bank, "bank")
    check_bank(rows)
    check_widths(x, rows)
    classes = len(rows)
    target = integer_column(targets, "targets", len(x), np.int64)
    check_targets(target, classes)
    return {
        "features": x,
        "bank": np.ascontiguousarray(rows),
        "filled": _filled_bytes(filled, rows.shape[0], rows.shape[1]),
        "targets": target,
        "class_cameras": None
        if class_cameras is None
        else integer_column(class_cameras, "class_cameras", classes, np.int32),
        "cameras": None
        if cameras is None
        else integer_column(cameras, "cameras", len(x), np.int32),
        "temperature": temperature,
        "threads": worker_limit(threads),
        "simd": simd_level(),
    }


def native_losses(
    problem: dict[str, Any], with_gradient: bool
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Returns the (N,) losses and what else the operator finds.

    ``gradient`` among the latter is (N, D): of each loss with respect to its own sample; None when
    it is not asked for.
    """
    count = len(problem["features"])
    losses = np.empty(count, np.float32)
    found: dict[str, Any] = {
        "lse": np.empty(count, np.float32),
        "counted": np.empty(count, np.uint8),
        "gradient": np.empty(problem["features"].shape, np.float32) if with_gradient else None,
    }
    _native.instance_infonce(**problem, **found, loss=losses)
    return losses, found


def check_bank(bank: NDArray[Any]) -> None:
    """Checks the bank's type.

    Raises:
        ShapeError: It is not (C, S, D) float32.
    """
    if bank.ndim != 3 or bank.dtype != np.float32:
        raise ShapeError(
            f"bank is {bank.dtype} of shape {bank.shape}",
            expected="float32 of shape (classes, slots, D)",
        )


def _filled_bytes(filled: Any, classes: int, slots: int) -> NDArray[np.uint8]:
    array = as_numpy(filled, "filled")
    if array.shape == (classes,) and array.dtype.kind in "iu":
        return (np.arange(slots) < array[:, None]).view(np.uint8)
    if array.shape != (classes, slots) or array.dtype != np.bool_:
        raise ShapeError(
            f"filled is {array.dtype} of shape {array.shape}",
            expected=f"bool of shape ({classes}, {slots}), or ({classes},) numbers of filled slots",
        )
    return np.ascontiguousarray(array).view(np.uint8)
