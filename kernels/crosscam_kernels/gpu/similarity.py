"""`similarity_topk` on a GPU: the choice of a tactic, and int8 galleries with exact rescoring.

Nothing here waits for the device, so that a search can be captured into a CUDA graph.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from crosscam_kernels.gpu.quantise import quantise_rows
from crosscam_kernels.gpu.similarity_chunks import chunks_topk
from crosscam_kernels.gpu.similarity_groups import groups_topk, rescore_topk
from crosscam_kernels.gpu.similarity_problem import Problem, dense_rows
from crosscam_kernels.gpu.similarity_stream import stream_topk
from crosscam_kernels.gpu.similarity_table import MAX_K, Device, Plan, choose

OVERSAMPLE = 2  # candidates of an int8 pass for each result


def similarity_topk(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    *,
    scale: Tensor | None = None,
    rescore: Tensor | None = None,
    valid: Tensor | None = None,
    query_camera: Tensor | None = None,
    gallery_camera: Tensor | None = None,
    camera_rule: str = "any",
    adjacency: Tensor | None = None,
    query_time: Tensor | None = None,
    gallery_time: Tensor | None = None,
    window: tuple[int | None, int | None] = (None, None),
    plan: Plan | None = None,
) -> tuple[Tensor, Tensor]:
    """The best k gallery rows of each query; the arguments of the public function, checked.

    float32 queries of a 16-bit gallery are rounded to its type, which is what the matrix units
    take.

    Args:
        queries: (Q, D) float32, float16 or bfloat16.
        gallery: (G, D) float32, float16, bfloat16 or int8.
        k: Results per query.
        scale: (G,) float32 of an int8 gallery.
        rescore: (G, D) rows that an int8 gallery was made from: the ``2 k`` best of the int8 pass
            are compared once more with these.
        valid: (G,) bool.
        query_camera: (Q,) integers.
        gallery_camera: (G,) integers.
        camera_rule: ``"any"``, ``"exclude_same"`` or ``"only_same"``.
        adjacency: (A, B) bool or its uint64 bitset.
        query_time: (Q,) integers.
        gallery_time: (G,) integers.
        window: Bounds of query time - gallery time; None is unbounded.
        plan: How; None for the table's choice.

    Returns:
        Similarity (Q, k) float32 and index (Q, k) int64, padded with -inf and -1.
    """
    problem = Problem(
        dense_rows(queries.to(gallery.dtype) if scale is None else queries),
        dense_rows(gallery),
        valid=None if valid is None else valid.contiguous().view(torch.uint8),
        query_camera=cameras(query_camera),
        gallery_camera=cameras(gallery_camera),
        rule=camera_rule,
        adjacency=None if adjacency is None else adjacency_words(adjacency),
        query_time=None if query_time is None else query_time.to(torch.int64).contiguous(),
        gallery_time=None if gallery_time is None else gallery_time.to(torch.int64).contiguous(),
        window=window,
    )
    if 0 in (problem.query_count, problem.gallery_count, k):
        shape = (problem.query_count, k)
        return (
            torch.full(shape, -torch.inf, dtype=torch.float32, device=queries.device),
            torch.full(shape, -1, dtype=torch.int64, device=queries.device),
        )
    with torch.cuda.device_of(queries):  # Triton launches on the current device
        if scale is None:
            return search(problem, k, plan)
        codes, code_scale = quantise_rows(problem.queries)
        coarse = replace(
            problem, queries=codes, query_scale=code_scale, gallery_scale=scale.contiguous()
        )
        if rescore is None:
            return search(coarse, k, plan)
        exact = replace(problem, gallery=dense_rows(rescore))
        candidates = min(OVERSAMPLE * k, problem.gallery_count)
        _, picked = search(coarse, candidates, plan)
        return rescore_topk(exact, picked, 1, k)


def search(problem: Problem, k: int, plan: Plan | None = None) -> tuple[Tensor, Tensor]:
    """The best k rows of each query of a problem without empty sides."""
    if plan is None:
        plan = choose(
            problem.query_count,
            problem.gallery_count,
            problem.dim,
            k,
            problem.gallery.dtype,
            device_of(problem.queries.device),
            heavy=problem.heavy_masks,
        )
    tile = plan.tile
    sizes = {"bm": tile.bm, "bn": tile.bn, "bd": tile.bd}
    launch = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    if plan.tactic == "stream":
        return stream_topk(problem, k, **sizes, **launch, splits=plan.splits, share=plan.share)
    if plan.tactic == "groups":
        return groups_topk(problem, k, **sizes, **launch, group=plan.group)
    return chunks_topk(problem, k, **sizes, **launch)


def cameras(values: Tensor | None) -> Tensor | None:
    """Camera numbers as int32 or int64; no value changes."""
    if values is None:
        return None
    wide = values if values.dtype in (torch.int32, torch.int64) else values.to(torch.int32)
    return wide.contiguous()


def adjacency_words(adjacency: Tensor) -> Tensor:
    """(A, W) int32 bitset: bit ``b % 32`` of word ``b // 32``: whether camera b may be matched."""
    if adjacency.dtype != torch.bool:
        return adjacency.contiguous().view(torch.int32)  # little-endian, as every GPU's host
    rows, columns = adjacency.shape
    padded = torch.nn.functional.pad(adjacency, (0, -columns % 32)).view(rows, -1, 32)
    bits = torch.arange(32, dtype=torch.int32, device=adjacency.device)
    return (padded.to(torch.int32) << bits).sum(-1, dtype=torch.int32)


@cache
def device_of(device: torch.device) -> Device:
    """What the table needs to know of a CUDA device."""
    properties = torch.cuda.get_device_properties(device)
    return Device((properties.major, properties.minor), properties.multi_processor_count)


__all__ = ["MAX_K", "OVERSAMPLE", "search", "similarity_topk"]
