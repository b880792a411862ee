"""Tactic "groups": exact top-k in two phases, for many queries.

With many queries the matrix product is the cost, and an insertion per tile would stall it. So its
epilogue writes no more than the largest similarity of each group of L neighbouring gallery rows::

      gallery  |<- L ->|<- L ->|<- L ->| ...              phase 1: product, masks, maximum of L
      queries  |  max  |  max  |  max  | ...   (Q, G / L)
                          |
               the k groups with the largest maximum, ties to the smaller group
                          |
               their k * L rows computed once more, masked, sorted           phase 2

Exactness. Let x be one of the k best rows of a query, in group A. A group that is preferred to A
has a maximum that is larger than A's, or equal with a smaller group number; in both cases it holds
a row that is preferred to x, because groups are numbered in the order of their rows. Different
groups hold different rows, and fewer than k rows are preferred to x, so fewer than k groups are
preferred to A: A is among the k selected, and x is found when A is computed once more.

Both phases sum in float32, but in different orders: where two rows differ by less than that
rounding, they may change places, as between any two matrix products. Equal rows get equal sums in
each phase, so exact ties are kept.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from crosscam_kernels.gpu.similarity_keys import EMPTY, empty_lists, insert_best, pack_keys
from crosscam_kernels.gpu.similarity_problem import Problem
from crosscam_kernels.gpu.similarity_stream import merge
from crosscam_kernels.gpu.similarity_tile import VARYING, mask_tile, tile_similarity

GROUP_BYTES = 512 << 20  # queries are taken in parts so that the maxima fit into this
SELECT_ROWS, SELECT_COLUMNS = 4, 256
SELECT_SPAN = 16_384  # maxima that one program of the selection walks
RESCORE_ROWS, RESCORE_FEATURES = 32, 128


@triton.jit(do_not_specialize=[*VARYING, "query_blocks", "groups"])
def group_max_kernel(
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
    groups: tl.int64,
    maxima,
    RULE: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    EVEN_D: tl.constexpr,
):
    """Writes (Q, groups) float32: the largest allowed similarity of each group, -inf for none."""
    # All query blocks of a tile run together: its rows come from the L2 cache but once.
    block = tl.program_id(0) % query_blocks
    tile = (tl.program_id(0) // query_blocks).to(tl.int64)
    query = block * BM + tl.arange(0, BM)
    query_inside = query < query_count
    first = tile * BN
    row = first + tl.arange(0, BN)
    similarity = tile_similarity(
        queries, gallery, query_scale, gallery_scale, tl.minimum(query, query_count - 1), first,
        gallery_count, dim, query_stride, gallery_stride, BM, BN, BD, EVEN_D,
    )  # fmt: skip
    similarity = mask_tile(
        similarity, query, query_inside, row, row < gallery_count, valid, query_camera,
        gallery_camera, adjacency, camera_rows, camera_words, query_time, gallery_time, window_low,
        window_high, unbounded, RULE,
    )  # fmt: skip
    largest = similarity
    if L > 1:
        largest = tl.max(tl.reshape(similarity, (BM, BN // L, L)), axis=2)
    group = tile * (BN // L) + tl.arange(0, BN // L)
    to = maxima + query.to(tl.int64)[:, None] * groups + group[None, :]
    tl.store(to, largest, mask=query_inside[:, None] & (group < groups)[None, :])


@triton.jit(do_not_specialize=["query_count", "count", "splits", "columns_per_split"])
def select_kernel(
    values,
    query_count: tl.int32,
    count: tl.int64,
    splits: tl.int32,
    columns_per_split: tl.int64,
    keys,
    K: tl.constexpr,
    SLOTS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Writes (Q, splits, K) keys: the best columns of each part of (Q, count) values, unsorted."""
    split = tl.program_id(0) % splits
    query = (tl.program_id(0) // splits) * BM + tl.arange(0, BM)
    query_inside = query < query_count
    start = split.to(tl.int64) * columns_per_split
    stop = tl.minimum(start + columns_per_split, count)
    lists = empty_lists(BM, SLOTS, K)
    kth = tl.full((BM,), EMPTY, tl.int64)
    floor = kth
    from_row = values + query.to(tl.int64)[:, None] * count
    first = start
    for _ in range(0, tl.cdiv(stop - start, BN).to(tl.int32)):
        column = first + tl.arange(0, BN)
        inside = query_inside[:, None] & (column < stop)[None, :]
        found = tl.load(from_row + column[None, :], mask=inside, other=-float("inf"))
        lists, kth = insert_best(found, first, lists, kth, floor, BN, SLOTS)
        first += BN
    slots = tl.arange(0, SLOTS)
    to = (query.to(tl.int64)[:, None] * splits + split) * K + slots[None, :]
    tl.store(keys + to, lists, mask=query_inside[:, None] & (slots < K)[None, :])


@triton.jit(do_not_specialize=[*VARYING, "picks", "blocks"])
def rescore_kernel(
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
    picked,
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
    picks: tl.int32,
    blocks: tl.int32,
    keys,
    RULE: tl.constexpr,
    L: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
):
    """Writes (Q, picks * L) keys of the rows of each query's picked groups; -1 picks nothing."""
    query = tl.program_id(0) // blocks + tl.zeros((1,), tl.int32)
    at = (tl.program_id(0) % blocks) * BN + tl.arange(0, BN)
    pick_inside = at < picks * L
    from_pick = query.to(tl.int64) * picks + at // L
    group = tl.load(picked + from_pick, mask=pick_inside, other=-1)
    row = group * L + at % L
    row_inside = (group >= 0) & (row < gallery_count)
    feature = tl.arange(0, BD)
    query_at = queries + query.to(tl.int64)[:, None] * query_stride + feature[None, :]
    gallery_at = gallery + row[:, None] * gallery_stride + feature[None, :]
    total = tl.zeros((BN, BD), tl.float32)
    for start in range(0, dim, BD):
        inside = (feature < dim - start)[None, :]
        a = tl.load(query_at + start, mask=inside, other=0).to(tl.float32)
        b = tl.load(gallery_at + start, mask=inside & row_inside[:, None], other=0).to(tl.float32)
        total += a * b
    similarity = tl.sum(total, axis=1)
    if query_scale is not None:
        of_gallery = tl.load(gallery_scale + row, mask=row_inside, other=0)
        similarity = (similarity * tl.load(query_scale + query)) * of_gallery
    similarity = mask_tile(
        similarity[None, :], query, query < query_count, row, row_inside, valid, query_camera,
        gallery_camera, adjacency, camera_rows, camera_words, query_time, gallery_time, window_low,
        window_high, unbounded, RULE,
    )  # fmt: skip
    similarity = tl.reshape(similarity, (BN,))
    key = tl.where(similarity > -float("inf"), pack_keys(similarity, row), EMPTY)
    tl.store(keys + query.to(tl.int64) * picks * L + at, key, mask=pick_inside)


def group_maxima(
    problem: Problem, *, group: int, bm: int, bn: int, bd: int, num_warps: int, num_stages: int
) -> torch.Tensor:
    """(Q, ceil(G / group)) float32 of `group_max_kernel`; all similarities where `group` is 1."""
    groups = triton.cdiv(problem.gallery_count, group)
    maxima = torch.empty(
        problem.query_count, groups, dtype=torch.float32, device=problem.queries.device
    )
    query_blocks = triton.cdiv(problem.query_count, bm)
    group_max_kernel[(query_blocks * triton.cdiv(problem.gallery_count, bn),)](
        **problem.operands(),
        **problem.masks(),
        maxima=maxima,
        query_blocks=query_blocks,
        groups=groups,
        L=group,
        BM=bm,
        BN=bn,
        BD=bd,
        EVEN_D=problem.dim % bd == 0,
        num_warps=num_warps,
        num_stages=num_stages,
        enable_fp_fusion=True,
    )
    return maxima


def select(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k <= 64 largest of each row of (Q, N) float32 without NaN, ties to the smaller column."""
    queries, count = values.shape
    splits = max(triton.cdiv(count, SELECT_SPAN), 1)
    keys = torch.empty(queries, splits * k, dtype=torch.int64, device=values.device)
    select_kernel[(triton.cdiv(queries, SELECT_ROWS) * splits,)](
        values, queries, count, splits, SELECT_SPAN, keys, k, triton.next_power_of_2(k),
        SELECT_ROWS, SELECT_COLUMNS, num_warps=4, num_stages=2, enable_fp_fusion=True,
    )  # fmt: skip
    return merge(keys, k)


def rescore_topk(
    problem: Problem, picked: torch.Tensor, group: int, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best k rows of the picked groups, each computed once more from `problem`.

    Args:
        problem: Queries, gallery and masks; need not be those that picked.
        picked: (Q, P) int64 distinct groups of `group` neighbouring rows, -1 for none.
        group: Rows of a group, a power of two up to `RESCORE_ROWS`.
        k: Results per query, 1 to 64.
    """
    picks = picked.shape[1]
    keys = torch.empty(problem.query_count, picks * group, dtype=torch.int64, device=picked.device)
    blocks = triton.cdiv(picks * group, RESCORE_ROWS)
    rescore_kernel[(problem.query_count * blocks,)](
        **problem.operands(),
        **problem.masks(),
        picked=picked,
        keys=keys,
        picks=picks,
        blocks=blocks,
        L=group,
        BN=RESCORE_ROWS,
        BD=RESCORE_FEATURES,
        num_warps=4,
        num_stages=2,
        enable_fp_fusion=True,
    )
    return merge(keys, k)


def groups_topk(
    problem: Problem, k: int, *, group: int, bm: int, bn: int, bd: int, num_warps: int,
    num_stages: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The best k of each query by group maxima; see the module's docstring.

    Args:
        problem: Queries, gallery and masks on one device.
        k: Results per query, 1 to 64.
        group: L, rows of a group: a power of two up to 32 that divides `bn`.
        bm: Queries of a tile.
        bn: Gallery rows of a tile.
        bd: Features of a step of the product.
        num_warps: Warps of a program.
        num_stages: Depth of the load pipeline.
    """
    row_bytes = 4 * triton.cdiv(problem.gallery_count, group)
    step = max(GROUP_BYTES // row_bytes // bm, 1) * bm
    parts = []
    for start in range(0, problem.query_count, step):
        part = problem.of_queries(start, min(start + step, problem.query_count))
        maxima = group_maxima(
            part, group=group, bm=bm, bn=bn, bd=bd, num_warps=num_warps, num_stages=num_stages
        )
        _, picked = select(maxima, k)
        del maxima
        parts.append(rescore_topk(part, picked, group, k))
    if len(parts) == 1:
        return parts[0]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
