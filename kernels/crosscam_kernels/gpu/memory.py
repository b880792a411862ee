"""`memory_infonce` on a GPU: log-sum-exp and gradient over tiles, never the whole matrix.

Forward: programs over (range of rows, tile of samples) write partial sums, one more kernel merges
them in order. Backward: slab after slab of rows, one kernel computes the weight of each row in each
gradient (the softmax anew), another multiplies the weights with the rows.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosscam_kernels.aot import KernelSpec
from crosscam_kernels.gpu._infonce import (
    CAMERA_RULES,
    TILES,
    WEIGHT_SCALE,
    Tile,
    add_exponentials,
    camera_allows,
    camera_order,
    merge_exponentials,
    put_back,
    splits,
    taken,
    tile_products,
)

SLAB_WEIGHTS = 1 << 22  # weights in memory at one time in the backward pass
# Features that one program of the gradient makes.
_OUTPUT_FEATURES = {torch.float32: 64, torch.float16: 128, torch.bfloat16: 128}
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
    lse = largest + tl.log(tl.where(total == 0.0, 1.0, total))
    loss = lse - (1.0 - smoothing) * pulled / tl.maximum(positives, 1).to(tl.float32)
    if smoothing > 0.0:
        loss -= smoothing * spread / tl.maximum(allowed, 1).to(tl.float32)
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


def forward(
    features: Tensor,
    bank: Tensor,
    targets: Tensor,
    labels: Tensor | None,
    cameras: Tensor | None,
    bank_cameras: Tensor | None,
    candidates: str,
    positives: str,
    hard_negatives: int,
    temperature: float,
    label_smoothing: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Launches the forward pass; arguments and results are those of the custom op."""
    if hard_negatives >= 0:
        from crosscam_kernels.gpu import memory_hard

        return memory_hard.forward(
            features, bank, targets, labels, cameras, bank_cameras, candidates, positives,
            hard_negatives, temperature, label_smoothing,
        )  # fmt: skip
    count, dim = features.shape
    rows = bank.shape[0]
    loss = features.new_zeros((count,), dtype=torch.float32)
    lse = torch.zeros_like(loss)
    positive_count = torch.zeros_like(loss, dtype=torch.int64)
    allowed_count = torch.zeros_like(positive_count)
    negatives = positive_count.new_empty((count, 0))
    if count == 0 or rows == 0:
        return loss, lse, positive_count, allowed_count, negatives
    order = camera_order(cameras, candidates == "only_same")
    tile = TILES[features.dtype]
    sample_tiles, row_tiles = triton.cdiv(count, tile.samples), triton.cdiv(rows, tile.rows)
    split_count = splits(row_tiles, sample_tiles)
    rows_per_split = triton.cdiv(row_tiles, split_count) * tile.rows
    split_count = triton.cdiv(rows, rows_per_split)
    sums = loss.new_empty((4, split_count, count))
    counts = loss.new_empty((2, split_count, count), dtype=torch.int32)
    with torch.cuda.device_of(features):
        lse_kernel[(sample_tiles, split_count)](
            taken(features, order),
            bank.contiguous(),
            taken(targets, order),
            labels,
            taken(cameras, order),
            bank_cameras,
            sums,
            counts,
            count,
            rows,
            dim,
            rows_per_split,
            1.0 / temperature,
            **_constants(labels, candidates, positives, tile),
        )
        merge_kernel[(triton.cdiv(count, 128),)](
            sums,
            counts,
            loss,
            lse,
            positive_count,
            allowed_count,
            count,
            split_count,
            float(label_smoothing),
            M=128,
            num_warps=4,
            enable_fp_fusion=True,
        )
    outputs = (loss, lse, positive_count, allowed_count)
    return (*(put_back(value, order) for value in outputs), negatives)


def backward(
    grad: Tensor,
    lse: Tensor,
    positive_count: Tensor,
    allowed_count: Tensor,
    negatives: Tensor,
    features: Tensor,
    bank: Tensor,
    targets: Tensor,
    labels: Tensor | None,
    cameras: Tensor | None,
    bank_cameras: Tensor | None,
    candidates: str,
    positives: str,
    hard_negatives: int,
    temperature: float,
    label_smoothing: float,
) -> Tensor:
    """Launches the backward pass; arguments and result are those of the custom op."""
    count, dim = features.shape
    rows = bank.shape[0]
    if count == 0 or rows == 0:
        return torch.zeros_like(features, memory_format=torch.contiguous_format)
    counted = positive_count > 0
    factor = torch.where(counted, grad.float() / temperature, 0.0)
    pull = (1.0 - label_smoothing) / positive_count.clamp(min=1).float()
    smooth = label_smoothing / allowed_count.clamp(min=1).float()
    targets = torch.where(counted, targets, -1)
    if hard_negatives >= 0:
        from crosscam_kernels.gpu import memory_hard

        return memory_hard.backward(
            features, bank, targets, labels, cameras, bank_cameras, candidates, positives,
            negatives, lse, pull, smooth, factor, 1.0 / temperature,
        )  # fmt: skip
    order = camera_order(cameras, candidates == "only_same")
    tile, weight_scale = TILES[features.dtype], WEIGHT_SCALE[features.dtype]
    sample_tiles = triton.cdiv(count, tile.samples)
    slab = min(triton.cdiv(rows, tile.rows), max(1, SLAB_WEIGHTS // (count * tile.rows)))
    slab *= tile.rows
    output_features = _OUTPUT_FEATURES[features.dtype]
    feature_tiles = triton.cdiv(dim, output_features)
    split_count = splits(slab // tile.features, sample_tiles * feature_tiles)
    rows_per_split = triton.cdiv(slab // tile.features, split_count) * tile.features
    split_count = triton.cdiv(slab, rows_per_split)
    weights = torch.empty((count, slab), dtype=features.dtype, device=features.device)
    sums = torch.empty((split_count, count, dim), dtype=torch.float32, device=features.device)
    gradient = torch.empty((count, dim), dtype=features.dtype, device=features.device)
    x, y = taken(features, order), bank.contiguous()
    columns = [taken(value, order) for value in (targets, cameras, lse, pull, smooth)]
    constants = _constants(labels, candidates, positives, tile)
    with torch.cuda.device_of(features):
        for first in range(0, rows, slab):
            weights_kernel[(sample_tiles, slab // tile.rows)](
                x,
                y,
                columns[0],
                labels,
                columns[1],
                bank_cameras,
                *columns[2:],
                weights,
                count,
                rows,
                dim,
                first,
                slab,
                1.0 / temperature,
                weight_scale,
                **constants,
            )
            apply_kernel[(sample_tiles, feature_tiles, split_count)](
                weights,
                y,
                sums,
                count,
                rows,
                dim,
                first,
                slab,
                rows_per_split,
                FRESH=first == 0,
                SKIP=candidates == "only_same",
                M=tile.samples,
                R=tile.features,
                F=output_features,
                num_warps=tile.warps,
                num_stages=tile.stages,
                enable_fp_fusion=True,
            )
        finish_kernel[(count, triton.cdiv(dim, 1024))](
            sums,
            taken(factor / weight_scale, order),
            gradient,
            count,
            dim,
            split_count,
            F=1024,
            num_warps=4,
            enable_fp_fusion=True,
        )
    return put_back(gradient, order)


def _constants(
    labels: Tensor | None, candidates: str, positives: str, tile: Tile
) -> dict[str, Any]:
    return {
        "LABELS": labels is not None,
        "CANDIDATES": CAMERA_RULES[candidates],
        "POSITIVES": CAMERA_RULES[positives],
        "M": tile.samples,
        "R": tile.rows,
        "BLOCK_D": tile.features,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
        "enable_fp_fusion": True,
    }


_NAMES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# Labels and cameras per row; D is a multiple of 16, as in every embedding in use.
_INPUTS = {
    "targets_ptr": "*i64:16",
    "labels_ptr": "*i64:16",
    "cameras_ptr": "*i64:16",
    "bank_cameras_ptr": "*i64:16",
}


def _product_specs(name: str, rule: str) -> list[KernelSpec]:
    tile, rows = TILES[_NAMES[name]], {"features_ptr": f"*{name}:16", "bank_ptr": f"*{name}:16"}
    constants: dict[str, Any] = {
        "LABELS": True,
        "CANDIDATES": CAMERA_RULES[rule],
        "POSITIVES": 0,
        "M": tile.samples,
        "R": tile.rows,
        "BLOCK_D": tile.features,
    }
    sizes = {"count": "i32", "rows": "i32", "dim": "i32:16"}
    outputs = {"sums_ptr": "*fp32:16", "counts_ptr": "*i32:16"}
    resources: dict[str, Any] = {"num_warps": tile.warps, "num_stages": tile.stages}
    return [
        KernelSpec(
            f"memory_infonce_lse_{name}_{rule}",
            lse_kernel,
            {**rows, **_INPUTS, **outputs, **sizes, "rows_per_split": "i32:16", "scale": "fp32"},
            constants,
            **resources,
        ),
        KernelSpec(
            f"memory_infonce_weights_{name}_{rule}",
            weights_kernel,
            {
                **rows,
                **_INPUTS,
                **dict.fromkeys(("lse_ptr", "pull_ptr", "smooth_ptr"), "*fp32:16"),
                "weights_ptr": f"*{name}:16",
                **sizes,
                **{"first": "i32:16", "slab": "i32:16", "scale": "fp32", "weight_scale": "fp32"},
            },
            constants,
            **resources,
        ),
        KernelSpec(
            f"memory_infonce_apply_{name}_{rule}",
            apply_kernel,
            {
                "weights_ptr": f"*{name}:16",
                "bank_ptr": f"*{name}:16",
                "sums_ptr": "*fp32:16",
                **sizes,
                **dict.fromkeys(("first", "slab", "rows_per_split"), "i32:16"),
            },
            {
                "FRESH": False,
                "SKIP": rule == "only_same",
                "M": tile.samples,
                "R": tile.features,
                "F": _OUTPUT_FEATURES[_NAMES[name]],
            },
            **resources,
        ),
    ]


def _finish_spec(name: str) -> KernelSpec:
    return KernelSpec(
        f"memory_infonce_finish_{name}",
        finish_kernel,
        {
            **{"sums_ptr": "*fp32:16", "factor_ptr": "*fp32:16", "gradient_ptr": f"*{name}:16"},
            **{"count": "i32", "dim": "i32:16", "split_count": "i32"},
        },
        {"F": 1024},
    )


AOT_KERNELS = [
    spec for name in _NAMES for rule in ("any", "only_same") for spec in _product_specs(name, rule)
]
AOT_KERNELS += [_finish_spec(name) for name in _NAMES]
AOT_KERNELS.append(
    KernelSpec(
        "memory_infonce_merge",
        merge_kernel,
        {
            **{"sums_ptr": "*fp32:16", "counts_ptr": "*i32:16"},
            **{"loss_ptr": "*fp32:16", "lse_ptr": "*fp32:16"},
            **{"positive_count_ptr": "*i64:16", "allowed_count_ptr": "*i64:16"},
            **{"count": "i32", "split_count": "i32", "smoothing": "fp32"},
        },
        {"M": 128},
    )
)
