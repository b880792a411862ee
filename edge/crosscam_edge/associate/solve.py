"""Constrained clustering of tracklets by the log-odds that two of them are one person.

Average linkage (UPGMA) joins the two groups whose mean pairwise log-odds is highest, as long as
it is positive and no pair inside is forbidden; local moves then repair what greedy joining got
wrong.
Average linkage rather than correlation clustering's sum: the pairs of two groups are not
independent evidence, so ten fragments of one person must not outvote everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A move must gain this many nats: rounding never decides, so a solution cannot oscillate.
_EPSILON = 1e-6
_SWEEPS = 20


def average_linkage(
    weights: NDArray[np.float32], forbidden: NDArray[np.bool_], *, stop: float = 0.0
) -> NDArray[np.int64]:
    """Group items by average linkage under cannot-link constraints.

    Args:
        weights: `(N, N)` symmetric; larger means more alike.
        forbidden: `(N, N)` symmetric; True where two items must never share a group.
        stop: Groups are joined while their mean weight is greater than this.

    Returns:
        `(N,)` labels; each is the smallest index of its group. Of equal candidates the one with the
        smallest indices is joined first, so the outcome is a function of the input alone.
    """
    n = len(weights)
    labels = np.arange(n)
    if n < 2:
        return labels
    linkage = weights.astype(np.float64)
    linkage[forbidden] = -np.inf
    np.fill_diagonal(linkage, -np.inf)
    sizes = np.ones(n)
    nearest = np.argmax(linkage, axis=1)
    best = linkage[np.arange(n), nearest]
    while True:
        first = int(np.argmax(best))
        if not best[first] > stop:
            return labels
        a, b = sorted((first, int(nearest[first])))
        row = (sizes[a] * linkage[a] + sizes[b] * linkage[b]) / (sizes[a] + sizes[b])
        row[a] = row[b] = -np.inf
        linkage[a], linkage[:, a] = row, row
        linkage[b], linkage[:, b] = -np.inf, -np.inf
        sizes[a] += sizes[b]
        labels[labels == b] = a
        # Only rows that pointed at a or b, or that a's new row beats, can have a new nearest.
        stale = (nearest == a) | (nearest == b)
        stale[[a, b]] = True
        rows = np.flatnonzero(stale)
        nearest[rows] = np.argmax(linkage[rows], axis=1)
        best[rows] = linkage[rows, nearest[rows]]
        better = (row > best) | ((row == best) & (a < nearest))
        better[rows] = False
        nearest[better], best[better] = a, row[better]


def refine(
    weights: NDArray[np.float32],
    forbidden: NDArray[np.bool_],
    labels: NDArray[np.int64],
    *,
    movable: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Move single items to the group that fits them better until nothing moves.

    Args:
        weights: `(N, N)` symmetric log-odds.
        forbidden: `(N, N)` symmetric cannot-link pairs; `labels` must respect them.
        labels: `(N,)` start.
        movable: `(M,)` the items that may move; all by default.

    Returns:
        `(N,)` labels as `average_linkage` gives them; they respect `forbidden`.
    """
    n = len(labels)
    if n < 2:
        return labels.copy()
    groups, current = np.unique(labels, return_inverse=True)
    # One spare column for each item: the group in which it would be alone.
    onehot = np.zeros((n, len(groups) + 1), np.float32)
    onehot[np.arange(n), current] = 1.0
    w = weights.astype(np.float32, copy=True)
    np.fill_diagonal(w, 0.0)
    bars = forbidden.astype(np.float32)
    totals, conflicts = w @ onehot, bars @ onehot
    sizes = onehot.sum(axis=0)
    for _ in range(_SWEEPS):
        moved = False
        for i in range(n) if movable is None else movable.tolist():
            own = current[i]
            others = sizes.copy()
            others[own] -= 1
            means = totals[i] / np.maximum(others, 1)
            stay = means[own] if others[own] else 0.0
            means[(conflicts[i] > 0) | (others == 0)] = -np.inf
            target = int(np.argmax(means))
            if means[target] < 0.0 and stay < 0.0:
                empty = np.flatnonzero(sizes == 0)
                if not len(empty):
                    continue
                target, gain = int(empty[0]), -stay
            else:
                gain = means[target] - stay
            if target == own or not gain > _EPSILON:
                continue
            current[i] = target
            for matrix, source in ((totals, w), (conflicts, bars)):
                matrix[:, own] -= source[:, i]
                matrix[:, target] += source[:, i]
            sizes[own] -= 1
            sizes[target] += 1
            moved = True
        if not moved:
            break
    return _smallest_member(current)


def _smallest_member(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse]
