"""The kernels of the camera-adversarial losses.

Forward: `negatives_kernel` reduces tiles of classes to a running maximum and sum of each sample;
`positives_kernel` merges the parts in order and visits the few positives of one sample.
Features: `push_kernel` computes the tiles anew and multiplies them with the classes, in parts of
the classes that `finish_kernel` adds in order. Classifier: `classifier_kernel` owns a tile of
classes. There are no atomics, so two runs give the same bits.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crosscam_kernels.gpu._logsumexp import add_exponentials, log_sum_exp, merge_exponentials

_MIN_SQUARED_SINE = tl.constexpr(1e-6)


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
        largest, total = add_exponentials(largest, total, logit, negative)
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
        at = split * count + n
        largest, total = merge_exponentials(
            largest, total, tl.load(largest_ptr + at), tl.load(sum_ptr + at)
        )
    log_sum = log_sum_exp(largest, total)
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
