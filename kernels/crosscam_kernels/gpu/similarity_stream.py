"""Tactic "stream": one pass over the gallery that keeps each query's best in registers.

For few queries the gallery's bytes are the cost: every row is read once. The gallery is split over
the programs; a program holds BM queries and walks its part in tiles of BN rows::

                 gallery rows  ->            split 0        |        split 1        | ...
               +----+----+----+----+----+----+----+----+----+----+----+----+----+----+
    BM queries | BN | BN | .. |                            |                          |
               +----+----+----+----+----+----+----+----+----+----+----+----+----+----+
                  |    per tile: product, masks, row maximum; insert while a row improves
                  v
           K best keys of (query, split)  --merge kernel-->  K best of each query, sorted

Programs share each query's k-th key through a 64-bit atomic maximum, so that a split need not find
k rows of its own before it skips the others. At any moment that key has k better or equal rows, so
a row pruned by it cannot be a result, however stale it is: the answer does not depend on timing.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from crosscam_kernels.gpu.similarity_keys import EMPTY, empty_lists, insert_best, unpack_keys
from crosscam_kernels.gpu.similarity_problem import Problem
from crosscam_kernels.gpu.similarity_tile import VARYING, mask_tile, tile_similarity

MERGE_BLOCK = 2048  # keys that one merge program holds in registers


@triton.jit(do_not_specialize=[*VARYING, "query_blocks", "splits", "rows_per_split"])
def stream_kernel(
    queries,
    gallery,
    query_scale,
    gallery_scale,
    valid,
    query_camera,
    gallery_camera,
    adjacency,
    query_time,
    gallery_time,
    shared_kth,
    query_count: tl.int32,
    gallery_count: tl.int64,
    dim,
    query_stride,
    gallery_stride,
    camera_rows: tl.int32,
    camera_words: tl.int32,
    window_low: tl.int64,
    window_high: tl.int64,
    unbounded: tl.int32,
    query_blocks: tl.int32,
    splits: tl.int32,
    rows_per_split: tl.int64,
    keys,
    K: tl.constexpr,
    SLOTS: tl.constexpr,
    RULE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    EVEN_D: tl.constexpr,
):
    """Writes (Q, splits, K) keys: the best of each query in each split, unsorted."""
    # Programs of one split run together, so that its rows come from the L2 cache but once.
    block = tl.program_id(0) % query_blocks
    split = tl.program_id(0) // query_blocks
    query = block * BM + tl.arange(0, BM)
    query_inside = query < query_count
    known_query = tl.minimum(query, query_count - 1)
    start = split.to(tl.int64) * rows_per_split
    stop = tl.minimum(start + rows_per_split, gallery_count)
    lists = empty_lists(BM, SLOTS, K)
    kth = tl.full((BM,), EMPTY, tl.int64)
    floor = kth
    first = start
    for _ in range(0, tl.cdiv(stop - start, BN).to(tl.int32)):
        row = first + tl.arange(0, BN)
        similarity = tile_similarity(
            queries, gallery, query_scale, gallery_scale, known_query, first, stop, dim,
            query_stride, gallery_stride, BM, BN, BD, EVEN_D,
        )  # fmt: skip
        similarity = mask_tile(
            similarity, query, query_inside, row, row < stop, valid, query_camera, gallery_camera,
            adjacency, camera_rows, camera_words, query_time, gallery_time, window_low,
            window_high, unbounded, RULE,
        )  # fmt: skip
        if shared_kth is not None:
            floor = tl.load(shared_kth + query, mask=query_inside, other=EMPTY, volatile=True)
        lists, kth = insert_best(similarity, first, lists, kth, floor, BN, SLOTS)
        if shared_kth is not None:
            tl.atomic_max(shared_kth + query, kth, mask=query_inside & (kth > floor))
        first += BN
    slots = tl.arange(0, SLOTS)
    to = (query.to(tl.int64)[:, None] * splits + split) * K + slots[None, :]
    tl.store(keys + to, lists, mask=query_inside[:, None] & (slots < K)[None, :])


@triton.jit(do_not_specialize=["count", "nodes"])
def merge_kernel(
    keys,
    count: tl.int32,
    nodes: tl.int32,
    merged,
    similarity,
    index,
    K: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The K largest of each BLOCK of a row's `count` keys, descending.

    With `merged`, writes (Q, nodes, K) keys for another round; else, with one node, the result.
    """
    query = tl.program_id(0).to(tl.int64)
    node = tl.program_id(1)
    at = node * BLOCK + tl.arange(0, BLOCK)
    held = tl.load(keys + query * count + at, mask=at < count, other=EMPTY)
    slots = tl.arange(0, SLOTS)
    best = tl.full((SLOTS,), EMPTY, tl.int64)
    for rank in range(K):
        largest = tl.max(held, axis=0)
        best = tl.where(slots == rank, largest, best)
        held = tl.where(held == largest, EMPTY, held)
    inside = slots < K
    if merged is not None:
        tl.store(merged + (query * nodes + node) * K + slots, best, mask=inside)
    else:
        best_similarity, best_index = unpack_keys(best)
        tl.store(similarity + query * K + slots, best_similarity, mask=inside)
        tl.store(index + query * K + slots, best_index, mask=inside)


def merge(keys: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorts out the best of each row of keys, in rounds of `MERGE_BLOCK` keys a program.

    Args:
        keys: (Q, N) int64 contiguous, distinct but for `EMPTY`.
        k: Results per row, 1 to 64.

    Returns:
        Similarity (Q, k) float32 and index (Q, k) int64.
    """
    queries = keys.shape[0]
    similarity = torch.empty(queries, k, dtype=torch.float32, device=keys.device)
    index = torch.empty(queries, k, dtype=torch.int64, device=keys.device)
    slots = triton.next_power_of_2(k)
    while True:
        count = keys.shape[1]
        block = min(MERGE_BLOCK, max(triton.next_power_of_2(count), 16))
        nodes = max(triton.cdiv(count, block), 1)
        merged = None if nodes == 1 else keys.new_empty(queries, nodes * k)
        merge_kernel[(queries, nodes)](
            keys, count, nodes, merged, similarity, index, k, slots, block,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
        if merged is None:
            return similarity, index
        keys = merged


def stream_topk(
    problem: Problem, k: int, *, bm: int, bn: int, bd: int, splits: int, share: bool,
    num_warps: int, num_stages: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The best k of each query; see the module's docstring for the parameters.

    Args:
        problem: Queries, gallery and masks on one device.
        k: Results per query, 1 to 64.
        bm: Queries of a program, at least 16.
        bn: Gallery rows of a tile.
        bd: Features of a step of the product.
        splits: Parts of the gallery, about; each gets a whole number of tiles.
        share: Whether the programs share the k-th keys.
        num_warps: Warps of a program.
        num_stages: Depth of the load pipeline.
    """
    query_blocks = triton.cdiv(problem.query_count, bm)
    tiles = max(triton.cdiv(problem.gallery_count, bn), 1)
    rows_per_split = triton.cdiv(tiles, min(splits, tiles)) * bn
    splits = max(triton.cdiv(problem.gallery_count, rows_per_split), 1)
    keys = torch.empty(
        problem.query_count, splits * k, dtype=torch.int64, device=problem.queries.device
    )
    shared = None
    if share and splits > 1:
        shared = torch.full_like(keys[:, 0], EMPTY.value, memory_format=torch.contiguous_format)
    stream_kernel[(query_blocks * splits,)](
        **problem.operands(),
        **problem.masks(),
        shared_kth=shared,
        keys=keys,
        query_blocks=query_blocks,
        splits=splits,
        rows_per_split=rows_per_split,
        K=k,
        SLOTS=triton.next_power_of_2(k),
        BM=bm,
        BN=bn,
        BD=bd,
        EVEN_D=problem.dim % bd == 0,
        num_warps=num_warps,
        num_stages=num_stages,
        enable_fp_fusion=True,
    )
    return merge(keys, k)
