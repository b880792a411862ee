"""Launches the kernels of `crosscam_kernels.gpu.retrieval` and makes ranks of what they count."""

from __future__ import annotations

import numpy as np
import torch
import triton
from torch import Tensor

from crosscam_kernels._retrieval_inputs import Labels
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.gpu.retrieval import (
    BLOCK_D,
    BLOCK_G,
    BLOCK_Q,
    WARPS,
    count_kernel,
    own_scores_kernel,
)

_SPLITS = 32  # parts of the gallery that are counted side by side for one block of queries


def count_ranks(
    query: Tensor, gallery: Tensor, labels: Labels, metric: str, max_pairs: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The figures of `RetrievalRanks` for tensors on one device.

    Args:
        query: (Q, D) float32.
        gallery: (G, D) float32.
        labels: Tensors on the same device; `valid` is bool.
        metric: ``"cosine"``, ``"euclidean"`` or ``"inner_product"``.
        max_pairs: Pairs of a query and a row of its identity that are held at a time, as far as
            possible; queries are split into groups by it.

    Raises:
        ShapeError: The gallery has 2^31 rows or more.
    """
    if len(gallery) >= 2**31:
        raise ShapeError(f"the gallery has {len(gallery)} rows", expected="fewer than 2^31")
    query, gallery = (t if t.stride(1) == 1 else t.contiguous() for t in (query, gallery))
    scale, bias = _affine(gallery, metric)
    valid = labels.valid
    if valid is None:
        valid = torch.ones(len(gallery), dtype=torch.bool, device=gallery.device)
    rows = torch.nonzero(valid).flatten()
    by_id = rows[torch.argsort(labels.gallery_id[rows], stable=True)]
    names = labels.gallery_id[by_id].contiguous()
    order = torch.argsort(labels.query_id, stable=True)
    wanted = labels.query_id[order].contiguous()
    first, last = torch.searchsorted(names, wanted), torch.searchsorted(names, wanted, right=True)

    count = len(query)
    ap = torch.full((count,), float("nan"), dtype=torch.float64)
    ranks = [torch.zeros(count, dtype=torch.int64) for _ in range(3)]
    total = torch.cumsum(last - first, 0).cpu().numpy()
    begin = 0
    while begin < count:
        before = total[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, before + max_pairs, side="right")))
        part = slice(begin, end)
        figures = _ranks_of(
            query,
            gallery,
            (scale, bias),
            valid,
            labels,
            by_id,
            order[part],
            first[part],
            last[part],
        )
        at = order[part].cpu()
        for to, figure in zip((ap, *ranks), figures, strict=True):
            to[at] = torch.from_numpy(figure)
        begin = end
    device = query.device
    return ap.to(device), ranks[0].to(device), ranks[1].to(device), ranks[2].to(device)


def _ranks_of(
    query: Tensor,
    gallery: Tensor,
    affine: tuple[Tensor, Tensor],
    valid: Tensor,
    labels: Labels,
    by_id: Tensor,
    order: Tensor,
    first: Tensor,
    last: Tensor,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The figures of the queries `order`."""
    device, queries = query.device, len(order)
    own = last - first
    offset = torch.cumsum(own, 0) - own
    pair_query = torch.repeat_interleave(torch.arange(queries, device=device), own)
    place = torch.arange(len(pair_query), device=device) - offset[pair_query] + first[pair_query]
    pair_row = by_id[place]
    key = torch.empty(len(pair_query), dtype=torch.int32, device=device)
    grid_q = triton.cdiv(queries, BLOCK_Q)
    blocks = {"BLOCK_Q": BLOCK_Q, "BLOCK_G": BLOCK_G, "BLOCK_D": BLOCK_D}
    launch = {**blocks, "num_warps": WARPS, "enable_fp_fusion": False}
    stretch = _longest_stretch(first, last)
    if len(key):
        own_scores_kernel[(grid_q, triton.cdiv(stretch, BLOCK_G))](
            query,
            gallery,
            *affine,
            order,
            by_id,
            first,
            last,
            offset,
            queries,
            query.shape[1],
            query.stride(0),
            gallery.stride(0),
            key,
            **launch,
        )
    # The worst first, query by query: key ascending, then index descending.
    sorting = torch.argsort(pair_row, descending=True, stable=True)
    sorting = sorting[torch.argsort(key[sorting], stable=True)]
    sorting = sorting[torch.argsort(pair_query[sorting], stable=True)]
    pair_query, pair_row, key = pair_query[sorting], pair_row[sorting], key[sorting]
    right = _positive(labels, order[pair_query], pair_row)
    # Rows left out that come before a right answer stand after it in this order.
    junk = torch.cumsum((~right).to(torch.int64), 0)
    behind = torch.cat([junk.new_zeros(1), junk])[(offset + own)[pair_query]] - junk

    positives = torch.bincount(pair_query[right], minlength=queries)
    start = torch.cumsum(positives, 0) - positives
    right_key, right_row = key[right].contiguous(), pair_row[right].to(torch.int32)
    counts = torch.zeros(len(right_key), dtype=torch.int32, device=device)
    if len(right_key):
        share = triton.cdiv(triton.cdiv(len(gallery), _SPLITS), BLOCK_G) * BLOCK_G
        count_kernel[(grid_q, triton.cdiv(len(gallery), share))](
            query,
            gallery,
            *affine,
            valid.to(torch.int8),
            order,
            start,
            positives,
            right_key,
            right_row,
            queries,
            len(gallery),
            share,
            query.shape[1],
            query.stride(0),
            gallery.stride(0),
            counts,
            **launch,
        )
    rank = (counts.to(torch.int64) - behind[right] + 1).cpu().numpy()
    return _figures(rank, start.cpu().numpy(), positives.cpu().numpy())


def _figures(
    rank: np.ndarray, start: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From ranks, the worst first within a query, to the figures; summed from the best on."""
    count = len(start)
    total, first, last = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
    for t in range(int(positives.max(initial=0))):
        some = np.flatnonzero(positives > t)
        of_t = rank[start[some] + positives[some] - 1 - t]
        total[some] += (t + 1) / of_t
        if t == 0:
            first[some] = of_t
        last[some] = of_t
    with np.errstate(invalid="ignore"):
        return total / np.where(positives > 0, positives, np.nan), first, last, positives


def _longest_stretch(first: Tensor, last: Tensor) -> int:
    """Most rows between the first and the last that one block of queries needs."""
    empty = last <= first
    begin = torch.where(empty, torch.iinfo(torch.int64).max, first)
    end = torch.where(empty, 0, last)
    longest = 0
    for block_begin, block_end in zip(begin.split(BLOCK_Q), end.split(BLOCK_Q), strict=True):
        longest = max(longest, int(block_end.max() - block_begin.min()))
    return longest


def _positive(labels: Labels, query: Tensor, row: Tensor) -> Tensor:
    if labels.protocol == "any":
        return torch.ones_like(row, dtype=torch.bool)
    right = labels.query_group[query] != labels.gallery_group[row]
    if labels.protocol == "clothes_changing":
        right &= labels.query_clothes[query] != labels.gallery_clothes[row]
    elif labels.protocol == "same_clothes":
        right &= labels.query_clothes[query] == labels.gallery_clothes[row]
    return right


def _affine(gallery: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """Scale and bias of each gallery row: the score that ranks by `metric` is <q, g> s + b."""
    scale = torch.ones(len(gallery), device=gallery.device)
    bias = torch.zeros(len(gallery), device=gallery.device)
    if metric == "inner_product":
        return scale, bias
    squares = [(part * part).sum(1) for part in gallery.split(8192)]
    square = torch.cat(squares) if squares else bias
    if metric == "euclidean":
        return scale, -square / 2
    return torch.where(square > 0, square, 1.0).rsqrt(), bias
