"""The camera-adversarial losses on tensors.

``torch.ops.crosscam.camera_adversarial`` answers losses per sample and, where asked, their
gradients with respect to the features, made in the same pass: a sample's loss depends on no other
feature, so the backward pass is a product with what comes from above.
``torch.ops.crosscam.camera_classifier_gradient`` recomputes the logits, tile by tile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam_kernels import _native
from crosscam_kernels._losses import Reduction
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.simd import simd_level
from crosscam_kernels.torch_ops._camera_adversarial_exact import (
    Knobs,
    Rows,
    exact,
    exact_classifier,
)


@torch.library.custom_op("crosscam::camera_adversarial", mutates_args=(), device_types="cpu")
def camera_adversarial(
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    class_group: Tensor | None,
    class_camera: Tensor | None,
    epsilon: float,
    scale: float,
    margin: float,
    boost: float,
    ignore_linked: bool,
    want_gradient: bool,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses of the samples; see `crosscam_kernels.camera_adversarial_loss`.

    Args:
        features: (N, D).
        classifier: (G, D) of the same dtype.
        labels: (N,) int64.
        class_group: (G,) int64; None when every class is alone.
        class_camera: (G,) int64 or None.
        epsilon: Share of the target that is spread.
        scale: 1 / temperature.
        margin: Of the own class, radians.
        boost: Of other classes of the own camera.
        ignore_linked: Whether linked classes of the own camera are left out.
        want_gradient: Whether the last output is filled.
        threads: At most this many on the CPU; 0 for torch's number.

    Returns:
        loss (N,), log of the sum over the negatives (N,), slope (N,): sum over the positives of
        q sigma(A - z), and the gradient of each loss with respect to its feature, (N, D) or (0, D).
    """
    if features.dtype == torch.float64:
        return exact(
            features, classifier, labels, class_group, class_camera,
            (epsilon, scale, margin, boost, ignore_linked), want_gradient,
        )  # fmt: skip
    x, w = _float_rows(features), _float_rows(classifier)
    outputs = _new_outputs(features, want_gradient)
    loss, log_sum, slope, gradient = (output.numpy() for output in outputs)
    _native.camera_adversarial(
        features=x,
        classifier=w,
        labels=labels.contiguous().numpy(),
        group=None if class_group is None else class_group.contiguous().numpy(),
        camera=None if class_camera is None else class_camera.contiguous().numpy(),
        ignore_linked=ignore_linked,
        epsilon=epsilon,
        scale=scale,
        margin=margin,
        boost=boost,
        threads=threads or torch.get_num_threads(),
        simd=simd_level(),
        loss=loss,
        log_sum=log_sum,
        slope=slope,
        gradient=gradient if want_gradient else None,
    )
    return outputs


@camera_adversarial.register_kernel("cuda")
def _(
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    class_group: Tensor | None,
    class_camera: Tensor | None,
    epsilon: float,
    scale: float,
    margin: float,
    boost: float,
    ignore_linked: bool,
    want_gradient: bool,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    knobs = (epsilon, scale, margin, boost, ignore_linked)
    if features.dtype == torch.float64:
        return exact(features, classifier, labels, class_group, class_camera, knobs, want_gradient)
    from crosscam_kernels.gpu.camera_adversarial import launch_losses

    outputs = _new_outputs(features, want_gradient)
    launch_losses(
        features, classifier, labels, class_group, class_camera, knobs, want_gradient, outputs
    )
    return outputs


@camera_adversarial.register_fake
def _(
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    class_group: Tensor | None,
    class_camera: Tensor | None,
    epsilon: float,
    scale: float,
    margin: float,
    boost: float,
    ignore_linked: bool,
    want_gradient: bool,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _new_outputs(features, want_gradient)


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: Rows) -> None:
    ctx.set_materialize_grads(False)
    ctx.dtype = inputs[0].dtype
    ctx.filled = inputs[10]
    ctx.save_for_backward(output[3])


def _features_backward(ctx: Any, loss: Tensor | None, *_others: Any) -> tuple[Any, ...]:
    (gradient,) = ctx.saved_tensors
    if loss is None or not ctx.filled:
        return (None,) * 12
    return ((loss[:, None] * gradient).to(ctx.dtype), *(None,) * 11)


camera_adversarial.register_autograd(_features_backward, setup_context=_keep_gradient)


@torch.library.custom_op("crosscam::camera_classifier", mutates_args=(), device_types=None)
def camera_classifier(
    features: Tensor, classifier: Tensor, labels: Tensor, scale: float, margin: float, threads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """L_GID of the samples: loss, log of the sum over other classes, slope; each (N,)."""
    loss, log_sum, slope, _ = camera_adversarial(
        features, classifier, labels, None, None, 0.0, scale, margin, 0.0, False, False, threads
    )
    return loss, log_sum, slope


@camera_classifier.register_fake
def _(
    features: Tensor, classifier: Tensor, labels: Tensor, scale: float, margin: float, threads: int
) -> tuple[Tensor, Tensor, Tensor]:
    loss, log_sum, slope, _ = _new_outputs(features, False)
    return loss, log_sum, slope


@torch.library.custom_op(
    "crosscam::camera_classifier_gradient", mutates_args=(), device_types="cpu"
)
def camera_classifier_gradient(
    weight: Tensor,
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    log_sum: Tensor,
    slope: Tensor,
    scale: float,
    margin: float,
    threads: int,
) -> Tensor:
    """(G, D) gradient of sum over n of weight[n] loss[n] with respect to the classifier."""
    if features.dtype == torch.float64:
        return exact_classifier(weight, features, classifier, labels, scale, margin)
    gradient = torch.empty(classifier.shape, dtype=torch.float32)
    _native.camera_classifier_gradient(
        features=_float_rows(features),
        classifier=_float_rows(classifier),
        labels=labels.contiguous().numpy(),
        weight=weight.float().contiguous().numpy(),
        log_sum=log_sum.numpy(),
        slope=slope.numpy(),
        scale=scale,
        margin=margin,
        threads=threads or torch.get_num_threads(),
        simd=simd_level(),
        gradient=gradient.numpy(),
    )
    return gradient


@camera_classifier_gradient.register_kernel("cuda")
def _(
    weight: Tensor,
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    log_sum: Tensor,
    slope: Tensor,
    scale: float,
    margin: float,
    threads: int,
) -> Tensor:
    if features.dtype == torch.float64:
        return exact_classifier(weight, features, classifier, labels, scale, margin)
    from crosscam_kernels.gpu.camera_adversarial import launch_classifier_gradient

    return launch_classifier_gradient(
        weight.float(), features, classifier, labels, log_sum, slope, scale, margin
    )


@camera_classifier_gradient.register_fake
def _(
    weight: Tensor,
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    log_sum: Tensor,
    slope: Tensor,
    scale: float,
    margin: float,
    threads: int,
) -> Tensor:
    return classifier.new_empty(classifier.shape, dtype=_result_type(classifier))


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    features, classifier, labels, ctx.scale, ctx.margin, ctx.threads = inputs
    ctx.save_for_backward(features, classifier, labels, *output[1:])


def _classifier_backward(ctx: Any, loss: Tensor | None, *_others: Any) -> tuple[Any, ...]:
    if loss is None or not ctx.needs_input_grad[1]:
        return (None,) * 6
    features, classifier, labels, log_sum, slope = ctx.saved_tensors
    gradient = camera_classifier_gradient(
        loss, features, classifier, labels, log_sum, slope, ctx.scale, ctx.margin, ctx.threads
    )
    return (None, gradient.to(classifier.dtype), *(None,) * 4)


camera_classifier.register_autograd(_classifier_backward, setup_context=_keep_inputs)


def classifier_loss(
    features: Tensor,
    classifier: Any,
    labels: Any,
    scale: float,
    margin: float,
    reduction: Reduction,
    threads: int,
) -> Tensor:
    """Checks tensors, calls the op and reduces; see the public function."""
    labels = _checked(features, classifier, labels, "labels", len(features))
    loss, _, _ = camera_classifier(
        features.detach(), classifier.to(features.dtype), labels, scale, margin, threads
    )
    return _reduced(loss, (labels >= 0) & (labels < len(classifier)), reduction)


def adversarial_loss(
    features: Tensor,
    classifier: Any,
    labels: Any,
    class_group: Any,
    class_camera: Any,
    knobs: Knobs,
    reduction: Reduction,
    threads: int,
) -> Tensor:
    """Checks tensors, calls the op and reduces; see the public function."""
    labels = _checked(features, classifier, labels, "labels", len(features))
    classes = len(classifier)
    group = _checked(features, classifier, class_group, "class_group", classes)
    camera = None
    if class_camera is not None:
        camera = _checked(features, classifier, class_camera, "class_camera", classes)
    want = torch.is_grad_enabled() and features.requires_grad
    loss, _, _, _ = camera_adversarial(
        features, classifier.detach().to(features.dtype), labels, group, camera, *knobs, want,
        threads,
    )  # fmt: skip
    known = (labels >= 0) & (labels < classes)
    used = known & (group[labels.clamp(0, classes - 1)] >= 0)
    return _reduced(loss, used, reduction)


def _reduced(loss: Tensor, used: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return loss
    total = loss.sum()
    return total if reduction == "sum" else total / used.sum().clamp(min=1)


def _checked(features: Tensor, classifier: Any, column: Any, name: str, count: int) -> Tensor:
    known = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    if features.ndim != 2 or features.dtype not in known:
        raise ShapeError(
            f"features are {features.dtype} of shape {tuple(features.shape)}",
            expected="(N, D) of float32, float64, float16 or bfloat16",
        )
    fits = isinstance(classifier, Tensor) and classifier.ndim == 2 and len(classifier) > 0
    if not fits or classifier.shape[1] != features.shape[1] or classifier.dtype not in known:
        found = tuple(classifier.shape) if isinstance(classifier, Tensor) else type(classifier)
        raise ShapeError(
            f"the classifier is {found}", expected=f"a tensor (G, {features.shape[1]}), G >= 1"
        )
    integral = isinstance(column, Tensor) and column.dtype in (torch.int64, torch.int32)
    if not integral or tuple(column.shape) != (count,):
        found = tuple(column.shape) if isinstance(column, Tensor) else type(column)
        raise ShapeError(f"{name} is {found}", expected=f"an int64 or int32 tensor ({count},)")
    result: Tensor = column.to(torch.int64)
    return result


def _result_type(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def _new_outputs(features: Tensor, want_gradient: bool) -> Rows:
    dtype, (count, dim) = _result_type(features), features.shape
    rows = [features.new_empty((count,), dtype=dtype) for _ in range(3)]
    gradient = features.new_empty((count if want_gradient else 0, dim), dtype=dtype)
    return rows[0], rows[1], rows[2], gradient


def _float_rows(rows: Tensor) -> NDArray[np.float32]:
    rows = rows.detach().float()
    array: NDArray[np.float32] = (rows if rows.stride(1) == 1 else rows.contiguous()).numpy()
    return array
