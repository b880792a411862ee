"""Reunite people in small neighbourhoods of groups.

One faulty tracklet that holds the halves of a person apart concerns a few groups only. Groups that
agree but for a few barring items form a neighbourhood, and each is solved with all its pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.judge import Groups
from crosscam_edge.associate.reunite import AGREEMENT, reunite
from crosscam_edge.associate.solve import refine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from crosscam_edge.associate.judge import Judge
    from crosscam_edge.associate.sparse_linkage import Links

MOST = 1500  # items of a neighbourhood; all their pairs are held


def reunite_sparse(
    judge: Judge, links: Links, labels: NDArray[np.int64], frames: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Join groups that only a few of their items bar from each other; see `reunite`.

    Args:
        judge: Judges any pair.
        links: Candidate pairs of single items.
        labels: `(N,)` each the smallest index of its group.
        frames: `(N,)` in how many frames each item was seen.

    Returns:
        `(N,)` labels of the same kind. No group comes to hold a forbidden pair.
    """
    groups = Groups(labels)
    labels = labels.copy()
    for items in _neighbourhoods(*_unions(judge, links.contracted(labels), groups), groups):
        weights, forbidden = judge.block(items)
        found = np.searchsorted(items, labels[items])
        found, outcasts = reunite(weights, forbidden, found, frames[items])
        labels[items] = items[refine(weights, forbidden, found, movable=outcasts)]
    return labels


def _inside(judge: Judge, groups: Groups) -> NDArray[np.float64]:
    """Return `(N,)`: the mean log-odds of the pairs of each group, by its name; 0 without pairs."""
    n = len(groups.labels)
    total, count = np.zeros(n), np.zeros(n)
    for i, j in groups.of(groups.labels):
        i, j = i[i != j], j[i != j]
        weight, _ = judge.weigh(i, j)
        total += np.bincount(groups.labels[i], weight, n)
        count += np.bincount(groups.labels[i], minlength=n)
    return total / np.maximum(count, 1)


def _unions(
    judge: Judge, links: Links, groups: Groups
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return pairs of groups that agree but bar each other, and how far they agree."""
    inside = _inside(judge, groups)
    barred = (links.barred > 0) & (links.allowed > 0)
    barred &= (groups.size[links.a] > 1) & (groups.size[links.b] > 1)
    wanted = AGREEMENT * np.minimum(inside[links.a], inside[links.b])
    which = np.flatnonzero(barred)
    which = which[links.total[which] / links.allowed[which] >= np.maximum(wanted[which], 0.0)]
    a, b = links.a[which], links.b[which]
    verdict = judge.between(groups, a, b)
    mean = verdict.total / np.maximum(verdict.allowed, 1)
    agree = (mean > 0) & (mean >= wanted[which])
    return a[agree], b[agree], mean[agree]


def _neighbourhoods(
    a: NDArray[np.int64], b: NDArray[np.int64], strength: NDArray[np.float64], groups: Groups
) -> Iterator[NDArray[np.int64]]:
    """Yield the items of groups that belong together: strongest first, of bounded number."""
    parent = {int(g): int(g) for g in np.concatenate([a, b])}
    held = {g: int(groups.size[g]) for g in parent}

    def root(g: int) -> int:
        while parent[g] != g:
            parent[g] = parent[parent[g]]
            g = parent[g]
        return g

    for p in np.lexsort((b, a, -strength)).tolist():
        x, y = sorted((root(int(a[p])), root(int(b[p]))))
        if x != y and held[x] + held[y] <= MOST:
            parent[y] = x
            held[x] += held[y]
    out: dict[int, list[int]] = {}
    for g in sorted(parent):
        out.setdefault(root(g), []).append(g)
    for around in out.values():
        if len(around) > 1:
            yield np.sort(np.concatenate([groups.members(g) for g in around]))
