"""The kernels of `instance_infonce`.

A tile holds the slots of several classes (or a part of the slots of one). Their products with a
tile of samples are reduced over the slots to one logit per class, which enters the running
log-sum-exp. The backward pass computes the choice anew, slab after slab of classes, and gathers the
chosen rows only.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crosscam_kernels.gpu._infonce import tile_products
from crosscam_kernels.gpu._logsumexp import add_exponentials, log_sum_exp, merge_exponentials


@triton.jit
def class_logits(
    features_ptr,
    bank_ptr,
    filled_ptr,
    sample,  # (M,) int64
    present,
    target,  # (M,) int64
    class_,  # (C,) int64
    known,  # (C,) bool
    classes,
    slots,
    dim,
    first_class,
    scale,
    M: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803
    S: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """(M, C): logit of the hardest instance, its slot (-1: none), and whether the class is own."""
    own = target[:, None] == class_[None, :]
    hardest = tl.full((M, C), float("-inf"), tl.float32)
    chosen = tl.full((M, C), -1, tl.int32)
    column = tl.arange(0, C * S)
    for start in range(0, slots, S):
        class_of = first_class + column // S
        slot = start + column % S
        row = class_of.to(tl.int64) * slots + slot
        inside = (class_of < classes) & (slot < slots)
        held = inside & (tl.load(filled_ptr + row, mask=inside, other=0) != 0)
        products = tile_products(
            features_ptr, bank_ptr, sample, row, present, held, dim, M, C * S, BLOCK_D
        )
        mine = target[:, None] == class_of[None, :]
        ranked = tl.where(mine, -products, products)
        ranked = tl.where(held[None, :] & (ranked == ranked), ranked, float("-inf"))
        ranked = tl.reshape(ranked, (M, C, S))
        best = tl.max(ranked, axis=2)
        where = tl.argmax(ranked, axis=2, tie_break_left=True)
        harder = best > hardest
        hardest = tl.where(harder, best, hardest)
        chosen = tl.where(harder, start + where, chosen)
    logits = scale * tl.where(own, -hardest, hardest)
    # An own class that holds nothing comparable is a broken sample: its loss is NaN, not nothing.
    logits = tl.where(own & (chosen < 0), float("nan"), logits)
    return logits, chosen, own & known[None, :]


@triton.jit
def class_masks(
    targets_ptr, cameras_ptr, class_cameras_ptr, stored_ptr, sample, present, class_, inside,
    CAMERAS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Target of each sample, which classes hold anything, and (M, C) candidates."""
    target = tl.load(targets_ptr + sample, mask=present, other=-1)
    known = inside & (tl.load(stored_ptr + class_, mask=inside, other=0) != 0)
    candidate = (target >= 0)[:, None] & known[None, :]
    if CAMERAS:
        camera = tl.load(cameras_ptr + sample, mask=present, other=-1)
        other = tl.load(class_cameras_ptr + class_, mask=inside, other=-2)
        candidate = candidate & (camera[:, None] == other[None, :])
    return target, known, candidate


@triton.jit
def lse_kernel(
    features_ptr,  # (N, D)
    bank_ptr,  # (C, S, D)
    filled_ptr,  # (C, S) int8
    stored_ptr,  # (C,) int8: any slot filled
    targets_ptr,
    class_cameras_ptr,
    cameras_ptr,
    sums_ptr,  # out (4, splits, N) fp32: maximum, sum, logit of the own class, whether counted
    count,
    classes,
    slots,
    dim,
    classes_per_split,
    scale,
    CAMERAS: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803
    S: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """Partial log-sum-exp of a tile of samples over one range of classes."""
    sample = (tl.program_id(0) * M + tl.arange(0, M)).to(tl.int64)
    split = tl.program_id(1)
    present = sample < count
    largest = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    pulled = tl.zeros((M,), tl.float32)
    counted = tl.zeros((M,), tl.float32)
    first = split * classes_per_split
    last = tl.minimum(first + classes_per_split, classes)
    for start in range(first, last, C):
        class_ = (start + tl.arange(0, C)).to(tl.int64)
        target, known, candidate = class_masks(
            targets_ptr, cameras_ptr, class_cameras_ptr, stored_ptr, sample, present, class_,
            class_ < last, CAMERAS,
        )  # fmt: skip
        live = tl.max(tl.max(candidate.to(tl.int32), axis=1), axis=0) > 0
        if live:
            logits, chosen, own = class_logits(
                features_ptr, bank_ptr, filled_ptr, sample, present, target, class_, known,
                classes, slots, dim, start, scale, M, C, S, BLOCK_D,
            )  # fmt: skip
            own = own & candidate
            allowed = candidate & ((chosen >= 0) | own)
            largest, total = add_exponentials(largest, total, logits, allowed)
            pulled += tl.sum(tl.where(own, logits, 0.0), axis=1)
            counted += tl.sum(own.to(tl.float32), axis=1)
    whole = tl.zeros((), tl.int64) + count
    plane = tl.num_programs(1) * whole
    at = split * whole + sample
    tl.store(sums_ptr + at, largest, mask=present)
    tl.store(sums_ptr + plane + at, total, mask=present)
    tl.store(sums_ptr + 2 * plane + at, pulled, mask=present)
    tl.store(sums_ptr + 3 * plane + at, counted, mask=present)


@triton.jit
def merge_kernel(
    sums_ptr,
    loss_ptr,  # out (N,) fp32
    lse_ptr,  # out (N,) fp32
    counted_ptr,  # out (N,) int8
    count,
    split_count,
    M: tl.constexpr,  # noqa: N803
):
    """Merges the ranges in ascending order and makes losses of them."""
    sample = tl.program_id(0) * M + tl.arange(0, M)
    present = sample < count
    largest = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    pulled = tl.zeros((M,), tl.float32)
    counted = tl.zeros((M,), tl.float32)
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
        counted += tl.load(sums_ptr + 3 * plane + at, mask=present, other=0.0)
    lse = log_sum_exp(largest, total)
    tl.store(loss_ptr + sample, tl.where(counted > 0.0, lse - pulled, 0.0), mask=present)
    tl.store(lse_ptr + sample, tl.where(counted > 0.0, lse, 0.0), mask=present)
    tl.store(counted_ptr + sample, (counted > 0.0).to(tl.int8), mask=present)


@triton.jit
def weights_kernel(
    features_ptr,
    bank_ptr,
    filled_ptr,
    stored_ptr,
    targets_ptr,  # (N,) negative also where a sample has no loss
    class_cameras_ptr,
    cameras_ptr,
    lse_ptr,
    weights_ptr,  # out (N, slab) fp32
    chosen_ptr,  # out (N, slab) int32
    count,
    classes,
    slots,
    dim,
    first,
    slab,
    scale,
    CAMERAS: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803
    S: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """Weight of each class of a slab in each gradient, and the slot that it belongs to."""
    sample = (tl.program_id(0) * M + tl.arange(0, M)).to(tl.int64)
    place = tl.program_id(1) * C + tl.arange(0, C)
    present = sample < count
    start = tl.program_id(1) * C + first
    class_ = (start + tl.arange(0, C)).to(tl.int64)
    target, known, candidate = class_masks(
        targets_ptr, cameras_ptr, class_cameras_ptr, stored_ptr, sample, present, class_,
        (class_ < classes) & (place < slab), CAMERAS,
    )  # fmt: skip
    weights = tl.zeros((M, C), tl.float32)
    chosen = tl.full((M, C), -1, tl.int32)
    live = tl.max(tl.max(candidate.to(tl.int32), axis=1), axis=0) > 0
    if live:
        logits, chosen, own = class_logits(
            features_ptr, bank_ptr, filled_ptr, sample, present, target, class_, known,
            classes, slots, dim, start, scale, M, C, S, BLOCK_D,
        )  # fmt: skip
        own = own & candidate
        allowed = candidate & ((chosen >= 0) | own)
        lse = tl.load(lse_ptr + sample, mask=present, other=0.0)
        weights = tl.exp(logits - lse[:, None]) - own.to(tl.float32)
        weights = tl.where(allowed, weights, 0.0)
    at = sample[:, None] * slab + place[None, :]
    inside = present[:, None] & (place < slab)[None, :]
    tl.store(weights_ptr + at, weights, mask=inside)
    tl.store(chosen_ptr + at, tl.maximum(chosen, 0), mask=inside)


@triton.jit
def gather_kernel(
    weights_ptr,
    chosen_ptr,
    bank_ptr,
    factor_ptr,  # (N,) fp32
    sums_ptr,  # in and out (N, D) fp32
    gradient_ptr,  # out (N, D)
    classes,
    slots,
    dim,
    first,
    slab,
    FRESH: tl.constexpr,  # noqa: N803
    LAST: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803
    F: tl.constexpr,  # noqa: N803
):
    """Sums += weight * chosen instance, the classes of the slab in ascending order."""
    sample = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * F + tl.arange(0, F)
    used = feature < dim
    sums = tl.zeros((F,), tl.float32)
    if not FRESH:
        sums = tl.load(sums_ptr + sample * dim + feature, mask=used, other=0.0)
    for start in range(0, tl.minimum(slab, classes - first), C):
        place = start + tl.arange(0, C)
        inside = (place < slab) & (first + place < classes)
        weight = tl.load(weights_ptr + sample * slab + place, mask=inside, other=0.0)
        slot = tl.load(chosen_ptr + sample * slab + place, mask=inside, other=0)
        row = (first + place).to(tl.int64) * slots + slot
        taking = weight != 0.0
        rows = tl.load(
            bank_ptr + row[:, None] * dim + feature[None, :],
            mask=taking[:, None] & used[None, :],
            other=0.0,
        )
        sums += tl.sum(weight[:, None] * rows.to(tl.float32), axis=0)
    if LAST:
        factor = tl.load(factor_ptr + sample)
        sums = tl.where(factor == 0.0, 0.0, factor * sums)
        tl.store(
            gradient_ptr + sample * dim + feature,
            sums.to(gradient_ptr.dtype.element_ty),
            mask=used,
        )
    else:
        tl.store(sums_ptr + sample * dim + feature, sums, mask=used)
