"""Tactic "chunks": matrix product of a part of the gallery, then selection; any k.

The usual way, and the baseline of the other two. cuBLAS makes the product of 16-bit features with
sums in float32; float32 and int8 go through our own kernel, because torch may be set to TF32 and
its int8 product restricts shapes. One part's similarities are in memory at a time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from crosscam_kernels.gpu.similarity_groups import group_maxima
from crosscam_kernels.gpu.similarity_keys import EMPTY, pack_keys, unpack_keys
from crosscam_kernels.gpu.similarity_problem import Problem
from crosscam_kernels.gpu.similarity_tile import VARYING, mask_tile

CHUNK_BYTES = 512 << 20  # of float32 similarities
MIN_CHUNK = 1024
KEY_ROWS, KEY_COLUMNS = 4, 256


@triton.jit(do_not_specialize=[*VARYING, "query_blocks", "first_row"])
def key_kernel(
    values,
    keys,
    valid,
    query_camera,
    gallery_camera,
    adjacency,
    query_time,
    gallery_time,
    query_count: tl.int32,
    gallery_count: tl.int64,
    camera_rows: tl.int32,
    camera_words: tl.int32,
    window_low: tl.int64,
    window_high: tl.int64,
    unbounded: tl.int32,
    query_blocks: tl.int32,
    first_row: tl.int64,
    RULE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """(Q, G) float32 similarities to keys of rows numbered from `first_row`, masked."""
    query = (tl.program_id(0) % query_blocks) * BM + tl.arange(0, BM)
    query_inside = query < query_count
    row = (tl.program_id(0) // query_blocks).to(tl.int64) * BN + tl.arange(0, BN)
    inside = query_inside[:, None] & (row < gallery_count)[None, :]
    at = query.to(tl.int64)[:, None] * gallery_count + row[None, :]
    similarity = mask_tile(
        tl.load(values + at, mask=inside, other=0.0), query, query_inside, row,
        row < gallery_count, valid, query_camera, gallery_camera, adjacency, camera_rows,
        camera_words, query_time, gallery_time, window_low, window_high, unbounded, RULE,
    )  # fmt: skip
    index = tl.broadcast_to((first_row + row)[None, :], (BM, BN))
    key = tl.where(similarity > -float("inf"), pack_keys(similarity, index), EMPTY)
    tl.store(keys + at, key, mask=inside)


@triton.jit(do_not_specialize=["count"])
def unpack_kernel(keys, similarity, index, count: tl.int64, BLOCK: tl.constexpr):
    """Keys to what they hold."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    found, row = unpack_keys(tl.load(keys + at, mask=inside, other=EMPTY))
    tl.store(similarity + at, found, mask=inside)
    tl.store(index + at, row, mask=inside)


def products(
    problem: Problem, *, bm: int, bn: int, bd: int, num_warps: int, num_stages: int
) -> torch.Tensor:
    """(Q, G) float32 inner products; masks may or may not have been applied."""
    if problem.queries.dtype in (torch.float16, torch.bfloat16) and problem.queries.is_cuda:
        return torch.mm(problem.queries, problem.gallery.T, out_dtype=torch.float32)
    return group_maxima(
        problem, group=1, bm=bm, bn=bn, bd=bd, num_warps=num_warps, num_stages=num_stages
    )


def masked_keys(problem: Problem, values: torch.Tensor, first_row: int) -> torch.Tensor:
    """(Q, G) int64 keys of the allowed pairs of `values`, `EMPTY` elsewhere."""
    keys = torch.empty(values.shape, dtype=torch.int64, device=values.device)
    query_blocks = triton.cdiv(problem.query_count, KEY_ROWS)
    key_kernel[(query_blocks * triton.cdiv(problem.gallery_count, KEY_COLUMNS),)](
        values,
        keys,
        query_count=problem.query_count,
        gallery_count=problem.gallery_count,
        query_blocks=query_blocks,
        first_row=first_row,
        BM=KEY_ROWS,
        BN=KEY_COLUMNS,
        num_warps=4,
        num_stages=2,
        enable_fp_fusion=True,
        **problem.masks(),
    )
    return keys


def chunks_topk(
    problem: Problem, k: int, *, bm: int, bn: int, bd: int, num_warps: int, num_stages: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best k of each query, part of the gallery by part, for any k.

    Args:
        problem: Queries, gallery and masks on one device.
        k: Results per query.
        bm: Queries of a tile of our own product.
        bn: Gallery rows of a tile.
        bd: Features of a step.
        num_warps: Warps of a program.
        num_stages: Depth of the load pipeline.
    """
    queries, count = problem.query_count, problem.gallery_count
    step = max(CHUNK_BYTES // (4 * queries), MIN_CHUNK)
    best = torch.empty(queries, 0, dtype=torch.int64, device=problem.queries.device)
    for start in range(0, count, step):
        part = problem.of_rows(start, min(start + step, count))
        values = products(part, bm=bm, bn=bn, bd=bd, num_warps=num_warps, num_stages=num_stages)
        keys = masked_keys(part, values, start)
        del values
        # Keys are distinct, so that torch's order of ties does not matter; EMPTY ones are alike.
        largest = torch.topk(keys, min(k, keys.shape[1])).values
        both = torch.cat([best, largest], dim=1)
        best = torch.topk(both, min(k, both.shape[1])).values
    padded = torch.full((queries, k), EMPTY.value, dtype=torch.int64, device=best.device)
    padded[:, : best.shape[1]] = best
    similarity = torch.empty(queries, k, dtype=torch.float32, device=best.device)
    index = torch.empty_like(padded)
    unpack_kernel[(triton.cdiv(padded.numel(), 1024),)](
        padded, similarity, index, padded.numel(), 1024, num_warps=4
    )
    return similarity, index
