"""The Triton kernels of `batch_hard` and `triplet_loss`; `triplet.py` beside it launches them."""
# ruff: noqa: N803  # Triton's spelling of constants

from __future__ import annotations

import triton
import triton.language as tl

# A key is `bits(value) << 32 | tie`: values are at least zero, where the bits of a float32 order
# like integers. The largest key is the farthest positive (tie: LOW - index, so that the smaller
# index is larger), the smallest key the nearest negative (tie: index). Programs that share an
# anchor meet in 64-bit atomic max and min, which give the same answer in any order.
NO_POSITIVE = tl.constexpr(-1)
NO_NEGATIVE = tl.constexpr(0x7FFFFFFFFFFFFFFF)
LOW = tl.constexpr(0x7FFFFFFF)

LEAST_NORM = tl.constexpr(1e-12)
LEAST_SQUARE = tl.constexpr(1e-12)
LEAST_DISTANCE = tl.constexpr(1e-6)

# Metrics: 0 Euclidean, 1 its square, 2 cosine. Camera rules: 0 any, 1 same camera, 2 cross camera.


@triton.jit
def prepare_kernel(
    rows, stride, norm, keys, count, dim, COSINE: tl.constexpr, KEYS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One row: its square norm, or one over its norm for the cosine; its two keys are emptied."""
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, dim, BLOCK):
        d = start + tl.arange(0, BLOCK)
        x = tl.load(rows + row * stride + d, mask=d < dim, other=0.0).to(tl.float32)
        total += x * x
    square = tl.sum(total, 0)
    if COSINE:
        tl.store(norm + row, 1.0 / tl.maximum(tl.sqrt(square), LEAST_NORM))
    else:
        tl.store(norm + row, square)
    if KEYS:
        tl.store(keys + row, tl.full([], NO_POSITIVE, tl.int64))
        tl.store(keys + count + row, tl.full([], NO_NEGATIVE, tl.int64))


@triton.jit
def camera_allows(row_camera, column_camera, RULE: tl.constexpr):
    """(anchors, candidates): whether RULE, not "any", allows a pair."""
    same = row_camera[:, None] == column_camera[None, :]
    return same if RULE == 1 else same == 0


@triton.jit
def search_kernel(
    anchors, anchor_stride, anchor_norm, anchor_label, anchor_camera, self_index,
    candidates, candidate_stride, candidate_norm, candidate_label, candidate_camera,
    keys, anchor_count, candidate_count, dim, tiles_per_split,
    COSINE: tl.constexpr, POSITIVES: tl.constexpr, NEGATIVES: tl.constexpr, OWN: tl.constexpr,
    SELF: tl.constexpr, PRECISION: tl.constexpr, BLOCK_A: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Tiles of one block of anchors with one part of the candidates: products, masks, hardest."""
    infinity = float("inf")
    row = tl.program_id(0) * BLOCK_A + tl.arange(0, BLOCK_A)
    present = row < anchor_count
    row_norm = tl.load(anchor_norm + row, mask=present, other=0.0)
    row_label = tl.load(anchor_label + row, mask=present, other=0)
    if POSITIVES + NEGATIVES > 0:
        row_camera = tl.load(anchor_camera + row, mask=present, other=0)
    if SELF:
        row_self = tl.load(self_index + row, mask=present, other=-1)
    farthest = tl.full([BLOCK_A], NO_POSITIVE, tl.int64)
    nearest = tl.full([BLOCK_A], NO_NEGATIVE, tl.int64)
    first = tl.program_id(1) * tiles_per_split
    last = tl.minimum(first + tiles_per_split, tl.cdiv(candidate_count, BLOCK_C))
    for tile in range(first, last):
        column = tile * BLOCK_C + tl.arange(0, BLOCK_C)
        exists = column < candidate_count
        product = tl.zeros([BLOCK_A, BLOCK_C], tl.float32)
        for start in range(0, dim, BLOCK_D):
            d = start + tl.arange(0, BLOCK_D)
            a = tl.load(
                anchors + row[:, None].to(tl.int64) * anchor_stride + d[None, :],
                mask=present[:, None] & (d < dim)[None, :], other=0.0,
            )  # fmt: skip
            c = tl.load(
                candidates + column[None, :].to(tl.int64) * candidate_stride + d[:, None],
                mask=exists[None, :] & (d < dim)[:, None], other=0.0,
            )  # fmt: skip
            product = tl.dot(a, c, product, input_precision=PRECISION)
        column_norm = tl.load(candidate_norm + column, mask=exists, other=0.0)
        column_label = tl.load(candidate_label + column, mask=exists, other=0)
        if COSINE:
            value = 1.0 - product * (row_norm[:, None] * column_norm[None, :])
        else:
            value = (row_norm[:, None] + column_norm[None, :]) - 2.0 * product
        usable = (value < infinity) & (value > -infinity) & exists[None, :]
        value = tl.where(value < 0.0, 0.0, value)
        if OWN:
            usable = usable & (row[:, None] != column[None, :])
        if SELF:
            usable = usable & (row_self[:, None] != column[None, :])
        same = row_label[:, None] == column_label[None, :]
        positive = usable & same
        negative = usable & (same == 0)
        if POSITIVES + NEGATIVES > 0:
            column_camera = tl.load(candidate_camera + column, mask=exists, other=0)
            if POSITIVES > 0:
                positive = positive & camera_allows(row_camera, column_camera, POSITIVES)
            if NEGATIVES > 0:
                negative = negative & camera_allows(row_camera, column_camera, NEGATIVES)
        # The tile's own best of each row in float32, its first column, and only then a key: keys
        # of all elements, or pairs of value and index, would spill.
        step = tl.arange(0, BLOCK_C)
        value_of_positive = tl.where(positive, value, -1.0)
        hard = tl.max(value_of_positive, 1)
        at = tl.min(tl.where(value_of_positive == hard[:, None], step[None, :], BLOCK_C), 1)
        key = (hard.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (LOW - (tile * BLOCK_C + at))
        farthest = tl.maximum(farthest, tl.where(hard >= 0.0, key, NO_POSITIVE))
        value_of_negative = tl.where(negative, value, infinity)
        hard = tl.min(value_of_negative, 1)
        at = tl.min(tl.where(value_of_negative == hard[:, None], step[None, :], BLOCK_C), 1)
        key = (hard.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (tile * BLOCK_C + at)
        nearest = tl.minimum(nearest, tl.where(hard < infinity, key, NO_NEGATIVE))
    tl.atomic_max(keys + row, farthest, mask=present)
    tl.atomic_min(keys + anchor_count + row, nearest, mask=present)


@triton.jit
def pair_distance(
    row, other, inverse, other_inverse, dim, METRIC: tl.constexpr, BLOCK: tl.constexpr
):
    """The distance of two rows from the differences of their elements: no cancellation."""
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, dim, BLOCK):
        d = start + tl.arange(0, BLOCK)
        x = tl.load(row + d, mask=d < dim, other=0.0).to(tl.float32)
        y = tl.load(other + d, mask=d < dim, other=0.0).to(tl.float32)
        if METRIC == 2:
            total += x * y
        else:
            total += (x - y) * (x - y)
    found = tl.sum(total, 0)
    if METRIC == 2:
        found = 1.0 - found * (inverse * other_inverse)
    if METRIC == 0:
        found = tl.sqrt_rn(tl.maximum(found, LEAST_SQUARE))
    return found


@triton.jit
def finish_kernel(
    anchors, anchor_stride, anchor_norm, candidates, candidate_stride, candidate_norm,
    keys, positive_distance, negative_distance, positive_index, negative_index, loss, weights,
    count, dim, margin, METRIC: tl.constexpr, LOSS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One anchor: indices and distances of its pairs; its loss for LOSS 1 (hinge) or 2 (soft)."""
    i = tl.program_id(0).to(tl.int64)
    row = anchors + i * anchor_stride
    inverse = tl.load(anchor_norm + i)
    key = tl.load(keys + i)
    has_positive = key != NO_POSITIVE
    p = tl.where(has_positive, LOW - (key & LOW), 0)
    far = -float("inf")
    if has_positive:
        far = pair_distance(row, candidates + p * candidate_stride, inverse,
                            tl.load(candidate_norm + p), dim, METRIC, BLOCK)  # fmt: skip
    key = tl.load(keys + count + i)
    has_negative = key != NO_NEGATIVE
    n = tl.where(has_negative, key & LOW, 0)
    near = float("inf")
    if has_negative:
        near = pair_distance(row, candidates + n * candidate_stride, inverse,
                             tl.load(candidate_norm + n), dim, METRIC, BLOCK)  # fmt: skip
    tl.store(positive_index + i, tl.where(has_positive, p, -1).to(tl.int32))
    tl.store(negative_index + i, tl.where(has_negative, n, -1).to(tl.int32))
    tl.store(positive_distance + i, far)
    tl.store(negative_distance + i, near)
    if LOSS > 0:
        complete = has_positive & has_negative
        gap = tl.where(complete, far, 0.0) - tl.where(complete, near, 0.0)
        if LOSS == 1:
            value = tl.maximum(gap + margin, 0.0)
            slope = tl.where(value > 0.0, 1.0, 0.0)
        else:
            # log(1 + e^x) = max(x, 0) + log(1 + e^-|x|); log(1 + s) = s where 1 + s rounds to 1.
            small = tl.exp(-tl.abs(gap))
            rest = tl.where(small < 1e-4, small * (1.0 - 0.5 * small), tl.log(1.0 + small))
            value = tl.maximum(gap, 0.0) + rest
            slope = tl.where(gap > 0.0, 1.0, small) / (1.0 + small)
        slope = tl.where(complete, slope, 0.0)
        tl.store(loss + i, tl.where(complete, value, 0.0))
        tl.store(weights + i, slope)
        tl.store(weights + count + i, -slope)


@triton.jit
def reduce_kernel(
    loss, positive_index, negative_index, total, scale, count, ACTIVE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The mean over complete, or active, anchors, and one over their number."""
    losses = tl.zeros([BLOCK], tl.float32)
    counted = tl.zeros([BLOCK], tl.int32)
    for start in range(0, count, BLOCK):
        i = start + tl.arange(0, BLOCK)
        value = tl.load(loss + i, mask=i < count, other=0.0)
        losses += value
        if ACTIVE:
            counted += (value > 0.0).to(tl.int32)
        else:
            p = tl.load(positive_index + i, mask=i < count, other=-1)
            n = tl.load(negative_index + i, mask=i < count, other=-1)
            counted += ((p >= 0) & (n >= 0)).to(tl.int32)
    number = tl.sum(counted, 0)
    factor = tl.where(number > 0, 1.0 / tl.maximum(number, 1).to(tl.float32), 0.0)
    tl.store(total, tl.sum(losses, 0) * factor)
    tl.store(scale, factor)


@triton.jit
def pair_factor(weights, length, grad, scale, i, METRIC: tl.constexpr, EACH: tl.constexpr):
    """What the contribution of anchor `i`'s pair is multiplied with; `length` is its distance."""
    upstream = tl.load(grad + i) if EACH else tl.load(grad)
    weight = tl.load(weights + i) * (upstream.to(tl.float32) * tl.load(scale))
    if METRIC == 2:
        weight = -weight
    elif METRIC == 1:
        weight = 2.0 * weight
    else:
        weight = tl.where(length > LEAST_DISTANCE, weight / length, 0.0)
    return weight


@triton.jit
def contribution(row, other, other_norm, j, factor, METRIC: tl.constexpr):
    """What a pair adds to the gradient of `row`, one of its two rows."""
    if METRIC == 2:
        return (factor * tl.load(other_norm + j)) * other
    return factor * (row - other)


@triton.jit
def gradient_kernel(
    anchors, anchor_stride, anchor_norm, candidates, candidate_stride, candidate_norm,
    positive_distance, negative_distance, positive_index, negative_index, weights, grad, scale,
    out, count, dim, METRIC: tl.constexpr, EACH: tl.constexpr, ANCHOR: tl.constexpr,
    CHOSEN: tl.constexpr, SCAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row of the gradient: a sum over the pairs it is in, in a fixed order, without atomics."""
    r = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    inside = d < dim
    if ANCHOR:
        row = tl.load(anchors + r * anchor_stride + d, mask=inside, other=0.0).to(tl.float32)
    else:
        row = tl.load(candidates + r * candidate_stride + d, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    pairs = 0
    if ANCHOR:  # the pairs that this row chose: positive, then negative
        p = tl.load(positive_index + r).to(tl.int64)
        if p >= 0:
            length = tl.load(positive_distance + r)
            factor = pair_factor(weights, length, grad, scale, r, METRIC, EACH)
            other = tl.load(candidates + p * candidate_stride + d, mask=inside, other=0.0)
            total += contribution(row, other.to(tl.float32), candidate_norm, p, factor, METRIC)
            pairs += 1
        n = tl.load(negative_index + r).to(tl.int64)
        if n >= 0:
            length = tl.load(negative_distance + r)
            factor = pair_factor(weights + count, length, grad, scale, r, METRIC, EACH)
            other = tl.load(candidates + n * candidate_stride + d, mask=inside, other=0.0)
            total += contribution(row, other.to(tl.float32), candidate_norm, n, factor, METRIC)
            pairs += 1
    if CHOSEN:  # then the anchors that chose this row, ascending
        for start in range(0, count, SCAN):
            i = start + tl.arange(0, SCAN)
            as_positive = tl.load(positive_index + i, mask=i < count, other=-1) == r
            as_negative = tl.load(negative_index + i, mask=i < count, other=-1) == r
            hit = as_positive | as_negative
            left = tl.sum(hit.to(tl.int32), 0)
            pairs += left
            while left > 0:
                first = tl.min(tl.where(hit, i, count), 0)
                hit = hit & (i != first)
                left -= 1
                by = first.to(tl.int64)
                # Never both: a candidate with the anchor's label is no negative.
                is_positive = tl.load(positive_index + by) == r
                side = tl.where(is_positive, 0, count)
                distance = tl.where(
                    is_positive, tl.load(positive_distance + by), tl.load(negative_distance + by)
                )
                factor = pair_factor(weights + side, distance, grad, scale, by, METRIC, EACH)
                other = tl.load(anchors + by * anchor_stride + d, mask=inside, other=0.0)
                total += contribution(row, other.to(tl.float32), anchor_norm, by, factor, METRIC)
    if METRIC == 2:  # back through x / max(|x|, least): a short row was divided by a constant
        inverse = tl.load(anchor_norm + r) if ANCHOR else tl.load(candidate_norm + r)
        along = tl.sum(row * total, 0) * inverse * inverse
        along = tl.where(inverse >= 1.0 / LEAST_NORM, 0.0, along)
        total = (total - along * row) * inverse
        total = tl.where(pairs > 0, total, 0.0)  # whatever the row holds: no 0 * NaN
    tl.store(out + r * dim + d, total, mask=inside)
