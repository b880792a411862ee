"""Batch-hard mining on the GPU: `search`, `reduce_losses` and `gradient` in five launches.

    prepare  one program per row: square norms; empty keys
    search   tiles of anchors x candidates: products, masks, hardest of each row of the tile
    finish   one program per anchor: distances of the chosen pairs, loss and slope
    reduce   one program: the loss of the batch (a reduction other than "none" only)
    gradient one program per row of the gradient

A key is ``bits(value) << 32 | tie``: values are at least zero, where the bits of a float32 order
like integers. The largest key is the farthest positive (tie: ~index, so that the smaller index is
larger), the smallest key the nearest negative (tie: index). Tiles of one anchor meet in 64-bit
atomic max and min, which give the same answer in any order.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

RULES = {"any": 0, "same_camera": 1, "cross_camera": 2}
METRICS = {"euclidean": 0, "squared_euclidean": 1, "cosine": 2}

NO_POSITIVE = tl.constexpr(-1)
NO_NEGATIVE = tl.constexpr(0x7FFFFFFFFFFFFFFF)
LOW = tl.constexpr(0x7FFFFFFF)
LEAST_NORM = tl.constexpr(1e-12)
LEAST_SQUARE = tl.constexpr(1e-12)
LEAST_DISTANCE = tl.constexpr(1e-6)


class Tile(NamedTuple):
    """A fixed configuration of the search kernel."""

    anchors: int
    candidates: int
    depth: int
    warps: int
    stages: int


# By bytes of an element, then for few and for many anchors. Compiled for sm_80 to sm_120 without
# spills (tests/kernels/test_kernels_triplet_aot.py); chosen by shape, never tuned at run time.
TILES = {
    2: (Tile(64, 64, 64, 4, 3), Tile(64, 128, 64, 8, 3)),
    4: (Tile(64, 64, 32, 4, 3), Tile(64, 128, 32, 8, 3)),
}
MANY_ANCHORS = 2048
PROGRAMS_PER_PROCESSOR = 2
SCAN = 1024  # indices a gradient program looks at together
WARP_LANES = 32


@triton.jit
def prepare_kernel(
    rows, stride, norm, keys, count, dim, COSINE: tl.constexpr, KEYS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
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
    if RULE == 1:
        return row_camera[:, None] == column_camera[None, :]
    else:
        return row_camera[:, None] != column_camera[None, :]


@triton.jit
def search_kernel(
    anchors, anchor_stride, anchor_norm, anchor_label, anchor_camera, self_index,
    candidates, candidate_stride, candidate_norm, candidate_label, candidate_camera,
    keys, anchor_count, candidate_count, dim, tiles_per_split,
    COSINE: tl.constexpr, POSITIVES: tl.constexpr, NEGATIVES: tl.constexpr, OWN: tl.constexpr,
    SELF: tl.constexpr, PRECISION: tl.constexpr, BLOCK_A: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
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
        # First the tile's own best of each row in float32, then one key: keys of all elements
        # would need twice the registers and spill.
        hard, at = tl.max(
            tl.where(positive, value, -1.0), 1, return_indices=True, return_indices_tie_break_left=True
        )  # fmt: skip
        key = (hard.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (LOW - (tile * BLOCK_C + at))
        farthest = tl.maximum(farthest, tl.where(hard >= 0.0, key, NO_POSITIVE))
        hard, at = tl.min(
            tl.where(negative, value, infinity), 1, return_indices=True, return_indices_tie_break_left=True
        )  # fmt: skip
        key = (hard.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (tile * BLOCK_C + at)
        nearest = tl.minimum(nearest, tl.where(hard < infinity, key, NO_NEGATIVE))
    tl.atomic_max(keys + row, farthest, mask=present)
    tl.atomic_min(keys + anchor_count + row, nearest, mask=present)


@triton.jit
def pair_distance(
    row, other, inverse, other_inverse, dim, METRIC: tl.constexpr, BLOCK: tl.constexpr
):
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
    keys, positive_index, negative_index, positive_distance, negative_distance, loss, weights,
    count, dim, margin, METRIC: tl.constexpr, LOSS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
def pair_factor(weights, distance, grad, scale, i, METRIC: tl.constexpr, EACH: tl.constexpr):
    """What the contribution of anchor `i`'s pair is multiplied with."""
    upstream = tl.load(grad + i) if EACH else tl.load(grad)
    weight = tl.load(weights + i) * (upstream.to(tl.float32) * tl.load(scale))
    if METRIC == 2:
        return -weight
    elif METRIC == 1:
        return 2.0 * weight
    else:
        length = tl.load(distance + i)
        return tl.where(length > LEAST_DISTANCE, weight / length, 0.0)


@triton.jit
def contribution(row, other, other_norm, j, factor, METRIC: tl.constexpr):
    if METRIC == 2:
        return (factor * tl.load(other_norm + j)) * other
    else:
        return factor * (row - other)


@triton.jit
def gradient_kernel(
    anchors, anchor_stride, anchor_norm, candidates, candidate_stride, candidate_norm,
    positive_index, negative_index, positive_distance, negative_distance, weights, grad, scale,
    out, count, dim, METRIC: tl.constexpr, EACH: tl.constexpr, ANCHOR: tl.constexpr,
    CHOSEN: tl.constexpr, SCAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    inside = d < dim
    if ANCHOR:
        row = tl.load(anchors + r * anchor_stride + d, mask=inside, other=0.0).to(tl.float32)
    else:
        row = tl.load(candidates + r * candidate_stride + d, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    if ANCHOR:  # the pairs that this row chose: positive, then negative
        p = tl.load(positive_index + r).to(tl.int64)
        if p >= 0:
            factor = pair_factor(weights, positive_distance, grad, scale, r, METRIC, EACH)
            other = tl.load(candidates + p * candidate_stride + d, mask=inside, other=0.0)
            total += contribution(row, other.to(tl.float32), candidate_norm, p, factor, METRIC)
        n = tl.load(negative_index + r).to(tl.int64)
        if n >= 0:
            factor = pair_factor(weights + count, negative_distance, grad, scale, r, METRIC, EACH)
            other = tl.load(candidates + n * candidate_stride + d, mask=inside, other=0.0)
            total += contribution(row, other.to(tl.float32), candidate_norm, n, factor, METRIC)
    if CHOSEN:  # then the anchors that chose this row, ascending
        for start in range(0, count, SCAN):
            i = start + tl.arange(0, SCAN)
            p = tl.load(positive_index + i, mask=i < count, other=-1)
            n = tl.load(negative_index + i, mask=i < count, other=-1)
            hit = (p == r) | (n == r)
            left = tl.sum(hit.to(tl.int32), 0)
            while left > 0:
                first = tl.min(tl.where(hit, i, count), 0)
                hit = hit & (i != first)
                left -= 1
                by = first.to(tl.int64)
                if tl.load(positive_index + by) == r:
                    factor = pair_factor(weights, positive_distance, grad, scale, by, METRIC, EACH)
                else:
                    factor = pair_factor(
                        weights + count, negative_distance, grad, scale, by, METRIC, EACH
                    )
                other = tl.load(anchors + by * anchor_stride + d, mask=inside, other=0.0)
                total += contribution(row, other.to(tl.float32), anchor_norm, by, factor, METRIC)
    if METRIC == 2:  # back through x / max(|x|, least): a short row was divided by a constant
        inverse = tl.load(anchor_norm + r) if ANCHOR else tl.load(candidate_norm + r)
        along = tl.sum(row * total, 0) * inverse * inverse
        along = tl.where(inverse >= 1.0 / LEAST_NORM, 0.0, along)
        total = (total - along * row) * inverse
    tl.store(out + r * dim + d, total, mask=inside)


class Rows(NamedTuple):
    """Anchors and candidates, ready for the kernels."""

    anchors: Tensor
    candidates: Tensor
    own: bool
    """The candidates are the anchors."""


class Found(NamedTuple):
    """What `search` returns; `loss` and `weights` are empty unless a loss was asked for."""

    positive_index: Tensor
    negative_index: Tensor
    positive_distance: Tensor
    negative_distance: Tensor
    loss: Tensor
    weights: Tensor


def search(
    features: Tensor,
    candidates: Tensor | None,
    labels: Tensor,
    candidate_labels: Tensor | None,
    cameras: Tensor | None,
    candidate_cameras: Tensor | None,
    self_index: Tensor | None,
    *,
    positives: str,
    negatives: str,
    distance: str,
    loss: bool = False,
    margin: float | None = None,
) -> Found:
    """Finds the hardest pairs of each anchor, and the terms of the triplet loss when `loss`.

    Args:
        features: (N, D) float32, float16 or bfloat16 on a CUDA device.
        candidates: (M, D) of the same dtype and device, or None for the features.
        labels: (N,) integer.
        candidate_labels: (M,) integer.
        cameras: (N,) integer, needed by camera rules.
        candidate_cameras: (M,) integer.
        self_index: (N,) integer.
        positives: Camera rule.
        negatives: Camera rule.
        distance: Metric.
        loss: Whether to make losses (N,) and weights (2, N), dL_i / d (d_p, d_n).
        margin: Of the hinge; None for the soft margin.

    Returns:
        `Found`: indices (N,) int32, distances (N,) float32.
    """
    rows = _rows(features, candidates)
    count, dim = rows.anchors.shape
    others = len(rows.candidates)
    device = features.device
    made = functools.partial(torch.empty, device=device)
    found = Found(
        made(count, dtype=torch.int32),
        made(count, dtype=torch.int32),
        made(count, dtype=torch.float32),
        made(count, dtype=torch.float32),
        made(count if loss else 0, dtype=torch.float32),
        made((2, count if loss else 0), dtype=torch.float32),
    )
    if count == 0:
        return found
    keys = made((2, count), dtype=torch.int64)
    block = min(1024, triton.next_power_of_2(dim))
    with _on(device):
        anchor_norm, candidate_norm = norms(rows, distance, keys)
        if others > 0:
            own_labels = candidate_labels if candidate_labels is not None else labels
            tile = _tile(rows.anchors)
            splits, per_split = _splits(count, others, tile, _processors(device))
            search_kernel[(triton.cdiv(count, tile.anchors), splits)](
                rows.anchors, rows.anchors.stride(0), anchor_norm, labels,
                labels if cameras is None else cameras,
                labels if self_index is None else self_index,
                rows.candidates, rows.candidates.stride(0), candidate_norm, own_labels,
                _first(candidate_cameras, cameras, labels),
                keys, count, others, dim, per_split,
                COSINE=distance == "cosine", POSITIVES=RULES[positives],
                NEGATIVES=RULES[negatives], OWN=rows.own, SELF=self_index is not None,
                PRECISION="tf32x3", BLOCK_A=tile.anchors, BLOCK_C=tile.candidates,
                BLOCK_D=tile.depth, num_warps=tile.warps, num_stages=tile.stages,
                enable_fp_fusion=True,
            )  # fmt: skip
        finish_kernel[(count,)](
            rows.anchors, rows.anchors.stride(0), anchor_norm,
            rows.candidates, rows.candidates.stride(0), candidate_norm,
            keys, *found, count, dim, 0.0 if margin is None else float(margin),
            METRIC=METRICS[distance], LOSS=0 if not loss else 2 if margin is None else 1,
            BLOCK=block, num_warps=_warps(block), enable_fp_fusion=True,
        )  # fmt: skip
    return found


def reduce_losses(found: Found, reduction: str) -> tuple[Tensor, Tensor]:
    """The mean loss () over complete or active anchors, and one over their number ()."""
    total, scale = (torch.empty((), device=found.loss.device) for _ in range(2))
    with _on(found.loss.device):
        reduce_kernel[(1,)](
            found.loss, found.positive_index, found.negative_index, total, scale,
            len(found.loss), ACTIVE=reduction == "mean_active", BLOCK=1024, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    return total, scale


def gradient(
    features: Tensor,
    candidates: Tensor | None,
    positive_index: Tensor,
    negative_index: Tensor,
    positive_distance: Tensor,
    negative_distance: Tensor,
    weights: Tensor,
    grad: Tensor,
    scale: Tensor,
    *,
    distance: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of features and candidates; each row one sum in a fixed order, without atomics.

    Args:
        features: (N, D) as given to `search`.
        candidates: (M, D) or None, likewise.
        positive_index: (N,) int32.
        negative_index: (N,) int32.
        positive_distance: (N,) float32.
        negative_distance: (N,) float32.
        weights: (2, N) float32, contiguous.
        grad: () or (N,): multiplies the weights.
        scale: () float32: multiplies all of them.
        distance: Metric.

    Returns:
        (N, D) and (M, D), or (0, D) without candidates, of the dtype of the features.
    """
    rows = _rows(features, candidates)
    to_anchors = torch.empty(rows.anchors.shape, dtype=features.dtype, device=features.device)
    to_candidates = to_anchors[:0].clone() if rows.own else torch.empty_like(
        rows.candidates, memory_format=torch.contiguous_format
    )  # fmt: skip
    count, dim = rows.anchors.shape
    block = triton.next_power_of_2(dim)
    with _on(features.device):
        anchor_norm = candidate_norm = scale
        if distance == "cosine":
            anchor_norm, candidate_norm = norms(rows, distance, None)
        for out, is_anchor in ((to_anchors, True), (to_candidates, False)):
            if len(out) == 0:
                continue
            gradient_kernel[(len(out),)](
                rows.anchors, rows.anchors.stride(0), anchor_norm,
                rows.candidates, rows.candidates.stride(0), candidate_norm,
                positive_index, negative_index, positive_distance, negative_distance,
                weights, grad, scale, out, count, dim,
                METRIC=METRICS[distance], EACH=grad.ndim == 1, ANCHOR=is_anchor,
                CHOSEN=rows.own or not is_anchor,
                SCAN=min(SCAN, triton.next_power_of_2(max(count, 16))), BLOCK=block,
                num_warps=_warps(block), enable_fp_fusion=True,
            )  # fmt: skip
    return to_anchors, to_candidates


def norms(rows: Rows, distance: str, keys: Tensor | None) -> tuple[Tensor, Tensor]:
    """Square norms, inverse norms for the cosine; empties `keys` (2, N) on the way."""
    dim = rows.anchors.shape[1]
    block = min(1024, triton.next_power_of_2(dim))
    made = []
    for side in (rows.anchors,) if rows.own else (rows.anchors, rows.candidates):
        norm = torch.empty(len(side), dtype=torch.float32, device=side.device)
        first = not made
        if len(side) > 0:
            prepare_kernel[(len(side),)](
                side, side.stride(0), norm, keys if keys is not None else norm, len(side), dim,
                COSINE=distance == "cosine", KEYS=first and keys is not None, BLOCK=block,
                num_warps=_warps(block), enable_fp_fusion=True,
            )  # fmt: skip
        made.append(norm)
    return made[0], made[-1]


def _rows(features: Tensor, candidates: Tensor | None) -> Rows:
    own = candidates is None
    anchors = _dense(features)
    return Rows(anchors, anchors if candidates is None else _dense(candidates), own)


def _dense(rows: Tensor) -> Tensor:
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _first(*options: Tensor | None) -> Tensor:
    return next(option for option in options if option is not None)


def _tile(anchors: Tensor) -> Tile:
    return TILES[anchors.element_size()][len(anchors) >= MANY_ANCHORS]


def _splits(anchors: int, candidates: int, tile: Tile, processors: int) -> tuple[int, int]:
    """Into how many parts the candidates are split, and how many tiles each has."""
    tiles = triton.cdiv(candidates, tile.candidates)
    wanted = triton.cdiv(PROGRAMS_PER_PROCESSOR * processors, triton.cdiv(anchors, tile.anchors))
    per_split = triton.cdiv(tiles, min(wanted, tiles))
    return triton.cdiv(tiles, per_split), per_split


def _warps(block: int) -> int:
    return min(max(block // (WARP_LANES * 8), 1), 32)


@functools.cache
def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 8  # the interpreter
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _on(device: torch.device) -> Any:
    return torch.cuda.device(device if device.type == "cuda" else -1)
