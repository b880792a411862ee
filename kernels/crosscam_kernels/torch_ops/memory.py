"""`memory_infonce` and `update_memory` as custom ops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crosscam_kernels import memory as family
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.reference.memory import candidate_masks, masked_mean
from crosscam_kernels.torch_ops._tensors import array, check_rows, column, reduce_losses

_PROBLEM = (
    "Tensor features, Tensor bank, Tensor targets, Tensor? labels, Tensor? cameras, "
    "Tensor? bank_cameras, str candidates, str positives, int hard_negatives, float temperature, "
    "float label_smoothing"
)
_STATISTICS = "Tensor lse, Tensor positive_count, Tensor allowed_count, Tensor negatives"
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
    losses, _, positive_count, _, _ = memory_infonce_op(
        features,
        bank.detach(),
        column(targets, "targets", count, features),
        None if labels is None else column(labels, "labels", rows, features),
        None if cameras is None else column(cameras, "cameras", count, features),
        None if bank_cameras is None else column(bank_cameras, "bank_cameras", rows, features),
        *(options[name] for name in _OPTIONS),
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


def _forward_cpu(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    problem = dict(zip((*_NAMES, *_OPTIONS), arguments, strict=True))
    if problem["features"].dtype == torch.float64:
        return _forward_dense(problem)
    losses, statistics = family.native_forward(_native_problem(problem))
    kept = (statistics[name] for name in ("lse", "positive_count", "allowed_count", "negatives"))
    return (torch.from_numpy(losses), *(torch.from_numpy(value) for value in kept))


def _backward_cpu(
    grad: Tensor,
    lse: Tensor,
    positive_count: Tensor,
    allowed_count: Tensor,
    negatives: Tensor,
    *arguments: Any,
) -> Tensor:
    problem = dict(zip((*_NAMES, *_OPTIONS), arguments, strict=True))
    features = problem["features"]
    if features.dtype == torch.float64:
        return _backward_dense(problem, grad)
    statistics = {
        "lse": array(lse),
        "positive_count": array(positive_count),
        "allowed_count": array(allowed_count),
        "negatives": array(negatives),
    }
    gradient = family.native_backward(_native_problem(problem), statistics, array(grad))
    return torch.from_numpy(gradient).to(features.dtype)


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


def _forward_dense(problem: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Float64: for checking gradients, not for speed."""
    logits, positive, allowed = _masks(problem)
    smoothing = problem["label_smoothing"]
    counted = positive.any(1)
    lse = logits.masked_fill(~allowed, float("-inf")).logsumexp(1)
    pull, spread = masked_mean(logits, positive), masked_mean(logits, allowed)
    losses = (lse - (1 - smoothing) * pull - smoothing * spread).masked_fill(~counted, 0.0)
    chosen = max(0, problem["hard_negatives"])
    # The backward pass in float64 chooses anew.
    negatives = torch.full((len(logits), chosen), -1, dtype=torch.int64)
    return losses, lse.masked_fill(~counted, 0.0), positive.sum(1), allowed.sum(1), negatives


def _backward_dense(problem: dict[str, Any], grad: Tensor) -> Tensor:
    logits, positive, allowed = _masks(problem)
    smoothing = problem["label_smoothing"]
    weight = logits.masked_fill(~allowed, float("-inf")).softmax(1).nan_to_num(nan=0.0)
    weight = weight - (1 - smoothing) * positive / positive.sum(1, keepdim=True).clamp(min=1)
    weight = weight - smoothing * allowed / allowed.sum(1, keepdim=True).clamp(min=1)
    return (grad / problem["temperature"])[:, None] * weight @ problem["bank"]


def _forward_cuda(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    from crosscam_kernels.gpu import memory as gpu

    return gpu.forward(*arguments)


def _backward_cuda(*arguments: Any) -> Tensor:
    from crosscam_kernels.gpu import memory as gpu

    return gpu.backward(*arguments)


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
    problem = dict(zip((*_NAMES[1:], *_OPTIONS), arguments, strict=True))
    count = features.shape[0]
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    number = features.new_empty((count,), dtype=torch.int64)
    return (
        features.new_empty((count,), dtype=dtype),
        features.new_empty((count,), dtype=dtype),
        number,
        torch.empty_like(number),
        features.new_empty((count, max(0, problem["hard_negatives"])), dtype=torch.int64),
    )


def _backward_fake(
    grad: Tensor,
    lse: Tensor,
    positive_count: Tensor,
    allowed_count: Tensor,
    negatives: Tensor,
    features: Tensor,
    *rest: Any,
) -> Tensor:
    return features.new_empty(features.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, ctx.options = inputs[: len(_NAMES)], inputs[len(_NAMES) :]
    ctx.save_for_backward(*output[1:], *tensors)


def _autograd(ctx: Any, grad: Tensor, *unused: Any) -> tuple[Tensor | None, ...]:
    """Only the losses are differentiable; the statistics are there for this pass."""
    gradient = memory_infonce_backward_op(grad, *ctx.saved_tensors, *ctx.options)
    return (gradient, *[None] * (len(_NAMES) + len(_OPTIONS) - 1))


memory_infonce_op = torch.library.custom_op(
    "crosscam::memory_infonce",
    _forward_cpu,
    mutates_args=(),
    device_types="cpu",
    schema=f"({_PROBLEM}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
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
