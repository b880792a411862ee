"""What the kernels of `similarity_topk` share: the masks of a tile and its matrix product."""

from __future__ import annotations

import triton
import triton.language as tl

ANY = tl.constexpr(0)
EXCLUDE_SAME = tl.constexpr(1)
ONLY_SAME = tl.constexpr(2)
RULES = {"any": 0, "exclude_same": 1, "only_same": 2}
# Sizes that change from call to call: one compilation serves all their values.
VARYING = [
    "query_count",
    "gallery_count",
    "camera_rows",
    "camera_words",
    "window_low",
    "window_high",
    "unbounded",
]


@triton.jit
def time_span(time, low, high, unbounded):
    """Gallery times t with low <= time - t <= high, as first and last; in int64 with overflow.

    Bit 0 of `unbounded` takes `low` away, bit 1 `high`.
    """
    first = time - high
    last = time - low
    first_over = ((time ^ high) & (time ^ first)) < 0
    last_over = ((time ^ low) & (time ^ last)) < 0
    no_low, no_high = (unbounded & 1) != 0, (unbounded & 2) != 0
    # Outside all times.
    nothing = (first_over & (high < 0) & (not no_high)) | (last_over & (low > 0) & (not no_low))
    earliest = tl.full(time.shape, -(2**63), tl.int64)
    latest = tl.full(time.shape, 2**63 - 1, tl.int64)
    first = tl.where(first_over | no_high, earliest, first)
    last = tl.where(last_over | no_low, latest, last)
    return tl.where(nothing, latest, first), tl.where(nothing, earliest, last)


@triton.jit
def mask_tile(
    similarity,
    query,
    query_inside,
    row,
    row_inside,
    valid,
    query_camera,
    gallery_camera,
    adjacency,
    camera_rows,
    camera_words,
    query_time,
    gallery_time,
    window_low,
    window_high,
    unbounded,
    RULE: tl.constexpr,
):
    """A (BM, BN) tile with -inf where a pair is not allowed or its similarity is NaN.

    Absent arrays are None. Each mask is applied to the tile at once: a tile of predicates beside
    it would not fit the registers. A camera outside `adjacency` is allowed nothing, because to
    check it on the host would wait for the device.
    """
    none = -float("inf")
    inside = row_inside
    if valid is not None:
        inside &= tl.load(valid + row, mask=row_inside, other=0) != 0
    similarity = tl.where(inside[None, :] & (similarity == similarity), similarity, none)
    if query_camera is not None:
        own = tl.load(query_camera + query, mask=query_inside, other=0)
        other = tl.load(gallery_camera + row, mask=row_inside, other=0)
        if RULE == EXCLUDE_SAME:
            similarity = tl.where(own[:, None] != other[None, :], similarity, none)
        if RULE == ONLY_SAME:
            similarity = tl.where(own[:, None] == other[None, :], similarity, none)
        if adjacency is not None:
            # Word by word for the whole tile: a gather for each pair would fill the registers.
            own_known = query_inside & (own >= 0) & (own < camera_rows)
            other_known = (other >= 0) & (other < camera_words * 32)
            similarity = tl.where(other_known[None, :], similarity, none)
            from_row = adjacency + tl.where(own_known, own, 0).to(tl.int64) * camera_words
            of_word = tl.where(other_known, other, 0).to(tl.int32)
            for word in range(0, camera_words):
                bits = tl.load(from_row + word, mask=own_known, other=0)
                # One bit in the column's place, or none where it belongs to another word.
                bit = tl.where((of_word >> 5) == word, 1 << (of_word & 31), 0)
                wanted = bit[None, :]
                similarity = tl.where((bits[:, None] & wanted) == wanted, similarity, none)
    if query_time is not None:
        time = tl.load(query_time + query, mask=query_inside, other=0)
        first, last = time_span(time, window_low, window_high, unbounded)
        at = tl.load(gallery_time + row, mask=row_inside, other=0)
        similarity = tl.where(at[None, :] >= first[:, None], similarity, none)
        similarity = tl.where(at[None, :] <= last[:, None], similarity, none)
    return tl.where(query_inside[:, None], similarity, none)


@triton.jit
def tile_similarity(
    queries,
    gallery,
    query_scale,
    gallery_scale,
    query,
    first_row,
    gallery_count,
    dim,
    query_stride,
    gallery_stride,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    EVEN_D: tl.constexpr,
):
    """(BM, BN) float32 inner products of the rows `query` with gallery rows from `first_row` on.

    D is walked in the same order for every pair and never split, so equal rows tie exactly wherever
    they stand. `query` (BM,) and `first_row` (int64) must be inside; gallery rows past the end
    repeat the last one, and the masks take them out. With scales, the features are int8, their sum
    is exact in int32, and the result is (sum * scale_q) * scale_g.
    """
    last = tl.minimum(gallery_count - first_row - 1, BN).to(tl.int32)
    local = tl.minimum(tl.arange(0, BN), last)
    feature = tl.arange(0, BD)
    query_at = queries + query.to(tl.int64)[:, None] * query_stride + feature[None, :]
    # Only the offset of the tile needs 64 bits.
    tile = gallery + first_row * gallery_stride
    gallery_at = tile + local[:, None] * gallery_stride + feature[None, :]
    if query_scale is None:
        product = tl.zeros((BM, BN), tl.float32)
    else:
        product = tl.zeros((BM, BN), tl.int32)
    for start in range(0, dim, BD):
        if EVEN_D:
            a = tl.load(query_at + start)
            b = tl.load(gallery_at + start)
        else:
            inside = (feature < dim - start)[None, :]
            a = tl.load(query_at + start, mask=inside, other=0)
            b = tl.load(gallery_at + start, mask=inside, other=0)
        product = tl.dot(a, tl.trans(b), product, input_precision="ieee", out_dtype=product.dtype)
    if query_scale is None:
        similarity = product
    else:
        of_query = tl.load(query_scale + query)
        of_gallery = tl.load(gallery_scale + first_row + local)
        similarity = (product.to(tl.float32) * of_query[:, None]) * of_gallery[None, :]
    return similarity
