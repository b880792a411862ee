"""64-bit keys that order results: similarity descending, then gallery index ascending.

``key = orderable(fp32) << 32 | ~index``. Keys of different rows differ, so the k largest keys are
the same set in whatever order they are met; that is what makes splits, merges and shared thresholds
deterministic.
"""

from __future__ import annotations

import triton
import triton.language as tl

EMPTY = tl.constexpr(-(2**63))  # below every key: no result
TAKEN = tl.constexpr(2**63 - 1)  # above every key: a slot that is not used
MAX_ROWS = 2**32 - 1  # rows that the lower half of a key can number


@triton.jit
def pack_keys(similarity, index):
    """Keys of float32 similarities (not NaN) and int64 indices below 2**32."""
    zero_signed = tl.where(similarity == 0, 0.0, similarity)  # -0 ties with +0
    bits = zero_signed.to(tl.int32, bitcast=True)
    # Negative floats order backwards as integers: flip all but the sign.
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.to(tl.int64) << 32) | (0xFFFFFFFF - index.to(tl.int64))


@triton.jit
def unpack_keys(keys):
    """Similarity float32 and index int64 of keys; -inf and -1 of `EMPTY`."""
    ordered = (keys >> 32).to(tl.int32)
    bits = tl.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    similarity = bits.to(tl.float32, bitcast=True)
    index = 0xFFFFFFFF - (keys & 0xFFFFFFFF)
    none = keys == EMPTY
    return tl.where(none, -float("inf"), similarity), tl.where(none, -1, index)


@triton.jit
def empty_lists(ROWS: tl.constexpr, SLOTS: tl.constexpr, K: tl.constexpr):
    """(ROWS, SLOTS) lists of K empty slots each; the others never take part."""
    slots = tl.arange(0, SLOTS)
    row = tl.where(slots < K, EMPTY, TAKEN).to(tl.int64)
    return tl.broadcast_to(row[None, :], (ROWS, SLOTS))


@triton.jit
def insert_best(
    similarity, first_index, lists, kth, floor, COLUMNS: tl.constexpr, SLOTS: tl.constexpr
):
    """Inserts what improves into unsorted lists of the best keys.

    While nothing improves, this costs one maximum along each row of the tile. Each round takes the
    best column of every row, compares its key with the row's k-th key, replaces that one, and takes
    the column out.

    `similarity` (ROWS, COLUMNS) is float32 without NaN, and -inf is never inserted; `first_index`
    int64 is the index of column 0; `lists` (ROWS, SLOTS) are keys, `kth` (ROWS,) the smallest of
    each list; only keys above `floor` (ROWS,) are inserted. Returns the new `lists` and `kth`.
    """
    columns = tl.arange(0, COLUMNS)
    slots = tl.arange(0, SLOTS)
    best, at = tl.max(similarity, axis=1, return_indices=True, return_indices_tie_break_left=True)
    key = pack_keys(best, first_index + at)
    wins = (best > -float("inf")) & (key > tl.maximum(kth, floor))
    while tl.max(wins.to(tl.int32), axis=0) > 0:
        worst = tl.min(tl.where(lists == kth[:, None], slots[None, :], SLOTS), axis=1)
        replaced = wins[:, None] & (slots[None, :] == worst[:, None])
        lists = tl.where(replaced, key[:, None], lists)
        kth = tl.min(lists, axis=1)
        # A row that did not win has nothing left that could: its k-th key only rises.
        similarity = tl.where(columns[None, :] == at[:, None], -float("inf"), similarity)
        best, at = tl.max(
            similarity, axis=1, return_indices=True, return_indices_tie_break_left=True
        )
        key = pack_keys(best, first_index + at)
        wins = (best > -float("inf")) & (key > tl.maximum(kth, floor))
    return lists, kth
