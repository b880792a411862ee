"""`batch_hard` and `triplet_loss` as custom ops of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscam_kernels import _native
from crosscam_kernels import triplet as numpy_ops
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.reference import triplet as reference

Pairs = tuple[Tensor, Tensor, Tensor, Tensor]

CPU_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
REFERENCE_ROWS = 1024  # anchors compared at once in float64


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
    return _cpu_search(features, *arrays, positives, negatives, distance)


@batch_hard_op.register_kernel("cuda")
def _batch_hard_cuda(*arguments: Any) -> Pairs:
    from crosscam_kernels.gpu import triplet as gpu

    *arrays, positives, negatives, distance = arguments
    found = gpu.search(*arrays, positives=positives, negatives=negatives, distance=distance)
    return found[0], found[1], found[2], found[3]


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
    pairs = _cpu_search(features, *arrays, positives, negatives, distance)
    if features.dtype == torch.float64:
        loss, slope, scale = _terms64(*pairs, margin, reduction)
    else:
        far, near = pairs[0].numpy(), pairs[1].numpy()
        each, slopes, factor = numpy_ops.triplet_terms(far, near, margin, reduction)
        loss, slope = torch.from_numpy(each), torch.from_numpy(slopes)
        scale = torch.tensor(factor)
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
    indices = (positive_index.long(), negative_index.long())
    if features.dtype == torch.float64:
        return _backward64(features, candidates, indices, flowing, distance)
    rows = _float_rows(features)
    others = None if candidates is None else _float_rows(candidates)
    gradient = np.empty(rows.shape, np.float32)
    to_candidates = None if others is None else np.empty(others.shape, np.float32)
    _native.batch_hard_gradient(
        features=rows,
        candidates=others,
        positive_index=indices[0].numpy(),
        negative_index=indices[1].numpy(),
        positive_distance=positive_distance.numpy(),
        negative_distance=negative_distance.numpy(),
        positive_weight=flowing[0].float().contiguous().numpy(),
        negative_weight=flowing[1].float().contiguous().numpy(),
        distance=distance,
        threads=torch.get_num_threads(),
        gradient=gradient,
        candidate_gradient=to_candidates,
    )
    made = torch.from_numpy(gradient).to(features.dtype)
    if to_candidates is None:
        return made, features.new_empty((0, features.shape[1]))
    return made, torch.from_numpy(to_candidates).to(features.dtype)


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


# ------------------------------------------------------------------------------------------------
# On the CPU: the native functions, or the reference in float64


def _real(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def _float_rows(rows: Tensor) -> Any:
    dense = rows if rows.stride(1) == 1 else rows.contiguous()
    return dense.float().numpy()


def _cpu_search(
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
) -> Pairs:
    rules: dict[str, Any] = {
        "positives": positives,
        "negatives": negatives,
        "distance": distance,
    }
    if features.dtype == torch.float64:
        if candidates is None:
            candidates, candidate_labels, candidate_cameras = features, labels, cameras
            self_index = torch.arange(features.shape[0])
        parts = [
            reference.batch_hard(
                features[at : at + REFERENCE_ROWS],
                labels[at : at + REFERENCE_ROWS],
                cameras=None if cameras is None else cameras[at : at + REFERENCE_ROWS],
                candidates=candidates,
                candidate_labels=candidate_labels,
                candidate_cameras=candidate_cameras,
                self_index=None if self_index is None else self_index[at : at + REFERENCE_ROWS],
                **rules,
            )
            for at in range(0, max(features.shape[0], 1), REFERENCE_ROWS)
        ]
        p, n, far, near = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return far, near, p.int(), n.int()
    batch = numpy_ops.checked_batch(
        features=_float_rows(features),
        labels=labels.numpy(),
        cameras=None if cameras is None else cameras.numpy(),
        candidates=None if candidates is None else _float_rows(candidates),
        candidate_labels=None if candidate_labels is None else candidate_labels.numpy(),
        candidate_cameras=None if candidate_cameras is None else candidate_cameras.numpy(),
        self_index=None if self_index is None else self_index.numpy(),
    )
    found = numpy_ops.search(batch, threads=torch.get_num_threads(), **rules)
    p, n, far, near = (torch.from_numpy(column) for column in found)
    return far, near, p.int(), n.int()


def _terms64(
    far: Tensor, near: Tensor, p: Tensor, n: Tensor, margin: float | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor]:
    complete = (p >= 0) & (n >= 0)
    gap = torch.where(complete, far, 0.0) - torch.where(complete, near, 0.0)
    if margin is None:
        each, slope = torch.nn.functional.softplus(gap, threshold=700.0), gap.sigmoid()
    else:
        each = (gap + margin).clamp(min=0)
        slope = (each > 0).double()
    each, slope = torch.where(complete, each, 0.0), torch.where(complete, slope, 0.0)
    if reduction == "none":
        return each, slope, torch.ones((), dtype=each.dtype)
    counted = (complete if reduction == "mean" else each > 0).sum()
    scale = torch.where(counted > 0, 1 / counted.clamp(min=1).double(), 0.0)
    return each.sum() * scale, slope, scale


def _backward64(
    features: Tensor,
    candidates: Tensor | None,
    indices: tuple[Tensor, Tensor],
    weights: Tensor,
    distance: str,
) -> tuple[Tensor, Tensor]:
    """The gradient in float64; an op has no autograd within, so it is written out."""
    anchors, others = features, features if candidates is None else candidates
    if distance == "cosine":
        anchors, others = reference.normalised(anchors), reference.normalised(others)
    to_anchors = torch.zeros_like(anchors, memory_format=torch.contiguous_format)
    to_others = torch.zeros_like(others, memory_format=torch.contiguous_format)
    for index, weight in zip(indices, weights, strict=True):
        own = torch.nonzero(index >= 0).flatten()
        chosen, factor = index[own], weight[own]
        if distance == "cosine":
            to_anchors.index_add_(0, own, -factor[:, None] * others[chosen])
            to_others.index_add_(0, chosen, -factor[:, None] * anchors[own])
            continue
        gap = anchors[own] - others[chosen]
        if distance == "euclidean":
            square = gap.square().sum(1)
            root = square.clamp(min=reference.LEAST_SQUARE).sqrt()
            factor = torch.where(square > reference.LEAST_SQUARE, factor / root, 0.0)
        else:
            factor = 2 * factor
        to_anchors.index_add_(0, own, factor[:, None] * gap)
        to_others.index_add_(0, chosen, -factor[:, None] * gap)
    if candidates is None:
        return _through_norm(features, to_anchors + to_others, distance), features.new_empty(
            (0, features.shape[1])
        )
    return (
        _through_norm(features, to_anchors, distance),
        _through_norm(candidates, to_others, distance),
    )


def _through_norm(rows: Tensor, gradient: Tensor, distance: str) -> Tensor:
    """From the gradient of rows / max(|rows|, least) to that of the rows."""
    if distance != "cosine":
        return gradient
    norm = rows.norm(dim=1, keepdim=True)
    unit = rows / norm.clamp(min=reference.LEAST_NORM)
    along = torch.where(norm > reference.LEAST_NORM, (unit * gradient).sum(1, keepdim=True), 0.0)
    return (gradient - along * unit) / norm.clamp(min=reference.LEAST_NORM)
