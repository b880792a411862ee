"""`retrieval_metrics` on a GPU: score the rows of each query's identity, then count the others.

Both passes make a score by the same sequence of instructions, so a row has the same score in both,
and equal rows tie wherever they stand. Counts are integers: their order does not matter.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crosscam_kernels.aot import KernelSpec

BLOCK_Q, BLOCK_G, BLOCK_D, WARPS = 64, 64, 8, 8


@triton.jit
def _score_keys(
    query_ptr,
    query_rows,  # (BLOCK_Q,) int64
    query_inside,
    gallery_ptr,
    gallery_rows,  # (BLOCK_G,) int64
    gallery_inside,
    scale_ptr,
    bias_ptr,
    dim,
    query_stride,
    gallery_stride,
    BLOCK_Q: tl.constexpr,  # noqa: N803  # Triton's spelling of constants
    BLOCK_G: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """(BLOCK_Q, BLOCK_G) int32: scores <q, g> * scale + bias as integers of the same order."""
    sums = tl.zeros((BLOCK_Q, BLOCK_G), tl.float32)
    column = tl.arange(0, BLOCK_D)
    for start in range(0, dim, BLOCK_D):
        inside = start + column < dim
        q = tl.load(
            query_ptr + query_rows[:, None] * query_stride + start + column[None, :],
            mask=query_inside[:, None] & inside[None, :],
            other=0.0,
        )
        g = tl.load(
            gallery_ptr + gallery_rows[None, :] * gallery_stride + start + column[:, None],
            mask=gallery_inside[None, :] & inside[:, None],
            other=0.0,
        )
        sums = tl.dot(q, g, sums, input_precision="ieee")
    scale = tl.load(scale_ptr + gallery_rows, mask=gallery_inside, other=0.0)
    bias = tl.load(bias_ptr + gallery_rows, mask=gallery_inside, other=0.0)
    score = sums * scale[None, :] + bias[None, :]
    score = tl.where(score == 0.0, 0.0, score)  # -0 and +0 are equal
    bits = score.to(tl.int32, bitcast=True)
    key = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return tl.where(score == score, key, -2147483648)


@triton.jit
def own_scores_kernel(
    query_ptr,  # (Q, D) fp32
    gallery_ptr,  # (G, D) fp32
    scale_ptr,  # (G,) fp32
    bias_ptr,  # (G,) fp32
    order_ptr,  # (queries,) int64: rows of `query`, by identity
    by_id_ptr,  # int64 rows of the gallery, by identity
    first_ptr,  # (queries,) int64: where in `by_id` the query's identity begins
    last_ptr,  # (queries,) int64: and ends
    offset_ptr,  # (queries,) int64: where in the result its keys begin
    queries,
    dim,
    query_stride,
    gallery_stride,
    key_ptr,  # out (pairs,) int32
    BLOCK_Q: tl.constexpr,  # noqa: N803
    BLOCK_G: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """Keys of the gallery rows that have the identity of the query."""
    at = tl.program_id(0).to(tl.int64) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = at < queries
    first = tl.load(first_ptr + at, mask=inside, other=0)
    last = tl.load(last_ptr + at, mask=inside, other=0)
    # Queries and rows are both sorted by identity: what the block needs is one stretch.
    begin = tl.min(tl.where(last > first, first, 0x7FFFFFFFFFFFFFFF), axis=0)
    end = tl.max(tl.where(last > first, last, 0), axis=0)
    begin += tl.program_id(1).to(tl.int64) * BLOCK_G
    if begin < end:
        base = tl.load(offset_ptr + tl.program_id(0).to(tl.int64) * BLOCK_Q)
        rows_of_block = tl.load(order_ptr + at, mask=inside, other=0)
        offset = tl.load(offset_ptr + at, mask=inside, other=0)
        place = begin + tl.arange(0, BLOCK_G)
        row = tl.load(by_id_ptr + place, mask=place < end, other=0)
        key = _score_keys(
            query_ptr,
            rows_of_block,
            inside,
            gallery_ptr,
            row,
            place < end,
            scale_ptr,
            bias_ptr,
            dim,
            query_stride,
            gallery_stride,
            BLOCK_Q,
            BLOCK_G,
            BLOCK_D,
        )
        # Relative to the block: 32 bits do, and half as many registers.
        lane = tl.arange(0, BLOCK_G)
        low = tl.minimum(tl.maximum(first - begin, 0), BLOCK_G).to(tl.int32)
        high = tl.minimum(tl.maximum(last - begin, 0), BLOCK_G).to(tl.int32)
        own = (lane[None, :] >= low[:, None]) & (lane[None, :] < high[:, None])
        to = (offset - base + (begin - first)).to(tl.int32)[:, None] + lane[None, :]
        tl.store(key_ptr + base + to, key, mask=own & inside[:, None])


@triton.jit
def count_kernel(
    query_ptr,  # (Q, D) fp32
    gallery_ptr,  # (G, D) fp32
    scale_ptr,  # (G,) fp32
    bias_ptr,  # (G,) fp32
    valid_ptr,  # (G,) int8
    order_ptr,  # (queries,) int64: rows of `query`, by identity
    first_ptr,  # (queries,) int64: where the query's right answers begin
    size_ptr,  # (queries,) int64: how many there are
    key_ptr,  # int32 keys of the right answers, the worst first
    index_ptr,  # int32 gallery rows of the right answers
    queries,
    gallery,
    share,  # gallery rows of one program, a multiple of BLOCK_G
    dim,
    query_stride,
    gallery_stride,
    count_ptr,  # in and out, int32: rows before each right answer
    BLOCK_Q: tl.constexpr,  # noqa: N803
    BLOCK_G: tl.constexpr,  # noqa: N803
    BLOCK_D: tl.constexpr,  # noqa: N803
):
    """Adds the rows of one share of the gallery that come before each right answer."""
    at = tl.program_id(0).to(tl.int64) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = at < queries
    rows_of_block = tl.load(order_ptr + at, mask=inside, other=0)
    first = tl.load(first_ptr + at, mask=inside, other=0)
    size = tl.load(size_ptr + at, mask=inside, other=0)
    longest = tl.max(size, axis=0)
    begin = tl.program_id(1).to(tl.int64) * share
    end = tl.minimum(begin + share, gallery)
    if longest > 0:
        for start in range(begin, end, BLOCK_G):
            row = start + tl.arange(0, BLOCK_G).to(tl.int64)
            row32 = row.to(tl.int32)
            there = row < end
            key = _score_keys(
                query_ptr,
                rows_of_block,
                inside,
                gallery_ptr,
                row,
                there,
                scale_ptr,
                bias_ptr,
                dim,
                query_stride,
                gallery_stride,
                BLOCK_Q,
                BLOCK_G,
                BLOCK_D,
            )
            counted = tl.load(valid_ptr + row, mask=there, other=0) != 0
            t = longest * 0
            more = longest > 0
            while more:
                known = t < size
                own = tl.load(key_ptr + first + t, mask=known, other=0x7FFFFFFF)
                index = tl.load(index_ptr + first + t, mask=known, other=0)
                tie = (key == own[:, None]) & (row32[None, :] < index[:, None])
                before = ((key > own[:, None]) | tie) & counted[None, :] & known[:, None]
                count = tl.sum(before.to(tl.int32), axis=1)
                tl.atomic_add(count_ptr + first + t, count, mask=count > 0, sem="relaxed")
                t += 1
                # What does not come before the worst does not come before the better ones.
                more = (t < longest) & (tl.max(count, axis=0) > 0)


AOT_KERNELS = [
    KernelSpec(
        name=f"retrieval_{name}_fp32",
        fn=fn,
        signature={
            parameter: "i32:16" if parameter in ("dim", "query_stride", "gallery_stride") else kind
            for parameter, kind in signature.items()
        },
        constexprs={"BLOCK_Q": BLOCK_Q, "BLOCK_G": BLOCK_G, "BLOCK_D": BLOCK_D},
        num_warps=WARPS,
        enable_fp_fusion=False,
    )
    for name, fn, signature in (
        (
            "own_scores",
            own_scores_kernel,
            {
                **dict.fromkeys(("query_ptr", "gallery_ptr", "scale_ptr", "bias_ptr"), "*fp32:16"),
                **dict.fromkeys(("order_ptr", "by_id_ptr"), "*i64:16"),
                **dict.fromkeys(("first_ptr", "last_ptr", "offset_ptr"), "*i64"),
                **dict.fromkeys(("queries", "dim", "query_stride", "gallery_stride"), "i32"),
                "key_ptr": "*i32:16",
            },
        ),
        (
            "count",
            count_kernel,
            {
                **dict.fromkeys(("query_ptr", "gallery_ptr", "scale_ptr", "bias_ptr"), "*fp32:16"),
                "valid_ptr": "*i8:16",
                **dict.fromkeys(("order_ptr", "first_ptr", "size_ptr"), "*i64"),
                "key_ptr": "*i32:16",
                "index_ptr": "*i32:16",
                **dict.fromkeys(("queries", "gallery", "share", "dim"), "i32"),
                **dict.fromkeys(("query_stride", "gallery_stride"), "i32"),
                "count_ptr": "*i32:16",
            },
        ),
    )
]
