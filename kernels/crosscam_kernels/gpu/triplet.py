"""Batch-hard mining on the GPU: `search`, `reduce_losses` and `gradient` in five launches.

    prepare  one program per row: square norms; empty keys
    search   tiles of anchors x candidates: products, masks, hardest of each row of the tile
    finish   one program per anchor: distances of the chosen pairs, loss and slope
    reduce   one program: the loss of the batch (a reduction other than "none" only)
    gradient one program per row of the gradient

With candidates of their own, "prepare" and "gradient" run once for either side.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from crosscam_kernels.aot import KernelSpec
from crosscam_kernels.gpu._triplet_kernels import (
    finish_kernel,
    gradient_kernel,
    prepare_kernel,
    reduce_kernel,
    search_kernel,
)

RULES = {"any": 0, "same_camera": 1, "cross_camera": 2}
METRICS = {"euclidean": 0, "squared_euclidean": 1, "cosine": 2}


class Tile(NamedTuple):
    """A fixed configuration of the search kernel."""

    anchors: int
    candidates: int
    depth: int
    warps: int
    stages: int
    architectures: tuple[str, ...] = ()
    """Where it compiles without spills; empty for everywhere (`AOT_KERNELS` below)."""


# By bytes of an element; the last that fits the device is for many anchors, the first for few.
TILES = {
    2: (
        Tile(64, 64, 64, 8, 3),
        Tile(64, 128, 64, 8, 3, ("sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_120")),
    ),
    4: (Tile(64, 64, 32, 8, 3), Tile(64, 128, 32, 8, 3, ("sm_90",))),
}
MANY_ANCHORS = 2048
PRECISION = "tf32x3"  # of products of float32: three of tensor cores come near one in float32
PROGRAMS_PER_PROCESSOR = 2
SCAN = 1024  # indices a gradient program looks at together
WARP_LANES = 32


class Rows(NamedTuple):
    """Anchors and candidates, ready for the kernels."""

    anchors: Tensor
    candidates: Tensor
    own: bool
    """The candidates are the anchors."""


class Found(NamedTuple):
    """What `search` returns; `loss` and `weights` are empty unless a loss was asked for."""

    positive_distance: Tensor
    negative_distance: Tensor
    positive_index: Tensor
    negative_index: Tensor
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
        made(count, dtype=torch.float32),
        made(count, dtype=torch.float32),
        made(count, dtype=torch.int32),
        made(count, dtype=torch.int32),
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
                PRECISION=PRECISION, BLOCK_A=tile.anchors, BLOCK_C=tile.candidates,
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
    positive_distance: Tensor,
    negative_distance: Tensor,
    positive_index: Tensor,
    negative_index: Tensor,
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
        positive_distance: (N,) float32.
        negative_distance: (N,) float32.
        positive_index: (N,) int32.
        negative_index: (N,) int32.
        weights: (2, N) float32.
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
                positive_distance, negative_distance, positive_index, negative_index,
                weights.contiguous(), grad.contiguous(), scale, out, count, dim,
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
    made: list[Tensor] = []
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
    few, many = TILES[anchors.element_size()]
    fits = _architecture(anchors.device) in many.architectures
    return many if fits and len(anchors) >= MANY_ANCHORS else few


def _splits(anchors: int, candidates: int, tile: Tile, processors: int) -> tuple[int, int]:
    """Into how many parts the candidates are split, and how many tiles each has."""
    tiles = triton.cdiv(candidates, tile.candidates)
    wanted = triton.cdiv(PROGRAMS_PER_PROCESSOR * processors, triton.cdiv(anchors, tile.anchors))
    per_split = triton.cdiv(tiles, min(wanted, tiles))
    return triton.cdiv(tiles, per_split), per_split


def _warps(block: int) -> int:
    return min(max(block // (WARP_LANES * 8), 1), 32)


@functools.cache
def _architecture(device: torch.device) -> str:
    if device.type != "cuda":
        return "sm_90"  # the interpreter
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device))


@functools.cache
def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 8  # the interpreter
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _on(device: torch.device) -> Any:
    return torch.cuda.device(device if device.type == "cuda" else -1)


def _aot_kernels() -> list[KernelSpec]:
    """All kernels as `triplet_loss` launches them, for rows whose D is a multiple of 16."""
    types = {
        **dict.fromkeys(("anchors", "candidates", "rows", "out"), ""),
        **dict.fromkeys(("anchor_stride", "candidate_stride", "stride", "dim"), "i32:16"),
        **dict.fromkeys(("count", "anchor_count", "candidate_count", "tiles_per_split"), "i32"),
        **dict.fromkeys(("anchor_label", "anchor_camera", "self_index"), "*i64:16"),
        **dict.fromkeys(("candidate_label", "candidate_camera", "keys"), "*i64:16"),
        **dict.fromkeys(("positive_index", "negative_index"), "*i32:16"),
        "margin": "fp32",
    }

    def spec(
        name: str,
        fn: Any,
        dtype: str,
        warps: int,
        stages: int = 3,
        architectures: tuple[str, ...] = (),
        **fixed: Any,
    ) -> KernelSpec:
        arguments = [name for name in fn.arg_names if name not in fixed]
        rows = f"*{dtype}:16"
        return KernelSpec(
            name=f"batch_hard_{name}",
            fn=fn,
            signature={name: types.get(name, "*fp32:16") or rows for name in arguments},
            constexprs=fixed,
            num_warps=warps,
            num_stages=stages,
            architectures=architectures,
        )

    made = [
        spec(
            f"search_{dtype}_{tile.anchors}x{tile.candidates}",
            search_kernel,
            dtype,
            tile.warps,
            tile.stages,
            tile.architectures,
            COSINE=False,
            POSITIVES=RULES["cross_camera"],
            NEGATIVES=RULES["same_camera"],
            OWN=True,
            SELF=False,
            PRECISION=PRECISION,
            BLOCK_A=tile.anchors,
            BLOCK_C=tile.candidates,
            BLOCK_D=tile.depth,
        )
        for dtype, size in (("fp16", 2), ("bf16", 2), ("fp32", 4))
        for tile in TILES[size]
    ]
    made.append(spec("reduce", reduce_kernel, "fp32", 4, ACTIVE=False, BLOCK=1024))
    for dtype, block in (("fp16", 1024), ("fp32", 1024)):
        warps = _warps(block)
        metric = METRICS["euclidean"]
        made += [
            spec(f"prepare_{dtype}", prepare_kernel, dtype, warps,
                 COSINE=False, KEYS=True, BLOCK=block),
            spec(f"finish_{dtype}", finish_kernel, dtype, warps,
                 METRIC=metric, LOSS=1, BLOCK=block),
            spec(f"gradient_{dtype}", gradient_kernel, dtype, warps,
                 METRIC=metric, EACH=False, ANCHOR=True, CHOSEN=True, SCAN=SCAN, BLOCK=block),
        ]  # fmt: skip
    return made


AOT_KERNELS = _aot_kernels()
