"""Losses of camera-agnostic learning: a classifier of camera-specific people, and its adversary."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import feature_rows, integer_column, worker_limit
from crosscam_kernels._losses import (
    LossAndGradient,
    Reduction,
    check_reduction,
    check_temperature,
    reduced,
    sample_weight,
)
from crosscam_kernels._torch import is_tensor
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.simd import simd_level

Linked = Literal["negative", "ignore"]


def camera_classifier_loss(
    features: Any,
    classifier: Any,
    labels: Any,
    *,
    temperature: float = 1 / 16,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    threads: int | None = None,
) -> Any:
    """Cross entropy of a cosine classifier, without its logits in memory: L_GID, CCAFL Eq. 17.

    -log(exp(cos(f_i, phi_y) / tau) / sum_h exp(cos(f_i, phi_h) / tau)), the discriminator's step:
    it trains the classifier and never the features, which are treated as detached.

    Args:
        features: (N, D) float32, any scale; tensors also float64, float16, bfloat16.
        classifier: (G, D), one row per class, any scale.
        labels: (N,) integers, the own class of each sample; others than 0..G-1 are left out.
        temperature: tau; the official code of CCAFL and of CAL uses 1/16.
        margin: Angular margin (ArcFace, radians) of the own class, 0 in both papers' code.
        reduction: Over the samples that count.
        threads: At most this many on the CPU; None for one per processor, and for tensors as many
            as torch uses.

    Returns:
        Tensors: the loss, float32 (float64 for float64), with a gradient for `classifier` only.
        NumPy: `LossAndGradient` with the gradient (G, D) of the classifier.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Another argument is impossible.
    """
    _check_numbers(temperature, margin, reduction)
    limit = worker_limit(threads)
    if is_tensor(features):
        from crosscam_kernels.torch_ops.camera_adversarial import classifier_loss

        return classifier_loss(
            features, classifier, labels, 1 / temperature, margin, reduction, limit
        )
    x, w, own = _checked_arrays(features, classifier, labels)
    loss, log_sum, slope = _row_outputs(len(x))
    shared: dict[str, Any] = {"features": x, "classifier": w, "labels": own, "margin": margin}
    shared |= {"scale": 1 / temperature, "threads": limit, "simd": simd_level()}
    _native.camera_adversarial(
        **shared,
        group=None,
        camera=None,
        ignore_linked=False,
        epsilon=0.0,
        boost=0.0,
        loss=loss,
        log_sum=log_sum,
        slope=slope,
        gradient=None,
    )
    weight = sample_weight((own >= 0) & (own < len(w)), reduction)
    gradient = np.empty(w.shape, np.float32)
    _native.camera_classifier_gradient(
        **shared, weight=weight, log_sum=log_sum, slope=slope, gradient=gradient
    )
    return LossAndGradient(reduced(loss, weight, reduction), gradient)


def camera_adversarial_loss(
    features: Any,
    classifier: Any,
    labels: Any,
    class_group: Any,
    class_camera: Any = None,
    *,
    epsilon: float = 0.8,
    temperature: float = 1 / 16,
    margin: float = 0.0,
    same_camera_boost: float = 0.0,
    linked: Linked = "negative",
    reduction: Reduction = "mean",
    threads: int | None = None,
) -> Any:
    """Makes features equally close to a person's classes in every camera: L_ICAL, CCAFL Eq. 18-19.

    With classes g of a classifier of camera-specific people, for sample i of class y: positives
    are y and the classes of the same group in *other* cameras, K together; all others are the
    negatives G_i^-. The loss is - sum_g q(g) log(exp(z_g) / (exp(z_g) + sum_{j in G_i^-} exp(z_j)))
    with z = cos / tau, q(y) = 1 - eps + eps / K and q(g) = eps / K for the other positives. The
    feature's step: the classifier is fixed. Masks come from the vectors; nothing of size (N, G)
    is kept.

    Without `class_camera` this is the clothes-adversarial loss of CAL: classes are outfits, groups
    are identities, positives are all outfits of the person (there eps = 0.1).

    Args:
        features: (N, D) float32, any scale; tensors also float64, float16, bfloat16.
        classifier: (G, D), one row per class, any scale.
        labels: (N,) integers, own class of each sample; others than 0..G-1 are left out.
        class_group: (G,) integers, pseudo identity (CCAFL) or identity (CAL) of each class.
            Negative: not associated with anybody; its samples are left out, for the others it is a
            negative.
        class_camera: (G,) integers, camera of each class; None when cameras play no role.
        epsilon: Share of the target that is spread over the positives, 0..1; CCAFL's code 0.8.
        temperature: tau; the code of both papers 1/16.
        margin: ArcFace margin of the own class in radians. Not in the paper; CCAFL's code has 0.7
            for Market-1501, 0.3 for DukeMTMC-reID, 0.5 for MSMT17.
        same_camera_boost: t; cosines of other classes of the own camera become (1 + t) cos + t.
            Not in the paper; CCAFL's code has 0.2.
        linked: What another class of the own camera is that association put into the own group
            through a chain: ``"negative"`` (the paper and its code: labels within a camera are
            certain, so it is somebody else) or ``"ignore"``.
        reduction: Over the samples that count; the paper sums, its code takes the mean.
        threads: At most this many on the CPU; None for one per processor, and for tensors as many
            as torch uses.

    Returns:
        Tensors: the loss, float32 (float64 for float64), with a gradient for `features` only.
        NumPy: `LossAndGradient` with the gradient (N, D) of the features.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Another argument is impossible.
    """
    _check_numbers(temperature, margin, reduction)
    if not 0 <= epsilon <= 1 or not math.isfinite(same_camera_boost):
        raise UsageError(
            f"epsilon={epsilon}, same_camera_boost={same_camera_boost}",
            expected="epsilon of 0..1 and a finite boost",
        )
    if linked not in ("negative", "ignore"):
        raise UsageError(f"linked={linked!r}", expected="'negative' or 'ignore'")
    limit = worker_limit(threads)
    ignore = linked == "ignore"
    if is_tensor(features):
        from crosscam_kernels.torch_ops.camera_adversarial import adversarial_loss

        knobs = (epsilon, 1 / temperature, margin, same_camera_boost, ignore)
        return adversarial_loss(
            features, classifier, labels, class_group, class_camera, knobs, reduction, limit
        )
    x, w, own = _checked_arrays(features, classifier, labels)
    group = integer_column(class_group, "class_group", len(w), np.int64)
    camera = None
    if class_camera is not None:
        camera = integer_column(class_camera, "class_camera", len(w), np.int64)
    loss, log_sum, slope = _row_outputs(len(x))
    gradient = np.empty(x.shape, np.float32)
    _native.camera_adversarial(
        features=x,
        classifier=w,
        labels=own,
        group=group,
        camera=camera,
        ignore_linked=ignore,
        epsilon=epsilon,
        scale=1 / temperature,
        margin=margin,
        boost=same_camera_boost,
        threads=limit,
        simd=simd_level(),
        loss=loss,
        log_sum=log_sum,
        slope=slope,
        gradient=gradient,
    )
    used = (own >= 0) & (own < len(w))
    used[used] = group[own[used]] >= 0
    weight = sample_weight(used, reduction)
    return LossAndGradient(reduced(loss, weight, reduction), gradient * weight[:, None])


def _row_outputs(count: int) -> tuple[NDArray[np.float32], ...]:
    return tuple(np.empty(count, np.float32) for _ in range(3))


def _check_numbers(temperature: float, margin: float, reduction: str) -> None:
    check_temperature(temperature)
    check_reduction(reduction)
    if not 0 <= margin < math.pi:
        raise UsageError(f"margin={margin}", expected="0 to less than pi radians")


def _checked_arrays(
    features: Any, classifier: Any, labels: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    x = feature_rows(features, "features", "N")
    w = feature_rows(classifier, "classifier", "G")
    if x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"features are {x.shape} and the classifier is {w.shape}",
            expected="rows of the same length D",
        )
    if len(w) == 0 and len(x):
        raise InputError("the classifier has no classes", expected="at least one row")
    return x, w, integer_column(labels, "labels", len(x), np.int64)
