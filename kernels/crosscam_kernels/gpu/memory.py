"""`memory_infonce` on a GPU: log-sum-exp and gradient over tiles, never the whole matrix.

Plans and launches the kernels of `_memory_kernels`; `memory_hard` does so with hard negatives.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from crosscam_kernels.aot import KernelSpec
from crosscam_kernels.gpu._infonce import (
    CAMERA_RULES,
    TILES,
    WEIGHT_SCALE,
    Tile,
    camera_order,
    put_back,
    splits,
    taken,
)
from crosscam_kernels.gpu._memory_kernels import (
    apply_kernel,
    finish_kernel,
    lse_kernel,
    merge_kernel,
    weights_kernel,
)

SLAB_WEIGHTS = 1 << 22  # weights in memory at one time in the backward pass
# Features that one program of the gradient makes.
_OUTPUT_FEATURES = {torch.float32: 64, torch.float16: 128, torch.bfloat16: 128}


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
