"""The camera-adversarial losses on a GPU, without logits in memory.

Forward: `negatives_kernel` reduces tiles of classes to a running maximum and sum of each sample;
`positives_kernel` merges the parts in order and visits the few positives of one sample.
Features: `push_kernel` computes the tiles anew and multiplies them with the classes, in parts of
the classes that `finish_kernel` adds in order. Classifier: `classifier_kernel` owns a tile of
classes. There are no atomics, so two runs give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosscam_kernels.aot import KernelSpec

_MIN_NORM = 1e-12
_MIN_SQUARED_SINE = tl.constexpr(1e-6)
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


@triton.jit
def _margin(c, cos_m, sin_m, turn, drop):
    """Phi of the own class and its derivative: ArcFace."""
    squared = 1.0 - c * c
    sine = tl.sqrt_rn(tl.maximum(squared, _MIN_SQUARED_SINE))
    bend = tl.where(squared > _MIN_SQUARED_SINE, cos_m + c / sine * sin_m, cos_m)
    turned = c > turn
    return tl.where(turned, c * cos_m - sine * sin_m, c - drop), tl.where(turned, bend, 1.0)


@triton.jit
def _softplus(x):
    """log(1 + exp(x)) and its derivative."""
    e = tl.exp(-tl.abs(x))
    # log1p without its cancellation: u = 1 + e rounded, corrected by what the rounding took.
    u = 1.0 + e
    value = tl.log(u) + (e - (u - 1.0)) / u + tl.maximum(x, 0.0)
    return value, tl.where(x >= 0.0, 1.0 / u, e / u)


@triton.jit
def _cosines(
    x_ptr, w_ptr, x_inverse_ptr, w_inverse_ptr, sample, g, count, classes, dim, x_stride, w_stride,
    SAMPLES: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """(SAMPLES, CLASSES) cosines in fp32, summed over D in one order; 0 outside."""
    here, there = sample < count, g < classes
    acc = tl.zeros((SAMPLES, CLASSES), tl.float32)
    for start in range(0, dim, DEPTH):
        d = start + tl.arange(0, DEPTH)
        x = tl.load(
            x_ptr + sample.to(tl.int64)[:, None] * x_stride + d[None, :],
            mask=here[:, None] & (d < dim)[None, :],
            other=0.0,
        )
        w = tl.load(
            w_ptr + g.to(tl.int64)[None, :] * w_stride + d[:, None],
            mask=(d < dim)[:, None] & there[None, :],
            other=0.0,
        )
        acc = tl.dot(x, w, acc, input_precision="ieee")
    x_inverse = tl.load(x_inverse_ptr + sample, mask=here, other=0.0)
    w_inverse = tl.load(w_inverse_ptr + g, mask=there, other=0.0)
    return acc * x_inverse[:, None] * w_inverse[None, :]


@triton.jit
def _negatives(
    c, sample, g, count, classes, label_ptr, group_ptr, camera_ptr, scale, boost,
    GROUPS: tl.constexpr, CAMERAS: tl.constexpr, IGNORE: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Logits, which of them are negatives, and d logit / d cosine without the scale."""
    own = tl.load(label_ptr + sample, mask=sample < count, other=-1)
    known = (own >= 0) & (own < classes)
    mine = own[:, None] == g[None, :]
    same = tl.zeros_like(mine)
    bend = tl.full(c.shape, 1.0, tl.float32)
    together = mine
    if CAMERAS:
        place = tl.load(camera_ptr + own, mask=known, other=-1)
        other = tl.load(camera_ptr + g, mask=g < classes, other=-2)
        same = place[:, None] == other[None, :]
        bend = tl.where(same, 1.0 + boost, 1.0)
        c = tl.where(same, (1.0 + boost) * c + boost, c)
    if GROUPS:
        person = tl.load(group_ptr + own, mask=known, other=-1)
        known = known & (person >= 0)
        people = tl.load(group_ptr + g, mask=g < classes, other=-2)
        together = person[:, None] == people[None, :]
    outside = ~(mine | together)
    negative = outside if IGNORE else outside | (same & ~mine)
    negative = negative & known[:, None] & (g < classes)[None, :]
    return c * scale, negative, bend


@triton.jit
def negatives_kernel(
    x_ptr, w_ptr, x_inverse_ptr, w_inverse_ptr, label_ptr, group_ptr, camera_ptr,
    largest_ptr, sum_ptr,  # out (splits, N)
    count, classes, dim, x_stride, w_stride, part, scale, boost,
    GROUPS: tl.constexpr, CAMERAS: tl.constexpr, IGNORE: tl.constexpr,  # noqa: N803
    SAMPLES: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Largest logit and sum of exponentials over one part of the classes."""
    sample = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    first = tl.program_id(1) * part
    largest = tl.full((SAMPLES,), float("-inf"), tl.float32)
    total = tl.zeros((SAMPLES,), tl.float32)
    for start in range(first, tl.minimum(first + part, classes), CLASSES):
        g = start + tl.arange(0, CLASSES)
        c = _cosines(
            x_ptr, w_ptr, x_inverse_ptr, w_inverse_ptr, sample, g, count, classes, dim,
            x_stride, w_stride, SAMPLES, CLASSES, DEPTH,
        )  # fmt: skip
        logit, negative, _ = _negatives(
            c, sample, g, count, classes, label_ptr, group_ptr, camera_ptr, scale, boost,
            GROUPS, CAMERAS, IGNORE,
        )  # fmt: skip
        top = tl.maximum(largest, tl.max(tl.where(negative, logit, float("-inf")), axis=1))
        safe = tl.where(top == float("-inf"), 0.0, top)
        e = tl.where(negative, tl.exp(logit - safe[:, None]), 0.0)
        total = total * tl.exp(largest - safe) + tl.sum(e, axis=1)
        largest = top
    at = tl.program_id(1).to(tl.int64) * count + sample
    tl.store(largest_ptr + at, largest, mask=sample < count)
    tl.store(sum_ptr + at, total, mask=sample < count)


@triton.jit
def _dot_row(x_ptr, w_ptr, dim, STRIP: tl.constexpr):  # noqa: N803
    total = tl.zeros((STRIP,), tl.float32)
    for start in range(0, dim, STRIP):
        d = start + tl.arange(0, STRIP)
        x = tl.load(x_ptr + d, mask=d < dim, other=0.0).to(tl.float32)
        total += x * tl.load(w_ptr + d, mask=d < dim, other=0.0).to(tl.float32)
    return tl.sum(total, axis=0)


@triton.jit
def positives_kernel(
    x_ptr, w_ptr, x_inverse_ptr, w_inverse_ptr, label_ptr, group_ptr, camera_ptr,
    order_ptr,  # (G,) classes sorted by group, stable
    begin_ptr, end_ptr,  # (N,) the sample's group in that order
    largest_ptr, sum_ptr,
    loss_ptr, log_sum_ptr, slope_ptr,  # out (N,)
    along_ptr,  # out (N,) sum over the positives of d loss / d cosine times the cosine
    pull_ptr,  # in zeros, out (N, D) the positives' part of the gradient, before the norm
    count, classes, dim, x_stride, w_stride, splits, scale, epsilon, cos_m, sin_m, turn, drop,
    GROUPS: tl.constexpr, CAMERAS: tl.constexpr, MARGIN: tl.constexpr,  # noqa: N803
    GRADIENT: tl.constexpr, STRIP: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """One sample: merges the parts of its negatives, then its positives one by one."""
    n = tl.program_id(0).to(tl.int64)
    largest = tl.load(largest_ptr + n)
    total = tl.load(sum_ptr + n)
    for split in range(1, splits):
        other = tl.load(largest_ptr + split * count + n)
        top = tl.maximum(largest, other)
        safe = tl.where(top == float("-inf"), 0.0, top)
        total = total * tl.exp(largest - safe)
        total += tl.load(sum_ptr + split * count + n) * tl.exp(other - safe)
        largest = top
    log_sum = largest + tl.log(total)
    own = tl.load(label_ptr + n)
    known = (own >= 0) & (own < classes)
    place = own
    if CAMERAS:
        place = tl.load(camera_ptr + own, mask=known, other=-1)
    if GROUPS:
        known = known & (tl.load(group_ptr + own, mask=known, other=-1) >= 0)
    begin, end = tl.load(begin_ptr + n), tl.load(end_ptr + n)
    end = tl.where(known, end, begin)
    positives = 0.0
    for k in range(begin, end):
        g = tl.load(order_ptr + k)
        positive = True
        if CAMERAS:
            positive = (g == own) | (tl.load(camera_ptr + g) != place)
        positives += tl.where(positive, 1.0, 0.0)
    share = epsilon / tl.maximum(positives, 1.0)
    x_inverse = tl.load(x_inverse_ptr + n)
    x_ptr += n * x_stride
    pull_ptr += n * dim
    loss, slope, along = 0.0, 0.0, 0.0
    for k in range(begin, end):
        g = tl.load(order_ptr + k)
        positive = True
        if CAMERAS:
            positive = (g == own) | (tl.load(camera_ptr + g) != place)
        row = w_ptr + g * w_stride
        w_inverse = tl.load(w_inverse_ptr + g)
        c = _dot_row(x_ptr, row, dim, STRIP) * x_inverse * w_inverse
        phi, bend = c, 1.0
        if MARGIN:
            bent, slant = _margin(c, cos_m, sin_m, turn, drop)
            phi = tl.where(g == own, bent, c)
            bend = tl.where(g == own, slant, 1.0)
        q = share + tl.where(g == own, 1.0 - epsilon, 0.0)
        q = tl.where(positive, q, 0.0)
        value, sigma = _softplus(log_sum - scale * phi)
        loss += tl.where(positive, q * value, 0.0)
        slope += tl.where(positive, q * sigma, 0.0)
        steep = tl.where(positive, -q * sigma * scale * bend, 0.0)
        along += tl.where(positive, steep * c, 0.0)
        if GRADIENT:
            factor = steep * w_inverse
            for start in range(0, dim, STRIP):
                d = start + tl.arange(0, STRIP)
                w = tl.load(row + d, mask=d < dim, other=0.0).to(tl.float32)
                sum_now = tl.load(pull_ptr + d, mask=d < dim, other=0.0)
                tl.store(pull_ptr + d, sum_now + factor * w, mask=d < dim)
            tl.debug_barrier()  # the next positive adds to what was stored here
    tl.store(loss_ptr + n, loss)
    tl.store(log_sum_ptr + n, log_sum)
    tl.store(slope_ptr + n, slope)
    tl.store(along_ptr + n, along)


@triton.jit
def push_kernel(
    x_ptr, w_ptr, x_inverse_ptr, w_inverse_ptr, label_ptr, group_ptr, camera_ptr,
    log_sum_ptr, slope_ptr,
    push_ptr,  # out (splits, N, D)
    along_ptr,  # out (splits, N)
    count, classes, dim, x_stride, w_stride, part, scale, boost,
    GROUPS: tl.constexpr, CAMERAS: tl.constexpr, IGNORE: tl.constexpr,  # noqa: N803
    SAMPLES: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Sum over one part of the negatives of d loss / d cosine times the unit class, one chunk."""
    sample = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    column = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    first = tl.program_id(2) * part
    log_sum = tl.load(log_sum_ptr + sample, mask=sample < count, other=0.0)
    slope = tl.load(slope_ptr + sample, mask=sample < count, other=0.0)
    acc = tl.zeros((SAMPLES, CHUNK), tl.float32)
    along = tl.zeros((SAMPLES,), tl.float32)
    for start in range(first, tl.minimum(first + part, classes), CLASSES):
        g = start + tl.arange(0, CLASSES)
        c = _cosines(
            x_ptr, w_ptr, x_inverse_ptr, w_inverse_ptr, sample, g, count, classes, dim,
            x_stride, w_stride, SAMPLES, CLASSES, DEPTH,
        )  # fmt: skip
        logit, negative, bend = _negatives(
            c, sample, g, count, classes, label_ptr, group_ptr, camera_ptr, scale, boost,
            GROUPS, CAMERAS, IGNORE,
        )  # fmt: skip
        p = tl.exp(tl.where(negative, logit - log_sum[:, None], 0.0))
        steep = tl.where(negative, p * slope[:, None] * scale * bend, 0.0)
        along += tl.sum(steep * c, axis=1)
        steep *= tl.load(w_inverse_ptr + g, mask=g < classes, other=0.0)[None, :]
        w = tl.load(
            w_ptr + g.to(tl.int64)[:, None] * w_stride + column[None, :],
            mask=(g < classes)[:, None] & (column < dim)[None, :],
            other=0.0,
        )
        acc = tl.dot(steep.to(w.dtype), w, acc, input_precision="ieee")
    at = tl.program_id(2).to(tl.int64) * count + sample
    here = sample < count
    keep = here[:, None] & (column < dim)[None, :]
    tl.store(push_ptr + at[:, None] * dim + column[None, :], acc, mask=keep)
    tl.store(along_ptr + at, along, mask=here & (tl.program_id(1) == 0))


@triton.jit
def finish_kernel(
    x_ptr, x_inverse_ptr, push_ptr, push_along_ptr, pull_along_ptr,
    gradient_ptr,  # in the positives' part, out the gradient (N, D)
    count, dim, x_stride, splits,
    STRIP: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """One sample: adds the parts in order and goes through the norm of the feature."""
    n = tl.program_id(0).to(tl.int64)
    along = tl.load(pull_along_ptr + n)
    for split in range(0, splits):
        along += tl.load(push_along_ptr + split * count + n)
    inverse = tl.load(x_inverse_ptr + n)
    for start in range(0, dim, STRIP):
        d = start + tl.arange(0, STRIP)
        total = tl.load(gradient_ptr + n * dim + d, mask=d < dim, other=0.0)
        for split in range(0, splits):
            at = (split * count + n) * dim
            total += tl.load(push_ptr + at + d, mask=d < dim, other=0.0)
        x = tl.load(x_ptr + n * x_stride + d, mask=d < dim, other=0.0).to(tl.float32)
        tl.store(gradient_ptr + n * dim + d, inverse * (total - along * inverse * x), mask=d < dim)


@triton.jit
def classifier_kernel(
    weight_ptr,  # (N,) what each loss counts
    x_ptr, w_ptr, x_inverse_ptr, w_inverse_ptr, label_ptr, log_sum_ptr, slope_ptr,
    gradient_ptr,  # out (G, D)
    count, classes, dim, x_stride, w_stride, scale, cos_m, sin_m, turn, drop,
    MARGIN: tl.constexpr,  # noqa: N803
    SAMPLES: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Gradient of a tile of classes, one chunk of features: all samples in order."""
    g = tl.program_id(0) * CLASSES + tl.arange(0, CLASSES)
    column = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    acc = tl.zeros((CLASSES, CHUNK), tl.float32)
    along = tl.zeros((CLASSES,), tl.float32)
    for start in range(0, count, SAMPLES):
        sample = start + tl.arange(0, SAMPLES)
        here = sample < count
        c = _cosines(
            w_ptr, x_ptr, w_inverse_ptr, x_inverse_ptr, g, sample, classes, count, dim,
            w_stride, x_stride, CLASSES, SAMPLES, DEPTH,
        )  # fmt: skip
        own = tl.load(label_ptr + sample, mask=here, other=-1)
        known = (own >= 0) & (own < classes)
        mine = g[:, None] == own[None, :]
        bend = tl.full((CLASSES, SAMPLES), 1.0, tl.float32)
        if MARGIN:
            _, bend = _margin(c, cos_m, sin_m, turn, drop)
        log_sum = tl.load(log_sum_ptr + sample, mask=here, other=0.0)
        rate = tl.load(slope_ptr + sample, mask=here, other=0.0) * scale
        rate *= tl.load(weight_ptr + sample, mask=here, other=0.0)
        outside = known[None, :] & ~mine & (g < classes)[:, None]
        p = tl.exp(tl.where(outside, c * scale - log_sum[None, :], 0.0))
        steep = tl.where(outside, p, tl.where(mine, -bend, 0.0)) * rate[None, :]
        along += tl.sum(steep * c, axis=1)
        steep *= tl.load(x_inverse_ptr + sample, mask=here, other=0.0)[None, :]
        x = tl.load(
            x_ptr + sample.to(tl.int64)[:, None] * x_stride + column[None, :],
            mask=here[:, None] & (column < dim)[None, :],
            other=0.0,
        )
        acc = tl.dot(steep.to(x.dtype), x, acc, input_precision="ieee")
    keep = (g < classes)[:, None] & (column < dim)[None, :]
    inverse = tl.load(w_inverse_ptr + g, mask=g < classes, other=0.0)
    w = tl.load(
        w_ptr + g.to(tl.int64)[:, None] * w_stride + column[None, :], mask=keep, other=0.0
    ).to(tl.float32)
    out = inverse[:, None] * (acc - (along * inverse)[:, None] * w)
    tl.store(gradient_ptr + g.to(tl.int64)[:, None] * dim + column[None, :], out, mask=keep)


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
