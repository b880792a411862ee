"""The kernels of `memory_infonce` over all rows of the bank.

Forward: programs of `lse_kernel` over (range of rows, tile of samples) write partial sums, and
`merge_kernel` merges them in order. Backward: slab after slab of rows, `weights_kernel` computes
the weight of each row in each gradient (the softmax anew) and `apply_kernel` multiplies the weights
with the rows; `finish_kernel` adds the parts.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crosscam_kernels.gpu._infonce import camera_allows, tile_products
from crosscam_kernels.gpu._logsumexp import add_exponentials, log_sum_exp, merge_exponentials

_ONLY_SAME = tl.constexpr(1)


@triton.jit
def row_masks(
    target,  # (M,) int64; negative: no part
    camera,  # (M,) int64
    row,  # (R,) int64
    inside,  # (R,) bool
    labels_ptr,
    bank_cameras_ptr,
    LABELS: tl.constexpr,  # noqa: N803
    CANDIDATES: tl.constexpr,  # noqa: N803
    POSITIVES: tl.constexpr,  # noqa: N803
):
    """(M, R) bool: positives and negatives."""
    if LABELS:
        label = tl.load(labels_ptr + row, mask=inside, other=-1)
    else:
        label = tl.where(inside, row, -1)
    candidate = (target >= 0)[:, None] & (label >= 0)[None, :]
    own_label = target[:, None] == label[None, :]
    own = candidate & own_label
    if CANDIDATES + POSITIVES > 0:
        other = tl.load(bank_cameras_ptr + row, mask=inside, other=-1)
        candidate = candidate & camera_allows(camera, other, CANDIDATES)
        own = own & camera_allows(camera, other, CANDIDATES)
        own = own & camera_allows(camera, other, POSITIVES)
    return own, candidate & (own_label == 0)


@triton.jit
def smoothed_loss(lse, pulled, spread, positives, allowed, smoothing):
    """Loss of a sample: of its log-sum-exp, and the sums of its positive and of all its logits."""
    loss = lse - (1.0 - smoothing) * pulled / tl.maximum(positives, 1).to(tl.float32)
    if smoothing > 0.0:
        loss -= smoothing * spread / tl.maximum(allowed, 1).to(tl.float32)
    return loss


@triton.jit
def lse_kernel(
    features_ptr,  # (N, D)
    bank_ptr,  # (K, D)
    targets_ptr,
    labels_ptr,
    cameras_ptr,
    bank_cameras_ptr,
    sums_ptr,  # out (4, splits, N) fp32: maximum, sum, sum over positives, sum over allowed
    counts_ptr,  # out (2, splits, N) int32: positives, allowed
    count,  # N
    rows,  # K
    dim,  # D
    rows_per_split,
    scale,  # 1 / temperature
    LABELS: tl.constexpr,  # noqa: N803
    CANDIDATES: tl.constexpr,  # noqa: N803
    POSITIVES: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    R: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """Partial log-sum-exp of a tile of samples over one range of rows."""
    # Neighbouring programs share a range of rows, which they then find in the L2 cache.
    sample = tl.program_id(0) * M + tl.arange(0, M)
    split = tl.program_id(1)
    present = sample < count
    target = tl.load(targets_ptr + sample, mask=present, other=-1)
    camera = sample.to(tl.int64)
    if CANDIDATES + POSITIVES > 0:
        camera = tl.load(cameras_ptr + sample, mask=present, other=-2)
    largest = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    pulled = tl.zeros((M,), tl.float32)
    spread = tl.zeros((M,), tl.float32)
    positives = tl.zeros((M,), tl.int32)
    allowed_rows = tl.zeros((M,), tl.int32)
    first = split * rows_per_split
    last = tl.minimum(first + rows_per_split, rows)
    for start in range(first, last, R):
        row = (start + tl.arange(0, R)).to(tl.int64)
        inside = row < last
        positive, negative = row_masks(
            target, camera, row, inside, labels_ptr, bank_cameras_ptr, LABELS, CANDIDATES, POSITIVES
        )
        allowed = positive | negative
        live = True
        if CANDIDATES == _ONLY_SAME:
            live = tl.max(tl.max(allowed.to(tl.int32), axis=1), axis=0) > 0
        if live:
            logits = scale * tile_products(
                features_ptr, bank_ptr, sample.to(tl.int64), row, present, inside, dim, M, R,
                BLOCK_D,
            )  # fmt: skip
            largest, total = add_exponentials(largest, total, logits, allowed)
            pulled += tl.sum(tl.where(positive, logits, 0.0), axis=1)
            spread += tl.sum(tl.where(allowed, logits, 0.0), axis=1)
            positives += tl.sum(positive.to(tl.int32), axis=1)
            allowed_rows += tl.sum(allowed.to(tl.int32), axis=1)
    whole = tl.zeros((), tl.int64) + count
    plane = tl.num_programs(1) * whole
    at = split * whole + sample
    tl.store(sums_ptr + at, largest, mask=present)
    tl.store(sums_ptr + plane + at, total, mask=present)
    tl.store(sums_ptr + 2 * plane + at, pulled, mask=present)
    tl.store(sums_ptr + 3 * plane + at, spread, mask=present)
    tl.store(counts_ptr + at, positives, mask=present)
    tl.store(counts_ptr + plane + at, allowed_rows, mask=present)


@triton.jit
def merge_kernel(
    sums_ptr,
    counts_ptr,
    loss_ptr,  # out (N,) fp32
    lse_ptr,  # out (N,) fp32
    positive_count_ptr,  # out (N,) int64
    allowed_count_ptr,  # out (N,) int64
    count,
    split_count,
    smoothing,  # fp32
    M: tl.constexpr,  # noqa: N803
):
    """Merges the ranges in ascending order and makes losses of them."""
    sample = tl.program_id(0) * M + tl.arange(0, M)
    present = sample < count
    largest = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    pulled = tl.zeros((M,), tl.float32)
    spread = tl.zeros((M,), tl.float32)
    positives = tl.zeros((M,), tl.int64)
    allowed = tl.zeros((M,), tl.int64)
    whole = tl.zeros((), tl.int64) + count
    plane = split_count * whole
    for split in range(0, split_count):
        at = split * whole + sample
        largest, total = merge_exponentials(
            largest,
            total,
            tl.load(sums_ptr + at, mask=present, other=0.0),
            tl.load(sums_ptr + plane + at, mask=present, other=0.0),
        )
        pulled += tl.load(sums_ptr + 2 * plane + at, mask=present, other=0.0)
        spread += tl.load(sums_ptr + 3 * plane + at, mask=present, other=0.0)
        positives += tl.load(counts_ptr + at, mask=present, other=0)
        allowed += tl.load(counts_ptr + plane + at, mask=present, other=0)
    counted = positives > 0
    lse = log_sum_exp(largest, total)
    loss = smoothed_loss(lse, pulled, spread, positives, allowed, smoothing)
    tl.store(loss_ptr + sample, tl.where(counted, loss, 0.0), mask=present)
    tl.store(lse_ptr + sample, tl.where(counted, lse, 0.0), mask=present)
    tl.store(positive_count_ptr + sample, positives, mask=present)
    tl.store(allowed_count_ptr + sample, tl.where(counted, allowed, 0), mask=present)


@triton.jit
def weights_kernel(
    features_ptr,
    bank_ptr,
    targets_ptr,  # (N,) negative also where a sample has no loss
    labels_ptr,
    cameras_ptr,
    bank_cameras_ptr,
    lse_ptr,
    pull_ptr,  # (N,) fp32 share of each positive
    smooth_ptr,  # (N,) fp32 share of each allowed row
    weights_ptr,  # out (N, slab) of the type of the bank
    count,
    rows,
    dim,
    first,  # row where the slab begins
    slab,
    scale,
    weight_scale,
    LABELS: tl.constexpr,  # noqa: N803
    CANDIDATES: tl.constexpr,  # noqa: N803
    POSITIVES: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    R: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """D loss / d logit of a tile: probability minus the shares of the target."""
    sample = tl.program_id(0) * M + tl.arange(0, M)
    place = tl.program_id(1) * R + tl.arange(0, R)
    present = sample < count
    row = tl.zeros((), tl.int64) + first + place
    inside = (place < slab) & (row < rows)
    target = tl.load(targets_ptr + sample, mask=present, other=-1)
    camera = sample.to(tl.int64)
    if CANDIDATES + POSITIVES > 0:
        camera = tl.load(cameras_ptr + sample, mask=present, other=-2)
    positive, negative = row_masks(
        target, camera, row, inside, labels_ptr, bank_cameras_ptr, LABELS, CANDIDATES, POSITIVES
    )
    allowed = positive | negative
    weights = tl.zeros((M, R), tl.float32)
    live = True
    if CANDIDATES == _ONLY_SAME:
        live = tl.max(tl.max(allowed.to(tl.int32), axis=1), axis=0) > 0
    if live:
        logits = scale * tile_products(
            features_ptr, bank_ptr, sample.to(tl.int64), row, present, inside, dim, M, R, BLOCK_D
        )
        lse = tl.load(lse_ptr + sample, mask=present, other=0.0)
        pull = tl.load(pull_ptr + sample, mask=present, other=0.0)
        smooth = tl.load(smooth_ptr + sample, mask=present, other=0.0)
        weights = tl.exp(logits - lse[:, None]) - smooth[:, None]
        weights -= tl.where(positive, pull[:, None], 0.0)
        weights = tl.where(allowed, weights * weight_scale, 0.0)
    tl.store(
        weights_ptr + sample.to(tl.int64)[:, None] * slab + place[None, :],
        weights.to(weights_ptr.dtype.element_ty),
        mask=present[:, None] & (place < slab)[None, :],
    )


@triton.jit
def apply_kernel(
    weights_ptr,  # (N, slab)
    bank_ptr,
    sums_ptr,  # in and out (splits, N, D) fp32
    count,
    rows,
    dim,
    first,
    slab,
    rows_per_split,
    FRESH: tl.constexpr,  # noqa: N803
    SKIP: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    R: tl.constexpr,  # noqa: N803
    F: tl.constexpr,  # noqa: N803
):
    """Sums += weights^T rows for a tile of samples and features, rows in ascending order."""
    sample = tl.program_id(0) * M + tl.arange(0, M)
    feature = tl.program_id(1) * F + tl.arange(0, F)
    split = tl.program_id(2)
    present, used = sample < count, feature < dim
    whole = tl.zeros((), tl.int64) + count
    at = (split * whole + sample)[:, None] * dim + feature[None, :]
    inside = present[:, None] & used[None, :]
    sums = tl.zeros((M, F), tl.float32)
    if not FRESH:
        sums = tl.load(sums_ptr + at, mask=inside, other=0.0)
    last = tl.minimum((split + 1) * rows_per_split, slab)
    for start in range(split * rows_per_split, last, R):
        place = start + tl.arange(0, R)
        row = tl.zeros((), tl.int64) + first + place
        held = (place < last) & (row < rows)
        weights = tl.load(
            weights_ptr + sample.to(tl.int64)[:, None] * slab + place[None, :],
            mask=present[:, None] & held[None, :],
            other=0.0,
        )
        live = True
        if SKIP:
            live = tl.max(tl.max((weights != 0.0).to(tl.int32), axis=1), axis=0) > 0
        if live:
            y = tl.load(
                bank_ptr + row[:, None] * dim + feature[None, :],
                mask=held[:, None] & used[None, :],
                other=0.0,
            )
            # A sample that a broken row belongs to has a weight of NaN; the others have zero.
            y = tl.where(tl.abs(y) < float("inf"), y, 0.0).to(y.dtype)
            sums = tl.dot(weights, y, sums, input_precision="ieee")
    tl.store(sums_ptr + at, sums, mask=inside)


@triton.jit
def finish_kernel(
    sums_ptr,  # (splits, N, D) fp32
    factor_ptr,  # (N,) fp32
    gradient_ptr,  # out (N, D)
    count,
    dim,
    split_count,
    F: tl.constexpr,  # noqa: N803
):
    """Gradient = factor * (sum over the splits, in ascending order)."""
    sample = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * F + tl.arange(0, F)
    used = feature < dim
    total = tl.zeros((F,), tl.float32)
    whole = tl.zeros((), tl.int64) + count
    for split in range(0, split_count):
        at = (split * whole + sample) * dim + feature
        total += tl.load(sums_ptr + at, mask=used, other=0.0)
    factor = tl.load(factor_ptr + sample)
    gradient = tl.where(factor == 0.0, 0.0, factor * total)
    tl.store(
        gradient_ptr + sample * dim + feature,
        gradient.to(gradient_ptr.dtype.element_ty),
        mask=used,
    )
