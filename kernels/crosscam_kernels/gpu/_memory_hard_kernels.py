"""The kernels of `memory_infonce` with hard negatives: a streamed top-k beside the log-sum-exp.

Negatives enter a list in registers by the key ``orderable(fp32) << 32 | ~row``, so that the k best
are the same in any order, ties included.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crosscam_kernels.gpu._infonce import tile_products
from crosscam_kernels.gpu._logsumexp import add_exponentials, log_sum_exp, merge_exponentials
from crosscam_kernels.gpu._memory_kernels import row_masks, smoothed_loss

_EMPTY = tl.constexpr(-(1 << 63))
_NEVER = tl.constexpr((1 << 63) - 1)
_LOW = tl.constexpr(0x7FFFFFFF)


@triton.jit
def key_of(value, row):
    """int64 that orders by value descending, then row ascending, when compared from the top."""
    bits = (value + 0.0).to(tl.int32, bitcast=True)  # minus zero ties with zero
    orderable = bits ^ ((bits >> 31) & _LOW)
    return (orderable.to(tl.int64) << 32) | (-row + _LOW).to(tl.int64)


@triton.jit
def value_of(key):
    """The float32 in a key."""
    orderable = (key >> 32).to(tl.int32)
    return (orderable ^ ((orderable >> 31) & _LOW)).to(tl.float32, bitcast=True)


@triton.jit
def select_kernel(
    features_ptr,
    bank_ptr,
    targets_ptr,
    labels_ptr,
    cameras_ptr,
    bank_cameras_ptr,
    sums_ptr,  # out (3, splits, N) fp32 over positives: maximum, sum, sum of logits
    counts_ptr,  # out (splits, N) int32 positives
    keys_ptr,  # out (N, splits, LIST) int64
    count,
    rows,
    dim,
    rows_per_split,
    scale,
    k,  # negatives wanted, at most LIST
    LABELS: tl.constexpr,  # noqa: N803
    CANDIDATES: tl.constexpr,  # noqa: N803
    POSITIVES: tl.constexpr,  # noqa: N803
    LIST: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    R: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """One range of rows: log-sum-exp of the positives, and the most similar negatives."""
    sample = tl.program_id(0) * M + tl.arange(0, M)
    split = tl.program_id(1)
    present = sample < count
    target = tl.load(targets_ptr + sample, mask=present, other=-1)
    camera = sample.to(tl.int64)
    if CANDIDATES + POSITIVES > 0:
        camera = tl.load(cameras_ptr + sample, mask=present, other=-2)
    slot = tl.arange(0, LIST).to(tl.int64)
    empty = tl.where(slot < k, slot + _EMPTY, -slot + _NEVER)  # all different; the rest is full
    keys = tl.broadcast_to(empty[None, :], (M, LIST))
    largest = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    pulled = tl.zeros((M,), tl.float32)
    positives = tl.zeros((M,), tl.int32)
    first = split * rows_per_split
    last = tl.minimum(first + rows_per_split, rows)
    for start in range(first, last, R):
        place = tl.arange(0, R)
        row = (start + place).to(tl.int64)
        inside = row < last
        positive, negative = row_masks(
            target, camera, row, inside, labels_ptr, bank_cameras_ptr, LABELS, CANDIDATES, POSITIVES
        )
        products = tile_products(
            features_ptr, bank_ptr, sample.to(tl.int64), row, present, inside, dim, M, R, BLOCK_D
        )
        logits = scale * products
        largest, total = add_exponentials(largest, total, logits, positive)
        pulled += tl.sum(tl.where(positive, logits, 0.0), axis=1)
        positives += tl.sum(positive.to(tl.int32), axis=1)
        waiting = tl.where(negative & (products == products), products, float("-inf"))
        more = k > 0
        while more:
            best = tl.max(waiting, axis=1)
            where = tl.argmax(waiting, axis=1, tie_break_left=True)
            key = key_of(best, (start + where).to(tl.int32))
            worst = tl.min(keys, axis=1)
            enters = (best > float("-inf")) & (key > worst)
            keys = tl.where((keys == worst[:, None]) & enters[:, None], key[:, None], keys)
            # Once a sample's best does not enter, none of this tile does.
            stays = enters[:, None] & (place[None, :] != where[:, None])
            waiting = tl.where(stays, waiting, float("-inf"))
            more = tl.max(enters.to(tl.int32), axis=0) > 0
    whole = tl.zeros((), tl.int64) + count
    plane = tl.num_programs(1) * whole
    at = split * whole + sample
    tl.store(sums_ptr + at, largest, mask=present)
    tl.store(sums_ptr + plane + at, total, mask=present)
    tl.store(sums_ptr + 2 * plane + at, pulled, mask=present)
    tl.store(counts_ptr + at, positives, mask=present)
    list_at = (sample.to(tl.int64) * tl.num_programs(1) + split)[:, None] * LIST + slot[None, :]
    keys = tl.where((slot < k)[None, :], keys, _EMPTY)
    tl.store(keys_ptr + list_at, keys, mask=present[:, None])


@triton.jit
def merge_hard_kernel(
    sums_ptr,
    counts_ptr,
    keys_ptr,
    loss_ptr,
    lse_ptr,
    positive_count_ptr,
    allowed_count_ptr,
    negatives_ptr,  # out (N, k) int64, best first, padded with -1
    count,
    split_count,
    k,
    scale,
    smoothing,
    LIST: tl.constexpr,  # noqa: N803
    KEYS: tl.constexpr,  # noqa: N803  # power of two of at least splits * LIST
):
    """One sample: its positives over all ranges, then its k best negatives one after the other."""
    sample = tl.program_id(0).to(tl.int64)
    whole = tl.zeros((), tl.int64) + count
    plane = split_count * whole
    largest = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    pulled = tl.zeros((), tl.float32)
    positives = tl.zeros((), tl.int64)
    for split in range(0, split_count):
        at = split * whole + sample
        largest, total = merge_exponentials(
            largest, total, tl.load(sums_ptr + at), tl.load(sums_ptr + plane + at)
        )
        pulled += tl.load(sums_ptr + 2 * plane + at)
        positives += tl.load(counts_ptr + at)
    place = tl.arange(0, KEYS)
    held = split_count * LIST
    keys = tl.load(keys_ptr + sample * held + place, mask=place < held, other=_EMPTY)
    spread = pulled
    allowed = positives
    for n in range(0, k):
        best = tl.max(keys, axis=0)
        found = (best >> 32) > -2147483648
        keys = tl.where(keys == best, _EMPTY, keys)
        logit = tl.where(found, scale * value_of(best), float("-inf"))
        row = tl.where(found & (positives > 0), -(best & 0xFFFFFFFF) + _LOW, -1)
        tl.store(negatives_ptr + sample * k + n, row)
        largest, total = merge_exponentials(largest, total, logit, tl.where(found, 1.0, 0.0))
        spread += tl.where(found, logit, 0.0)
        allowed += found.to(tl.int64)
    counted = positives > 0
    lse = log_sum_exp(largest, total)
    loss = smoothed_loss(lse, pulled, spread, positives, allowed, smoothing)
    tl.store(loss_ptr + sample, tl.where(counted, loss, 0.0))
    tl.store(lse_ptr + sample, tl.where(counted, lse, 0.0))
    tl.store(positive_count_ptr + sample, positives)
    tl.store(allowed_count_ptr + sample, tl.where(counted, allowed, 0))


@triton.jit
def row_gradient(
    features_ptr, bank_ptr, sample, row, feature, dim, scale, lse, share,
    WIDTH: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """(exp(logit - lse) - share) * row, the logit computed anew over all features."""
    product = tl.zeros((), tl.float32)
    column = tl.arange(0, WIDTH)
    for start in range(0, dim, WIDTH):
        used = start + column < dim
        x = tl.load(features_ptr + sample * dim + start + column, mask=used, other=0.0)
        y = tl.load(bank_ptr + row * dim + start + column, mask=used, other=0.0)
        product += tl.sum(x.to(tl.float32) * y.to(tl.float32), axis=0)
    y = tl.load(bank_ptr + row * dim + feature, mask=feature < dim, other=0.0)
    return (tl.exp(scale * product - lse) - share) * y.to(tl.float32)


@triton.jit
def gather_kernel(
    features_ptr,
    bank_ptr,
    targets_ptr,
    labels_ptr,
    cameras_ptr,
    bank_cameras_ptr,
    negatives_ptr,
    lse_ptr,
    pull_ptr,
    smooth_ptr,
    factor_ptr,
    gradient_ptr,  # out (N, D)
    rows,
    dim,
    k,
    scale,
    LABELS: tl.constexpr,  # noqa: N803
    CANDIDATES: tl.constexpr,  # noqa: N803
    POSITIVES: tl.constexpr,  # noqa: N803
    SCAN: tl.constexpr,  # noqa: N803
    WIDTH: tl.constexpr,  # noqa: N803
):
    """Gradient of one sample: its negatives best first, then its positives in order of rows."""
    sample = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    gradient = tl.zeros((WIDTH,), tl.float32)
    lse = tl.load(lse_ptr + sample)
    pull = tl.load(pull_ptr + sample)
    smooth = tl.load(smooth_ptr + sample)
    factor = tl.load(factor_ptr + sample)
    for n in range(0, k):
        row = tl.load(negatives_ptr + sample * k + n)
        if row >= 0:
            gradient += row_gradient(
                features_ptr, bank_ptr, sample, row, feature, dim, scale, lse, smooth, WIDTH
            )
    # A tile of one sample for the masks.
    one = tl.arange(0, 1).to(tl.int64) + sample
    target = tl.load(targets_ptr + one)
    camera = one
    if CANDIDATES + POSITIVES > 0:
        camera = tl.load(cameras_ptr + one)
    for start in range(0, rows, SCAN):
        row = (start + tl.arange(0, SCAN)).to(tl.int64)
        positive, _ = row_masks(
            target, camera, row, row < rows, labels_ptr, bank_cameras_ptr, LABELS, CANDIDATES,
            POSITIVES,
        )  # fmt: skip
        mine = tl.max(tl.where(positive, row[None, :], -1), axis=0)
        ahead = tl.min(tl.where(mine >= 0, mine, _NEVER), axis=0)
        while ahead < rows:
            gradient += row_gradient(
                features_ptr, bank_ptr, sample, ahead, feature, dim, scale, lse, smooth + pull,
                WIDTH,
            )  # fmt: skip
            ahead = tl.min(tl.where(mine > ahead, mine, _NEVER), axis=0)
    gradient = tl.where(factor == 0.0, 0.0, factor * gradient)
    tl.store(
        gradient_ptr + sample * dim + feature,
        gradient.to(gradient_ptr.dtype.element_ty),
        mask=feature < dim,
    )
