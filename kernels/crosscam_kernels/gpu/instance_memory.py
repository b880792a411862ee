"""`instance_infonce` on a GPU: segmented maximum and log-sum-exp in one pass over the instances.

Plans and launches the kernels of `_instance_memory_kernels`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import triton
from torch import Tensor

from crosscam_kernels.aot import KernelSpec
from crosscam_kernels.gpu._infonce import TILES, Tile, camera_order, put_back, splits, taken
from crosscam_kernels.gpu._instance_memory_kernels import (
    gather_kernel,
    lse_kernel,
    merge_kernel,
    weights_kernel,
)

SLAB_WEIGHTS = 1 << 21  # weights and slots in memory at one time in the backward pass
# The choice of a slot needs registers of its own.
_TILES = {**TILES, torch.float32: replace(TILES[torch.float32], rows=32)}
_GATHER_CLASSES, _GATHER_FEATURES = 16, 256


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
