"""Which pairs of tracklets are worth a look when there are too many to look at all of them.

A pair that neither finds among the most alike of the other's camera is of two people, or of one who
is found through others. The search is the exact kernel on mean embeddings, `N * N` dot products
without a matrix of them; all that follows is in proportion to the pairs returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosscam_kernels.ops import similarity_topk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.associate.constraints import Spans

_IN_ALL = 96  # candidates of a tracklet in all cameras together
_LEAST, _MOST = 8, 32  # ... and in one camera


class Pairs(NamedTuple):
    """Pairs of items `left[p] < right[p]`, both `(P,)`; each pair once, in ascending order."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]


def unique_pairs(a: NDArray[np.int64], b: NDArray[np.int64], count: int) -> Pairs:
    """Return each pair of two different items of `count` once, whichever way round it is given."""
    different = a != b
    a, b = a[different], b[different]
    left, right = np.divmod(np.unique(np.minimum(a, b) * count + np.maximum(a, b)), max(count, 1))
    return Pairs(left, right)


def search(mean: NDArray[np.float32], camera: NDArray[np.int64], known: NDArray[np.bool_]) -> Pairs:
    """Return the pairs of which one is among the most alike of its camera to the other.

    Args:
        mean: `(N, D)` mean embeddings of length 1.
        camera: `(N,)` numbers of cameras from 0.
        known: `(N,)` whether a tracklet has an embedding; pairs of others are never returned.
    """
    items = np.flatnonzero(known)
    cameras = np.unique(camera[items])
    k = int(np.clip(_IN_ALL // max(len(cameras), 1), _LEAST, _MOST))
    queries, a, b = mean[items], [], []
    for c in cameras:
        columns = items[camera[items] == c]
        index = similarity_topk(queries, mean[columns], k + 1).index
        row, place = np.nonzero(index >= 0)
        a.append(items[row])
        b.append(columns[index[row, place]])
    if not a:
        return unique_pairs(items, items, len(mean))
    return unique_pairs(np.concatenate(a), np.concatenate(b), len(mean))


def mutual_best_pairs(
    pairs: Pairs, score: NDArray[np.float32], camera: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return `(B,)`: which pairs are of different cameras and each other's best in these.

    Args:
        pairs: `(P,)` candidates.
        score: `(P,)` their similarities.
        camera: `(N,)` numbers of cameras.
    """
    apart = np.flatnonzero(camera[pairs.left] != camera[pairs.right])
    left, right, score = pairs.left[apart], pairs.right[apart], score[apart]
    wins = np.zeros(len(apart), np.int64)
    for item, other in ((left, right), (right, left)):
        # Both directions are needed: the best of an item may have found it, or it the best.
        both = np.concatenate([item, other]), np.concatenate([other, item])
        order = np.lexsort((both[1], -np.concatenate([score, score]), camera[both[1]], both[0]))
        sight = both[0][order] * (int(camera.max()) + 1) + camera[both[1][order]]
        first = order[np.flatnonzero(np.diff(sight, prepend=-1))]
        wins[first[first < len(apart)]] += 1
    out: NDArray[np.int64] = apart[wins == 2]
    return out


def sample_pairs(count: int, size: int) -> Pairs:
    """Return about `size` of all pairs of `count` items, or all; the same ones for equal numbers.

    The pairs are in ascending order and each is drawn with the same probability.
    """
    if count * (count - 1) // 2 <= size:
        left, right = np.triu_indices(count, 1)
        return Pairs(left.astype(np.int64), right.astype(np.int64))
    a, b = np.random.default_rng(0).integers(0, count, (2, size))
    return unique_pairs(a, b, count)


def sample_at_once(spans: Spans, known: NDArray[np.bool_], size: int) -> Pairs:
    """Return about `size` of the pairs that are surely seen at once in one camera, or all.

    Args:
        spans: Of all tracklets, in order of their starts.
        known: `(N,)` whether a tracklet has an embedding; pairs of others are never returned.
        size: Bound on the pairs looked at.
    """
    rows, number = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for c in np.unique(spans.camera):
        of = np.flatnonzero((spans.camera == c) & known)
        # In order of starts, those that begin before an item ends follow it without a gap.
        begun = np.searchsorted(spans.start[of], spans.end[of], side="right")
        rows.append(of)
        number.append(begun - np.arange(len(of)) - 1)
    items, counts = np.concatenate(rows), np.concatenate(number)
    ends = np.cumsum(counts)
    total = int(counts.sum())
    if total > size:
        rank = np.unique(np.random.default_rng(0).integers(0, total, size))
    else:
        rank = np.arange(total)
    place = np.searchsorted(ends, rank, side="right")
    # Items of a camera lie side by side, so the k-th that follows in time is k places on.
    others = items[place + 1 + rank - (ends[place] - counts[place])]
    pairs = unique_pairs(items[place], others, len(spans))
    sure = spans.at_once(*pairs)
    return Pairs(pairs.left[sure], pairs.right[sure])
