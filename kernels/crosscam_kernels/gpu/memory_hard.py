"""`memory_infonce` with hard negatives on a GPU: plans and launches `_memory_hard_kernels`.

The backward pass touches only the chosen rows and the positives.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from crosscam_kernels.aot import KernelSpec
from crosscam_kernels.gpu._infonce import CAMERA_RULES, splits
from crosscam_kernels.gpu._memory_hard_kernels import (
    gather_kernel,
    merge_hard_kernel,
    select_kernel,
)

_SAMPLES, _ROWS = 16, 64
_FEATURES = {torch.float32: 16, torch.float16: 32, torch.bfloat16: 32}
_WARPS = {torch.float32: 8, torch.float16: 4, torch.bfloat16: 4}
_SCAN = 512  # labels looked at in one step of the backward pass
_WIDTH = 1024  # features that one program of the backward pass makes
_GATHER_WARPS = 8  # four features for each thread: with more it spills


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
    count, dim = features.shape
    rows = bank.shape[0]
    loss = features.new_zeros((count,), dtype=torch.float32)
    lse = torch.zeros_like(loss)
    positive_count = torch.zeros_like(loss, dtype=torch.int64)
    allowed_count = torch.zeros_like(positive_count)
    negatives = positive_count.new_full((count, hard_negatives), -1)
    if count == 0 or rows == 0:
        return loss, lse, positive_count, allowed_count, negatives
    k = min(hard_negatives, rows)
    length = triton.next_power_of_2(max(k, 1))
    sample_tiles, row_tiles = triton.cdiv(count, _SAMPLES), triton.cdiv(rows, _ROWS)
    # A range much longer than the list keeps the number of insertions small.
    split_count = min(splits(row_tiles, sample_tiles), max(1, rows // (8 * length)), 16)
    rows_per_split = triton.cdiv(row_tiles, split_count) * _ROWS
    split_count = triton.cdiv(rows, rows_per_split)
    sums = loss.new_empty((3, split_count, count))
    counts = loss.new_empty((split_count, count), dtype=torch.int32)
    keys = positive_count.new_empty((count, split_count, length))
    chosen = negatives if k == hard_negatives else negatives.new_empty((count, k))
    with torch.cuda.device_of(features):
        select_kernel[(sample_tiles, split_count)](
            features.contiguous(),
            bank.contiguous(),
            targets,
            labels,
            cameras,
            bank_cameras,
            sums,
            counts,
            keys,
            count,
            rows,
            dim,
            rows_per_split,
            1.0 / temperature,
            k,
            LABELS=labels is not None,
            CANDIDATES=CAMERA_RULES[candidates],
            POSITIVES=CAMERA_RULES[positives],
            LIST=length,
            M=_SAMPLES,
            R=_ROWS,
            BLOCK_D=_FEATURES[features.dtype],
            num_warps=_WARPS[features.dtype],
            num_stages=3,
            enable_fp_fusion=True,
        )
        merge_hard_kernel[(count,)](
            sums,
            counts,
            keys,
            loss,
            lse,
            positive_count,
            allowed_count,
            chosen,
            count,
            split_count,
            k,
            1.0 / temperature,
            float(label_smoothing),
            LIST=length,
            KEYS=triton.next_power_of_2(split_count * length),
            num_warps=4,
            enable_fp_fusion=True,
        )
    if k != hard_negatives:
        negatives[:, :k] = chosen
    return loss, lse, positive_count, allowed_count, negatives


def backward(
    features: Tensor,
    bank: Tensor,
    targets: Tensor,
    labels: Tensor | None,
    cameras: Tensor | None,
    bank_cameras: Tensor | None,
    candidates: str,
    positives: str,
    negatives: Tensor,
    lse: Tensor,
    pull: Tensor,
    smooth: Tensor,
    factor: Tensor,
    scale: float,
) -> Tensor:
    """Launches the backward pass with the coefficients that `gpu.memory.backward` prepared."""
    count, dim = features.shape
    gradient = torch.empty((count, dim), dtype=features.dtype, device=features.device)
    width = min(_WIDTH, triton.next_power_of_2(dim))
    with torch.cuda.device_of(features):
        gather_kernel[(count, triton.cdiv(dim, width))](
            features.contiguous(),
            bank.contiguous(),
            targets,
            labels,
            cameras,
            bank_cameras,
            negatives.contiguous(),
            lse,
            pull,
            smooth,
            factor,
            gradient,
            bank.shape[0],
            dim,
            negatives.shape[1],
            scale,
            LABELS=labels is not None,
            CANDIDATES=CAMERA_RULES[candidates],
            POSITIVES=CAMERA_RULES[positives],
            SCAN=_SCAN,
            WIDTH=width,
            num_warps=_GATHER_WARPS,
            enable_fp_fusion=True,
        )
    return gradient


_COLUMNS = dict.fromkeys(
    ("targets_ptr", "labels_ptr", "cameras_ptr", "bank_cameras_ptr"), "*i64:16"
)
_NAMES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_RULES = {"LABELS": True, "CANDIDATES": 0, "POSITIVES": CAMERA_RULES["exclude_same"]}

AOT_KERNELS = [
    spec
    for name in _NAMES
    for spec in (
        KernelSpec(
            f"memory_infonce_select_{name}_64",
            select_kernel,
            {
                "features_ptr": f"*{name}:16",
                "bank_ptr": f"*{name}:16",
                **_COLUMNS,
                **{"sums_ptr": "*fp32:16", "counts_ptr": "*i32:16", "keys_ptr": "*i64:16"},
                **{"count": "i32", "rows": "i32", "dim": "i32:16", "rows_per_split": "i32:16"},
                **{"scale": "fp32", "k": "i32"},
            },
            {**_RULES, "LIST": 64, "M": _SAMPLES, "R": _ROWS, "BLOCK_D": _FEATURES[_NAMES[name]]},
            num_warps=_WARPS[_NAMES[name]],
        ),
        KernelSpec(
            f"memory_infonce_gather_{name}",
            gather_kernel,
            {
                "features_ptr": f"*{name}:16",
                "bank_ptr": f"*{name}:16",
                **_COLUMNS,
                "negatives_ptr": "*i64:16",
                **dict.fromkeys(("lse_ptr", "pull_ptr", "smooth_ptr", "factor_ptr"), "*fp32:16"),
                "gradient_ptr": f"*{name}:16",
                **{"rows": "i32", "dim": "i32:16", "k": "i32", "scale": "fp32"},
            },
            {**_RULES, "SCAN": _SCAN, "WIDTH": _WIDTH},
            num_warps=_GATHER_WARPS,
        ),
    )
]
AOT_KERNELS.append(
    KernelSpec(
        "memory_infonce_merge_hard_64",
        merge_hard_kernel,
        {
            **{"sums_ptr": "*fp32:16", "counts_ptr": "*i32:16", "keys_ptr": "*i64:16"},
            **{"loss_ptr": "*fp32:16", "lse_ptr": "*fp32:16"},
            **dict.fromkeys(
                ("positive_count_ptr", "allowed_count_ptr", "negatives_ptr"), "*i64:16"
            ),
            **{"count": "i32", "split_count": "i32", "k": "i32"},
            **{"scale": "fp32", "smoothing": "fp32"},
        },
        {"LIST": 64, "KEYS": 1024},
    )
)
