"""`memory_infonce` and `update_memory` as custom ops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crosscam_kernels import memory as family
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.reference.memory import candidate_masks, masked_mean
from crosscam_kernels.torch_ops._tensors import (
    array,
    check_rows,
    column,
    no_gradient,
    reduce_losses,
)

_PROBLEM = (
    "Tensor features, Tensor bank, Tensor targets, Tensor? labels, Tensor? cameras, "
    "Tensor? bank_cameras, str candidates, str positives, int hard_negatives, float temperature, "
    "float label_smoothing"
)
_STATISTICS = (
    "Tensor lse, Tensor positive_count, Tensor allowed_count, Tensor negatives, Tensor gradient"
)
_NAMES = ("features", "bank", "targets", "labels", "cameras", "bank_cameras")
_OPTIONS = ("candidates", "positives", "hard_negatives", "temperature", "label_smoothing")


def memory_infonce(
    features: Tensor,
    bank: Tensor,
    targets: Any,
    labels: Any | None,
    cameras: Any | None,
    bank_cameras: Any | None,
    *,
    reduction: str,
    **options: Any,
) -> Tensor:
    """See `crosscam_kernels.memory_infonce`, which has checked everything but the tensors."""
    check_rows(features, "features", 2)
    check_rows(bank, "bank", 2, features)
    count, rows = features.shape[0], bank.shape[0]
    losses, _, positive_count, *_ = memory_infonce_op(
        features,
        bank.detach(),
        column(targets, "targets", count, features),
        None if labels is None else column(labels, "labels", rows, features),
        None if cameras is None else column(cameras, "cameras", count, features),
        None if bank_cameras is None else column(bank_cameras, "bank_cameras", rows, features),
        *(options[name] for name in _OPTIONS),
        torch.is_grad_enabled() and features.requires_grad,
    )
    return reduce_losses(losses, positive_count > 0, reduction)


def update_memory(bank: Tensor, features: Any, targets: Any, momentum: float, mode: str) -> None:
    """See `crosscam_kernels.update_memory`, which has checked everything but the tensors."""
    check_rows(bank, "bank", 2)
    check_rows(features, "features", 2, bank)
    if bank.dtype == torch.float64:
        raise ShapeError("bank is float64", expected="float32, float16 or bfloat16")
    update_memory_op(
        bank.detach(),
        features.detach(),
        column(targets, "targets", features.shape[0], bank),
        float(momentum),
        mode,
    )


def _forward_cpu(*arguments: Any) -> tuple[Tensor, ...]:
    """The gradient comes with the losses, where it is asked for."""
    problem = dict(zip((*_NAMES, *_OPTIONS), arguments[:-1], strict=True))
    with_gradient = arguments[-1]
    if problem["features"].dtype == torch.float64:
        return _forward_dense(problem, with_gradient)
    losses, found = family.native_losses(_native_problem(problem), with_gradient)
    kept = (found[name] for name in ("lse", "positive_count", "allowed_count", "negatives"))
    gradient = (
        torch.from_numpy(found["gradient"]) if with_gradient else no_gradient(problem["features"])
    )
    return (torch.from_numpy(losses), *(torch.from_numpy(value) for value in kept), gradient)


def _backward_cpu(grad: Tensor, *arguments: Any) -> Tensor:
    gradient, features = arguments[4], arguments[5]
    if gradient.shape != features.shape:  # the losses were computed without it
        gradient = _forward_cpu(*arguments[5:], True)[-1]
    weighted = grad[:, None] * gradient
    return weighted.masked_fill(grad[:, None] == 0, 0.0).to(features.dtype)


def _native_problem(problem: dict[str, Any]) -> dict[str, Any]:
    arrays = [array(problem[name]) for name in _NAMES]
    return family.native_problem(
        *arrays, threads=torch.get_num_threads(), **{name: problem[name] for name in _OPTIONS}
    )


def _masks(problem: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, positives and allowed rows in float64, the whole matrices."""
    logits = problem["features"] @ problem["bank"].T / problem["temperature"]
    positive, allowed = candidate_masks(
        logits,
        problem["targets"],
        labels=problem["labels"],
        cameras=problem["cameras"],
        bank_cameras=problem["bank_cameras"],
        candidates=problem["candidates"],
        positives=problem["positives"],
        hard_negatives=None if problem["hard_negatives"] < 0 else problem["hard_negatives"],
    )
    counted = positive.any(1)[:, None]
    return logits, positive & counted, allowed & counted


def _forward_dense(problem: dict[str, Any], with_gradient: bool) -> tuple[Tensor, ...]:
    """Float64: for checking gradients, not for speed."""
    logits, positive, allowed = _masks(problem)
    smoothing = problem["label_smoothing"]
    counted = positive.any(1)
    masked = logits.masked_fill(~allowed, float("-inf"))
    lse = masked.logsumexp(1)
    pull, spread = masked_mean(logits, positive), masked_mean(logits, allowed)
    losses = (lse - (1 - smoothing) * pull - smoothing * spread).masked_fill(~counted, 0.0)
    negatives = torch.full((len(logits), max(0, problem["hard_negatives"])), -1)
    gradient = no_gradient(problem["features"])
    if with_gradient:
        weight = masked.softmax(1).nan_to_num(nan=0.0)
        weight = weight - (1 - smoothing) * positive / positive.sum(1, keepdim=True).clamp(min=1)
        weight = weight - smoothing * allowed / allowed.sum(1, keepdim=True).clamp(min=1)
        gradient = weight @ problem["bank"] / problem["temperature"]
    return (
        losses,
        lse.masked_fill(~counted, 0.0),
        positive.sum(1),
        allowed.sum(1),
        negatives,
        gradient,
    )


def _forward_cuda(*arguments: Any) -> tuple[Tensor, ...]:
    """The backward pass computes the similarities anew: there is no gradient yet."""
    from crosscam_kernels.gpu import memory as gpu

    return (*gpu.forward(*arguments[:-1]), no_gradient(arguments[0]))


def _backward_cuda(*arguments: Any) -> Tensor:
    from crosscam_kernels.gpu import memory as gpu

    before = 5  # grad, lse, positive_count, allowed_count, negatives
    return gpu.backward(*arguments[:before], *arguments[before + 1 :])


def _update_cpu(
    bank: Tensor, features: Tensor, targets: Tensor, momentum: float, mode: str
) -> None:
    in_place = bank.dtype == torch.float32 and (bank.numel() == 0 or bank.stride(1) == 1)
    rows = bank if in_place else bank.float().contiguous()
    family.native_update(
        rows.numpy(), array(features), array(targets), momentum, mode, torch.get_num_threads()
    )
    if not in_place:
        bank.copy_(rows)


def _update_cuda(
    bank: Tensor, features: Tensor, targets: Tensor, momentum: float, mode: str
) -> None:
    from crosscam_kernels.gpu import memory_update as gpu

    gpu.update_memory(bank, features, targets, momentum, mode)


def _forward_fake(features: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    problem = dict(zip((*_NAMES[1:], *_OPTIONS), arguments[:-1], strict=True))
    count = features.shape[0]
    given = arguments[-1] and features.device.type == "cpu"
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    number = features.new_empty((count,), dtype=torch.int64)
    return (
        features.new_empty((count,), dtype=dtype),
        features.new_empty((count,), dtype=dtype),
        number,
        torch.empty_like(number),
        features.new_empty((count, max(0, problem["hard_negatives"])), dtype=torch.int64),
        features.new_empty((count if given else 0, features.shape[1]), dtype=dtype),
    )


def _backward_fake(*arguments: Any) -> Tensor:
    features: Tensor = arguments[6]
    return features.new_empty(features.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, ctx.options = inputs[: len(_NAMES)], inputs[len(_NAMES) : -1]
    ctx.save_for_backward(*output[1:], *tensors)


def _autograd(ctx: Any, grad: Tensor, *unused: Any) -> tuple[Tensor | None, ...]:
    """Only the losses are differentiable; the rest is there for this pass."""
    gradient = memory_infonce_backward_op(grad, *ctx.saved_tensors, *ctx.options)
    return (gradient, *[None] * (len(_NAMES) + len(_OPTIONS)))


memory_infonce_op = torch.library.custom_op(
    "crosscam::memory_infonce",
    _forward_cpu,
    mutates_args=(),
    device_types="cpu",
    schema=f"({_PROBLEM}, bool with_gradient) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
memory_infonce_op.register_fake(_forward_fake)
memory_infonce_op.register_kernel("cuda", _forward_cuda)

memory_infonce_backward_op = torch.library.custom_op(
    "crosscam::memory_infonce_backward",
    _backward_cpu,
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor grad, {_STATISTICS}, {_PROBLEM}) -> Tensor",
)
memory_infonce_backward_op.register_fake(_backward_fake)
memory_infonce_backward_op.register_kernel("cuda", _backward_cuda)
memory_infonce_op.register_autograd(_autograd, setup_context=_setup)

# `how` is the mode: a parameter of that name collides with one of torch's own dispatch.
update_memory_op = torch.library.custom_op(
    "crosscam::update_memory",
    _update_cpu,
    mutates_args=("bank",),
    device_types="cpu",
    schema="(Tensor(a!) bank, Tensor features, Tensor targets, float momentum, str how) -> ()",
)
update_memory_op.register_fake(lambda bank, features, targets, momentum, how: None)
update_memory_op.register_kernel("cuda", _update_cuda)
