"""`batch_hard` and `triplet_loss` as custom ops of torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crosscam_kernels import triplet as numpy_ops
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.torch_ops import _triplet_cpu as cpu
from crosscam_kernels.torch_ops._triplet_cpu import Pairs

CPU_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def batch_hard(
    features: Tensor,
    labels: Tensor,
    cameras: Tensor | None,
    candidates: Tensor | None,
    candidate_labels: Tensor | None,
    candidate_cameras: Tensor | None,
    self_index: Tensor | None,
    positives: str,
    negatives: str,
    distance: str,
) -> numpy_ops.BatchHard:
    """`crosscam_kernels.batch_hard` on tensors."""
    arrays = _checked(
        features, labels, cameras, candidates, candidate_labels, candidate_cameras, self_index
    )
    far, near, p, n = torch.ops.crosscam.batch_hard(*arrays, positives, negatives, distance)
    return numpy_ops.BatchHard(p.long(), n.long(), far, near)


def triplet_loss(
    features: Tensor,
    labels: Tensor,
    cameras: Tensor | None,
    candidates: Tensor | None,
    candidate_labels: Tensor | None,
    candidate_cameras: Tensor | None,
    self_index: Tensor | None,
    positives: str,
    negatives: str,
    distance: str,
    margin: float | None,
    reduction: str,
) -> Tensor:
    """`crosscam_kernels.triplet_loss` on tensors."""
    arrays = _checked(
        features, labels, cameras, candidates, candidate_labels, candidate_cameras, self_index
    )
    rules = (positives, negatives, distance)
    loss: Tensor = torch.ops.crosscam.triplet_loss(*arrays, *rules, margin, reduction)[0]
    return loss


def _checked(
    features: Tensor,
    labels: Tensor,
    cameras: Tensor | None,
    candidates: Tensor | None,
    candidate_labels: Tensor | None,
    candidate_cameras: Tensor | None,
    self_index: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """The arguments in the order of the ops.

    Raises:
        ShapeError: A tensor has the wrong shape, dtype or device.
        UsageError: Arguments that belong together are not given together.
    """
    numpy_ops.check_candidate_cameras(cameras, candidates, candidate_cameras)
    _check_rows(features, "features", features)
    if candidates is not None:
        _check_rows(candidates, "candidates", features)
    numpy_ops.check_dimensions(
        features.shape[1], None if candidates is None else candidates.shape[1]
    )
    count = 0 if candidates is None else candidates.shape[0]
    columns = {
        "labels": (labels, features.shape[0]),
        "candidate_labels": (candidate_labels, count),
        "cameras": (cameras, features.shape[0]),
        "candidate_cameras": (candidate_cameras, count),
        "self_index": (self_index, features.shape[0]),
    }
    checked = [
        None if value is None else _column(value, name, rows, features.device)
        for name, (value, rows) in columns.items()
    ]
    return (features, candidates, *checked)


def _check_rows(rows: Tensor, name: str, like: Tensor) -> None:
    supported = rows.dtype in CPU_DTYPES and not (rows.is_cuda and rows.dtype == torch.float64)
    if not isinstance(rows, Tensor) or rows.ndim != 2 or not supported:
        raise ShapeError(
            f"{name} is {rows.dtype} of shape {tuple(rows.shape)} on {rows.device}",
            expected="(rows, D) of float32, float16 or bfloat16 (or float64 on the CPU)",
        )
    if rows.dtype != like.dtype or rows.device != like.device:
        raise ShapeError(
            f"{name} is {rows.dtype} on {rows.device}",
            expected=f"{like.dtype} on {like.device}, as the features",
        )


def _column(value: Any, name: str, count: int, device: torch.device) -> Tensor:
    column = value if isinstance(value, Tensor) else torch.as_tensor(value, device=device)
    if column.shape != (count,) or column.dtype not in INTEGERS or column.device != device:
        raise ShapeError(
            f"{name} is {column.dtype} of shape {tuple(column.shape)} on {column.device}",
            expected=f"integers of shape ({count},) on {device}",
        )
    return column.contiguous()


# ------------------------------------------------------------------------------------------------
# batch_hard


@torch.library.custom_op("crosscam::batch_hard", mutates_args=(), device_types="cpu")
def batch_hard_op(
    features: Tensor,
    candidates: Tensor | None,
    labels: Tensor,
    candidate_labels: Tensor | None,
    cameras: Tensor | None,
    candidate_cameras: Tensor | None,
    self_index: Tensor | None,
    positives: str,
    negatives: str,
    distance: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distances (N,) float32 (float64 for float64) and indices (N,) int32, positives first."""
    arrays = (candidates, labels, candidate_labels, cameras, candidate_cameras, self_index)
    return cpu.search(features, *arrays, positives, negatives, distance)


@batch_hard_op.register_kernel("cuda")
def _batch_hard_cuda(*arguments: Any) -> Pairs:
    from crosscam_kernels.gpu import triplet as gpu

    *arrays, positives, negatives, distance = arguments
    found = gpu.search(*arrays, positives=positives, negatives=negatives, distance=distance)
    return found[0], found[1], found[2], found[3]


def _real(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


@batch_hard_op.register_fake
def _batch_hard_fake(features: Tensor, *_: Any) -> Pairs:
    count, real = features.shape[0], _real(features)
    return (
        features.new_empty(count, dtype=real),
        features.new_empty(count, dtype=real),
        features.new_empty(count, dtype=torch.int32),
        features.new_empty(count, dtype=torch.int32),
    )


def _keep_pairs(ctx: Any, inputs: tuple[Any, ...], output: Pairs) -> None:
    features, candidates, *_, distance = inputs
    ctx.save_for_backward(features, candidates, *output)
    ctx.distance = distance
    ctx.mark_non_differentiable(output[2], output[3])


def _batch_hard_backward(ctx: Any, far: Tensor, near: Tensor, *_: Any) -> Any:
    features, candidates, *pairs = ctx.saved_tensors
    weights = torch.stack([far, near])
    one = torch.ones((), dtype=weights.dtype, device=weights.device)
    to_features, to_candidates = torch.ops.crosscam.batch_hard_backward(
        features, candidates, *pairs, weights, one, one, ctx.distance
    )
    return to_features, None if candidates is None else to_candidates, *([None] * 8)


batch_hard_op.register_autograd(_batch_hard_backward, setup_context=_keep_pairs)


# ------------------------------------------------------------------------------------------------
# triplet_loss


@torch.library.custom_op("crosscam::triplet_loss", mutates_args=(), device_types="cpu")
def triplet_loss_op(
    features: Tensor,
    candidates: Tensor | None,
    labels: Tensor,
    candidate_labels: Tensor | None,
    cameras: Tensor | None,
    candidate_cameras: Tensor | None,
    self_index: Tensor | None,
    positives: str,
    negatives: str,
    distance: str,
    margin: float | None,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss, the four columns of the pairs, weights (2, N) and scale ()."""
    arrays = (candidates, labels, candidate_labels, cameras, candidate_cameras, self_index)
    pairs = cpu.search(features, *arrays, positives, negatives, distance)
    loss, slope, scale = cpu.terms(*pairs, margin, reduction)
    return (loss, *pairs, torch.stack([slope, -slope]), scale)


@triplet_loss_op.register_kernel("cuda")
def _triplet_loss_cuda(*arguments: Any) -> tuple[Tensor, ...]:
    from crosscam_kernels.gpu import triplet as gpu

    *arrays, positives, negatives, distance, margin, reduction = arguments
    found = gpu.search(
        *arrays,
        positives=positives,
        negatives=negatives,
        distance=distance,
        loss=True,
        margin=margin,
    )
    if reduction == "none":
        loss, scale = found.loss, torch.ones((), device=found.loss.device)
    else:
        loss, scale = gpu.reduce_losses(found, reduction)
    return (loss, *found[:4], found.weights, scale)


@triplet_loss_op.register_fake
def _triplet_loss_fake(features: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    count, real = features.shape[0], _real(features)
    loss = features.new_empty(count if arguments[-1] == "none" else (), dtype=real)
    pairs = _batch_hard_fake(features)
    weights = features.new_empty((2, count), dtype=real)
    return (loss, *pairs, weights, features.new_empty((), dtype=real))


def _keep_terms(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    features, candidates, *_, distance, _margin, _reduction = inputs
    ctx.save_for_backward(features, candidates, *output[1:])
    ctx.distance = distance
    ctx.mark_non_differentiable(*output[1:])


def _triplet_loss_backward(ctx: Any, grad: Tensor, *_: Any) -> Any:
    features, candidates, *pairs, weights, scale = ctx.saved_tensors
    to_features, to_candidates = torch.ops.crosscam.batch_hard_backward(
        features, candidates, *pairs, weights, grad, scale, ctx.distance
    )
    return to_features, None if candidates is None else to_candidates, *([None] * 10)


triplet_loss_op.register_autograd(_triplet_loss_backward, setup_context=_keep_terms)


# ------------------------------------------------------------------------------------------------
# The backward pass of both


@torch.library.custom_op("crosscam::batch_hard_backward", mutates_args=(), device_types="cpu")
def batch_hard_backward_op(
    features: Tensor,
    candidates: Tensor | None,
    positive_distance: Tensor,
    negative_distance: Tensor,
    positive_index: Tensor,
    negative_index: Tensor,
    weights: Tensor,
    grad: Tensor,
    scale: Tensor,
    distance: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of features (N, D) and candidates (M, D), (0, D) without candidates.

    The derivative of the loss by the positive and negative distances is weights (2, N) times grad,
    () or (N,), times scale ().
    """
    flowing = weights * (grad * scale)
    distances = (positive_distance, negative_distance)
    indices = (positive_index.long(), negative_index.long())
    return cpu.gradient(features, candidates, distances, indices, flowing, distance)


@batch_hard_backward_op.register_kernel("cuda")
def _backward_cuda(*arguments: Any) -> tuple[Tensor, Tensor]:
    from crosscam_kernels.gpu import triplet as gpu

    *tensors, distance = arguments
    made: tuple[Tensor, Tensor] = gpu.gradient(*tensors, distance=distance)
    return made


@batch_hard_backward_op.register_fake
def _backward_fake(features: Tensor, candidates: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    rows = 0 if candidates is None else candidates.shape[0]
    return (
        features.new_empty(features.shape),
        features.new_empty((rows, features.shape[1])),
    )
