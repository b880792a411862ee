"""`instance_infonce` on a GPU: segmented maximum and log-sum-exp in one pass over the instances.

A tile holds the slots of several classes (or a part of the slots of one). Their products with a
tile of samples are reduced over the slots to one logit per class, which enters the running
log-sum-exp. The backward pass computes the choice anew, slab after slab of classes, and gathers the
chosen rows only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosscam_kernels.aot import KernelSpec
from crosscam_kernels.gpu._infonce import (
    TILES,
    Tile,
    add_exponentials,
    camera_order,
    merge_exponentials,
    put_back,
    splits,
    taken,
    tile_products,
)

SLAB_WEIGHTS = 1 << 21  # weights and slots in memory at one time in the backward pass
# The choice of a slot needs registers of its own.
_TILES = {**TILES, torch.float32: replace(TILES[torch.float32], rows=32)}
_GATHER_CLASSES, _GATHER_FEATURES = 16, 256


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
    lse = largest + tl.log(tl.where(total == 0.0, 1.0, total))
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


def slot_tiling(slots: int, tile: Tile) -> tuple[int, int]:
    """Classes and slots of one tile; their product is the rows of the tile."""
    per_class = min(tile.rows, triton.next_power_of_2(slots))
    return tile.rows // per_class, per_class


def forward(
    features: Tensor,
    bank: Tensor,
    filled: Tensor,
    targets: Tensor,
    class_cameras: Tensor | None,
    cameras: Tensor | None,
    temperature: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launches the forward pass; arguments and results are those of the custom op."""
    count, dim = features.shape
    classes, slots, _ = bank.shape
    loss = features.new_zeros((count,), dtype=torch.float32)
    lse, counted = torch.zeros_like(loss), torch.zeros_like(loss, dtype=torch.bool)
    if count == 0 or classes == 0 or slots == 0:
        return loss, lse, counted
    order = camera_order(cameras, class_cameras is not None)
    tile = _TILES[features.dtype]
    c, s = slot_tiling(slots, tile)
    sample_tiles, class_tiles = triton.cdiv(count, tile.samples), triton.cdiv(classes, c)
    split_count = splits(class_tiles, sample_tiles)
    classes_per_split = triton.cdiv(class_tiles, split_count) * c
    split_count = triton.cdiv(classes, classes_per_split)
    sums = loss.new_empty((4, split_count, count))
    with torch.cuda.device_of(features):
        lse_kernel[(sample_tiles, split_count)](
            *_inputs(features, bank, filled, targets, class_cameras, cameras, order),
            sums,
            count,
            classes,
            slots,
            dim,
            classes_per_split,
            1.0 / temperature,
            **_constants(cameras, tile, c, s),
        )
        merge_kernel[(triton.cdiv(count, 128),)](
            sums, loss, lse, counted.view(torch.int8), count, split_count, M=128, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    return put_back(loss, order), put_back(lse, order), put_back(counted, order)


def backward(
    grad: Tensor,
    lse: Tensor,
    counted: Tensor,
    features: Tensor,
    bank: Tensor,
    filled: Tensor,
    targets: Tensor,
    class_cameras: Tensor | None,
    cameras: Tensor | None,
    temperature: float,
) -> Tensor:
    """Launches the backward pass; arguments and result are those of the custom op."""
    count, dim = features.shape
    classes, slots, _ = bank.shape
    if count == 0 or classes == 0 or slots == 0:
        return torch.zeros_like(features, memory_format=torch.contiguous_format)
    order = camera_order(cameras, class_cameras is not None)
    tile = _TILES[features.dtype]
    c, s = slot_tiling(slots, tile)
    factor = torch.where(counted, grad.float() / temperature, 0.0)
    slab = min(triton.cdiv(classes, c), max(1, SLAB_WEIGHTS // (count * c))) * c
    weights = torch.empty((count, slab), dtype=torch.float32, device=features.device)
    chosen = torch.empty((count, slab), dtype=torch.int32, device=features.device)
    sums = torch.empty((count, dim), dtype=torch.float32, device=features.device)
    gradient = torch.empty((count, dim), dtype=features.dtype, device=features.device)
    inputs = _inputs(
        features, bank, filled, torch.where(counted, targets, -1), class_cameras, cameras, order
    )
    ordered_lse, ordered_factor = taken(lse, order), taken(factor, order)
    with torch.cuda.device_of(features):
        for first in range(0, classes, slab):
            weights_kernel[(triton.cdiv(count, tile.samples), slab // c)](
                *inputs,
                ordered_lse,
                weights,
                chosen,
                count,
                classes,
                slots,
                dim,
                first,
                slab,
                1.0 / temperature,
                **_constants(cameras, tile, c, s),
            )
            gather_kernel[(count, triton.cdiv(dim, _GATHER_FEATURES))](
                weights,
                chosen,
                inputs[1],
                ordered_factor,
                sums,
                gradient,
                classes,
                slots,
                dim,
                first,
                slab,
                FRESH=first == 0,
                LAST=first + slab >= classes,
                C=_GATHER_CLASSES,
                F=_GATHER_FEATURES,
                num_warps=4,
                enable_fp_fusion=True,
            )
    return put_back(gradient, order)


def _inputs(
    features: Tensor,
    bank: Tensor,
    filled: Tensor,
    targets: Tensor,
    class_cameras: Tensor | None,
    cameras: Tensor | None,
    order: Tensor | None,
) -> tuple[Any, ...]:
    """The first seven arguments of the kernels, the samples in that order."""
    return (
        taken(features, order),
        bank.contiguous(),
        filled.contiguous().view(torch.int8),
        filled.any(1).view(torch.int8),
        taken(targets, order),
        class_cameras,
        taken(cameras, order),
    )


def _constants(cameras: Tensor | None, tile: Tile, classes: int, slots: int) -> dict[str, Any]:
    return {
        "CAMERAS": cameras is not None,
        "M": tile.samples,
        "C": classes,
        "S": slots,
        "BLOCK_D": tile.features,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
        "enable_fp_fusion": True,
    }


def _specs(name: str, dtype: torch.dtype) -> list[KernelSpec]:
    tile = _TILES[dtype]
    c, s = slot_tiling(32, tile)
    inputs = {
        "features_ptr": f"*{name}:16",
        "bank_ptr": f"*{name}:16",
        "filled_ptr": "*i8:16",
        "stored_ptr": "*i8:16",
        **dict.fromkeys(("targets_ptr", "class_cameras_ptr", "cameras_ptr"), "*i64:16"),
    }
    sizes = {"count": "i32", "classes": "i32", "slots": "i32", "dim": "i32:16"}
    constants: dict[str, Any] = {
        "CAMERAS": True,
        "M": tile.samples,
        "C": c,
        "S": s,
        "BLOCK_D": tile.features,
    }
    resources: dict[str, Any] = {"num_warps": tile.warps, "num_stages": tile.stages}
    return [
        KernelSpec(
            f"instance_infonce_lse_{name}_32",
            lse_kernel,
            {
                **inputs,
                "sums_ptr": "*fp32:16",
                **sizes,
                "classes_per_split": "i32",
                "scale": "fp32",
            },
            constants,
            **resources,
        ),
        KernelSpec(
            f"instance_infonce_weights_{name}_32",
            weights_kernel,
            {
                **inputs,
                **{"lse_ptr": "*fp32:16", "weights_ptr": "*fp32:16", "chosen_ptr": "*i32:16"},
                **sizes,
                **{"first": "i32", "slab": "i32", "scale": "fp32"},
            },
            constants,
            **resources,
        ),
        KernelSpec(
            f"instance_infonce_gather_{name}",
            gather_kernel,
            {
                **{"weights_ptr": "*fp32:16", "chosen_ptr": "*i32:16", "bank_ptr": f"*{name}:16"},
                **{"factor_ptr": "*fp32:16", "sums_ptr": "*fp32:16"},
                "gradient_ptr": f"*{name}:16",
                **{"classes": "i32", "slots": "i32", "dim": "i32:16"},
                **{"first": "i32", "slab": "i32"},
            },
            {"FRESH": False, "LAST": False, "C": _GATHER_CLASSES, "F": _GATHER_FEATURES},
        ),
    ]


AOT_KERNELS = [
    spec
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    for spec in _specs(name, dtype)
]
AOT_KERNELS.append(
    KernelSpec(
        "instance_infonce_merge",
        merge_kernel,
        {
            **{"sums_ptr": "*fp32:16", "loss_ptr": "*fp32:16", "lse_ptr": "*fp32:16"},
            **{"counted_ptr": "*i8:16", "count": "i32", "split_count": "i32"},
        },
        {"M": 128},
    )
)
