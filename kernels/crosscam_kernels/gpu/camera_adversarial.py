"""The camera-adversarial losses on a GPU, without logits in memory.

Plans and launches the kernels of `_camera_adversarial_kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
from torch import Tensor

from crosscam_kernels.aot import KernelSpec
from crosscam_kernels.gpu._camera_adversarial_kernels import (
    classifier_kernel,
    finish_kernel,
    negatives_kernel,
    positives_kernel,
    push_kernel,
)

_MIN_NORM = 1e-12
# Tiles by the size of an element. SAMPLES and CLASSES are the sides of a tile of logits, DEPTH the
# features per step, CHUNK those of one program's product with the classes. Products in fp32 run
# outside the matrix units and keep their operands in registers: larger tiles spill.
_TILES = {
    4: {"SAMPLES": 32, "CLASSES": 32, "DEPTH": 16},
    2: {"SAMPLES": 32, "CLASSES": 64, "DEPTH": 32},
}
_CHUNK = {4: 64, 2: 256}
_WARPS = {4: 4, 2: 8}  # of the kernels that have a chunk
STRIP = 256  # features of one step over a row
SPLITS, PUSH_SPLITS = 32, 8  # at most so many parts of the classes


def launch_losses(
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    group: Tensor | None,
    camera: Tensor | None,
    knobs: tuple[float, float, float, float, bool],
    want_gradient: bool,
    outputs: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Fills loss, log_sum, slope (N,) and, where wanted, the gradient (N, D), all float32."""
    epsilon, scale, margin, boost, ignore = knobs
    loss, log_sum, slope, gradient = outputs
    count, dim = features.shape
    classes = len(classifier)
    if count == 0:
        return
    x, w = _dense(features), _dense(classifier)
    x_inverse, w_inverse = _inverse_norms(x), _inverse_norms(w)
    own = labels.clamp(0, classes - 1)
    if group is None:
        order, begin = torch.arange(classes, device=x.device), own
        end = own + 1
    else:
        people, order = group.sort(stable=True)
        begin = torch.searchsorted(people, group[own])
        end = torch.searchsorted(people, group[own], right=True)
    masks = (labels if group is None else group, labels if camera is None else camera)
    first = (x, w, x_inverse, w_inverse, labels, *masks)
    rules: dict[str, Any] = {"GROUPS": group is not None, "CAMERAS": camera is not None}
    size = x.element_size()
    tile = _TILES[size]
    numbers = (count, classes, dim, x.stride(0), w.stride(0))
    rows = triton.cdiv(count, tile["SAMPLES"])
    splits, part = _parts(classes, tile["CLASSES"], SPLITS)
    parts = [x.new_empty((splits, count), dtype=torch.float32) for _ in range(2)]
    along = x.new_empty((count,), dtype=torch.float32)
    gradient.zero_()
    with torch.cuda.device_of(x):
        negatives_kernel[(rows, splits)](
            *first, *parts, *numbers, part, scale, boost,
            **rules, IGNORE=ignore, **tile, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
        positives_kernel[(count,)](
            *first, order, begin, end, *parts, loss, log_sum, slope, along, gradient,
            *numbers, splits, scale, epsilon, *_margin_numbers(margin),
            **rules, MARGIN=margin != 0, GRADIENT=want_gradient, STRIP=STRIP,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
        if not want_gradient:
            return
        splits, part = _parts(classes, tile["CLASSES"], PUSH_SPLITS)
        push = x.new_empty((splits, count, dim), dtype=torch.float32)
        push_along = x.new_empty((splits, count), dtype=torch.float32)
        push_kernel[(rows, triton.cdiv(dim, _CHUNK[size]), splits)](
            *first, log_sum, slope, push, push_along, *numbers, part, scale, boost,
            **rules, IGNORE=ignore, **tile, CHUNK=_CHUNK[size],
            num_warps=_WARPS[size], enable_fp_fusion=True,
        )  # fmt: skip
        finish_kernel[(count,)](
            x, x_inverse, push, push_along, along, gradient, count, dim, x.stride(0), splits,
            STRIP=STRIP, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip


def launch_classifier_gradient(
    weight: Tensor,
    features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    log_sum: Tensor,
    slope: Tensor,
    scale: float,
    margin: float,
) -> Tensor:
    """(G, D) float32 gradient of sum over n of weight[n] loss[n]; no groups, no cameras."""
    classes, dim = classifier.shape
    gradient = torch.empty((classes, dim), dtype=torch.float32, device=classifier.device)
    x, w = _dense(features), _dense(classifier)
    size = x.element_size()
    tile, chunk = _TILES[size], _CHUNK[size]
    with torch.cuda.device_of(x):
        classifier_kernel[(triton.cdiv(classes, tile["CLASSES"]), triton.cdiv(dim, chunk))](
            weight.contiguous(), x, w, _inverse_norms(x), _inverse_norms(w), labels, log_sum,
            slope, gradient, len(x), classes, dim, x.stride(0), w.stride(0), scale,
            *_margin_numbers(margin),
            MARGIN=margin != 0, **tile, CHUNK=chunk,
            num_warps=_WARPS[size], enable_fp_fusion=True,
        )  # fmt: skip
    return gradient


def _parts(classes: int, tile: int, most: int) -> tuple[int, int]:
    """Number of parts of the classes, and classes in a part (whole tiles). No part is empty."""
    tiles = triton.cdiv(classes, tile)
    each = triton.cdiv(tiles, most)
    return triton.cdiv(tiles, each), each * tile


def _dense(rows: Tensor) -> Tensor:
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _inverse_norms(rows: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)
    return torch.where(norm <= _MIN_NORM, 0.0, 1 / norm)


def _margin_numbers(margin: float) -> tuple[float, float, float, float]:
    sine, cosine = math.sin(margin), math.cos(margin)
    return cosine, sine, -cosine, margin * sine


def _types(dtype: str, names: str) -> dict[str, str]:
    """Types of parameters by their names: rows in `dtype`, labels int64, the rest by suffix."""
    labels = ("label_ptr", "group_ptr", "camera_ptr", "order_ptr", "begin_ptr", "end_ptr")
    found = {}
    for name in names.split():
        if name.endswith("_ptr"):
            rows = name in ("x_ptr", "w_ptr")
            found[name] = f"*{dtype}:16" if rows else "*i64:16" if name in labels else "*fp32:16"
        elif name in ("dim", "x_stride", "w_stride"):
            found[name] = "i32:16"
        elif name in ("count", "classes", "splits", "part"):
            found[name] = "i32"
        else:
            found[name] = "fp32"
    return found


_FIRST = "x_ptr w_ptr x_inverse_ptr w_inverse_ptr label_ptr group_ptr camera_ptr "
_NUMBERS = " count classes dim x_stride w_stride "
_RULES = {"GROUPS": True, "CAMERAS": True}
AOT_KERNELS = [
    spec
    for dtype, size in (("bf16", 2), ("fp32", 4))
    for spec in (
        KernelSpec(
            name=f"camera_adversarial_negatives_{dtype}",
            fn=negatives_kernel,
            signature=_types(dtype, _FIRST + "largest_ptr sum_ptr" + _NUMBERS + "part scale boost"),
            constexprs={**_RULES, "IGNORE": False, **_TILES[size]},
            num_warps=4,
        ),
        KernelSpec(
            name=f"camera_adversarial_positives_{dtype}",
            fn=positives_kernel,
            signature=_types(
                dtype,
                _FIRST + "order_ptr begin_ptr end_ptr largest_ptr sum_ptr loss_ptr log_sum_ptr "
                "slope_ptr along_ptr pull_ptr" + _NUMBERS + "splits scale epsilon cos_m sin_m "
                "turn drop",
            ),
            constexprs={**_RULES, "MARGIN": True, "GRADIENT": True, "STRIP": STRIP},
            num_warps=4,
        ),
        KernelSpec(
            name=f"camera_adversarial_push_{dtype}",
            fn=push_kernel,
            signature=_types(
                dtype,
                _FIRST + "log_sum_ptr slope_ptr push_ptr along_ptr" + _NUMBERS + "part scale boost",
            ),
            constexprs={**_RULES, "IGNORE": False, **_TILES[size], "CHUNK": _CHUNK[size]},
            num_warps=_WARPS[size],
        ),
        KernelSpec(
            name=f"camera_adversarial_classifier_{dtype}",
            fn=classifier_kernel,
            signature=_types(
                dtype,
                "weight_ptr x_ptr w_ptr x_inverse_ptr w_inverse_ptr label_ptr log_sum_ptr "
                "slope_ptr gradient_ptr" + _NUMBERS + "scale cos_m sin_m turn drop",
            ),
            constexprs={"MARGIN": True, **_TILES[size], "CHUNK": _CHUNK[size]},
            num_warps=_WARPS[size],
        ),
    )
]
