"""`instance_infonce` and `update_instances` as custom ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscam_kernels import instance_memory as family
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.memory import check_targets
from crosscam_kernels.reference import instance_memory as reference
from crosscam_kernels.torch_ops._tensors import (
    array,
    check_rows,
    column,
    no_gradient,
    reduce_losses,
)

_PROBLEM = (
    "Tensor features, Tensor bank, Tensor filled, Tensor targets, Tensor? class_cameras, "
    "Tensor? cameras, float temperature"
)
_INPUTS = 7  # and whether to compute the gradient


def instance_infonce(
    features: Tensor,
    bank: Tensor,
    filled: Any,
    targets: Any,
    class_cameras: Any | None,
    cameras: Any | None,
    temperature: float,
    reduction: str,
) -> Tensor:
    """See `crosscam_kernels.instance_infonce`, which has checked everything but the tensors."""
    check_rows(features, "features", 2)
    check_rows(bank, "bank", 3, features)
    count, classes = features.shape[0], bank.shape[0]
    losses, _, counted, _ = instance_infonce_op(
        features,
        bank.detach(),
        filled_mask(filled, bank),
        column(targets, "targets", count, features),
        None if class_cameras is None else column(class_cameras, "class_cameras", classes, bank),
        None if cameras is None else column(cameras, "cameras", count, features),
        temperature,
        torch.is_grad_enabled() and features.requires_grad,
    )
    return reduce_losses(losses, counted, reduction)


def update_instances(bank: Tensor, filled: Tensor, features: Tensor, targets: Any) -> Tensor:
    """See `crosscam_kernels.update_instances`."""
    check_rows(bank, "bank", 3)
    check_rows(features, "features", 2, bank)
    check_filled(filled, bank)
    return update_instances_op(
        bank.detach(),
        filled,
        features.detach(),
        column(targets, "targets", features.shape[0], bank),
    )


def filled_mask(filled: Any, bank: Tensor) -> Tensor:
    """(C, S) bool from itself or from the (C,) numbers of filled slots.

    Raises:
        ShapeError: It is neither.
    """
    if not isinstance(filled, Tensor):
        filled = torch.as_tensor(filled, device=bank.device)
    if filled.ndim == 1 and filled.dtype != torch.bool:
        numbers = column(filled, "filled", bank.shape[0], bank)
        return torch.arange(bank.shape[1], device=bank.device)[None, :] < numbers[:, None]
    check_filled(filled, bank)
    return filled.contiguous()


def check_filled(filled: Tensor, bank: Tensor) -> None:
    """Checks the mask of slots.

    Raises:
        ShapeError: It is not (C, S) bool on the device of `bank`.
    """
    if filled.dtype != torch.bool or filled.shape != bank.shape[:2] or filled.device != bank.device:
        raise ShapeError(
            f"filled is {filled.dtype} of shape {tuple(filled.shape)} on {filled.device}",
            expected=f"bool of shape {tuple(bank.shape[:2])} on {bank.device}",
        )


def _native_problem(*arguments: Any) -> dict[str, Any]:
    features, bank, filled, targets, class_cameras, cameras = map(array, arguments[:-1])
    return family.native_problem(
        features,
        bank,
        filled,
        targets,
        class_cameras,
        cameras,
        arguments[-1],
        torch.get_num_threads(),
    )


def _forward_cpu(*arguments: Any) -> tuple[Tensor, ...]:
    """The gradient comes with the losses, where it is asked for."""
    *problem, with_gradient = arguments
    if problem[0].dtype == torch.float64:
        return _forward_dense(*arguments)
    losses, found = family.native_losses(_native_problem(*problem), with_gradient)
    return (
        torch.from_numpy(losses),
        torch.from_numpy(found["lse"]),
        torch.from_numpy(found["counted"].astype(np.bool_)),
        torch.from_numpy(found["gradient"]) if with_gradient else no_gradient(problem[0]),
    )


def _backward_cpu(
    grad: Tensor, lse: Tensor, counted: Tensor, gradient: Tensor, *arguments: Any
) -> Tensor:
    features = arguments[0]
    if gradient.shape != features.shape:  # the losses were computed without it
        gradient = _forward_cpu(*arguments, True)[-1]
    weighted = grad[:, None] * gradient
    return weighted.masked_fill(grad[:, None] == 0, 0.0).to(features.dtype)


def _chosen(*arguments: Any) -> reference.ChosenInstances:
    features, bank, filled, targets, class_cameras, cameras, temperature = arguments
    return reference.choose_instances(
        features, bank, filled, targets,
        class_cameras=class_cameras, cameras=cameras, temperature=temperature,
    )  # fmt: skip


def _forward_dense(*arguments: Any) -> tuple[Tensor, ...]:
    """Float64: for checking gradients, not for speed."""
    *problem, with_gradient = arguments
    features, bank, temperature = problem[0], problem[1], problem[-1]
    logits, slots, allowed, own, counted = _chosen(*problem)
    lse = logits.masked_fill(~allowed, float("-inf")).logsumexp(1)
    losses = lse - logits.masked_fill(~own, 0.0).sum(1)
    gradient = no_gradient(features)
    if with_gradient:
        weight = (logits - lse[:, None]).exp() - own.to(logits.dtype)
        weight = weight.masked_fill(~(allowed & counted[:, None]), 0.0) / temperature
        gradient = torch.zeros_like(features)
        if bank.shape[1] != 0:
            instances = bank[torch.arange(len(bank), device=bank.device)[None, :], slots]
            gradient = torch.einsum("nc,ncd->nd", weight, instances)
    return losses.masked_fill(~counted, 0.0), lse.masked_fill(~counted, 0.0), counted, gradient


def _update_cpu(bank: Tensor, filled: Tensor, features: Tensor, targets: Tensor) -> Tensor:
    labels = array(targets)
    check_targets(labels, len(bank))
    slots, stays = (torch.from_numpy(value) for value in family.slots_of(labels, bank.shape[1]))
    bank[targets[stays], slots[stays]] = features[stays]
    filled[targets[stays], slots[stays]] = True
    return slots


def _forward_cuda(*arguments: Any) -> tuple[Tensor, ...]:
    """The backward pass computes the similarities anew: there is no gradient yet."""
    from crosscam_kernels.gpu import instance_memory as gpu

    return (*gpu.forward(*arguments[:-1]), no_gradient(arguments[0]))


def _backward_cuda(
    grad: Tensor, lse: Tensor, counted: Tensor, gradient: Tensor, *arguments: Any
) -> Tensor:
    from crosscam_kernels.gpu import instance_memory as gpu

    return gpu.backward(grad, lse, counted, *arguments)


def _update_cuda(bank: Tensor, filled: Tensor, features: Tensor, targets: Tensor) -> Tensor:
    from crosscam_kernels.gpu import memory_update as gpu

    return gpu.update_instances(bank, filled, features, targets)


def _forward_fake(features: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    count = features.shape[0]
    losses = features.new_empty((count,), dtype=dtype)
    given = rest[-1] and features.device.type == "cpu"
    return (
        losses,
        torch.empty_like(losses),
        losses.new_empty((count,), dtype=torch.bool),
        features.new_empty((count if given else 0, features.shape[1]), dtype=dtype),
    )


def _backward_fake(
    grad: Tensor, lse: Tensor, counted: Tensor, gradient: Tensor, features: Tensor, *rest: Any
) -> Tensor:
    return features.new_empty(features.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.temperature, _ = inputs
    ctx.save_for_backward(*output[1:], *tensors)


def _autograd(ctx: Any, grad: Tensor, *unused: Any) -> tuple[Tensor | None, ...]:
    """Only the losses are differentiable; the statistics are there for this pass."""
    gradient = instance_infonce_backward_op(grad, *ctx.saved_tensors, ctx.temperature)
    return (gradient, *[None] * _INPUTS)


instance_infonce_op = torch.library.custom_op(
    "crosscam::instance_infonce",
    _forward_cpu,
    mutates_args=(),
    device_types="cpu",
    schema=f"({_PROBLEM}, bool with_gradient) -> (Tensor, Tensor, Tensor, Tensor)",
)
instance_infonce_op.register_fake(_forward_fake)
instance_infonce_op.register_kernel("cuda", _forward_cuda)

instance_infonce_backward_op = torch.library.custom_op(
    "crosscam::instance_infonce_backward",
    _backward_cpu,
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor grad, Tensor lse, Tensor counted, Tensor gradient, {_PROBLEM}) -> Tensor",
)
instance_infonce_backward_op.register_fake(_backward_fake)
instance_infonce_backward_op.register_kernel("cuda", _backward_cuda)
instance_infonce_op.register_autograd(_autograd, setup_context=_setup)

update_instances_op = torch.library.custom_op(
    "crosscam::update_instances",
    _update_cpu,
    mutates_args=("bank", "filled"),
    device_types="cpu",
    schema="(Tensor(a!) bank, Tensor(b!) filled, Tensor features, Tensor targets) -> Tensor",
)
update_instances_op.register_fake(
    lambda bank, filled, features, targets: targets.new_empty(targets.shape)
)
update_instances_op.register_kernel("cuda", _update_cuda)
