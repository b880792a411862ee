"""Bring together a person whom one faulty tracklet holds apart.

Trackers fail where people meet: a tracklet that began on somebody else, or a second one on the same
person, is seen at once with the person's own. The rule that such two are never one is kept, but
clustering pays for it with the whole person: the faulty tracklet joins some of the person's other
tracklets first, and bars this half from the other. Here the halves become one, without the fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Halves of one person are as alike across as inside. Look-alikes whom the rule rightly holds apart
# are less so; what they fall short of in this share of the weight inside keeps them two.
AGREEMENT = 0.75


def reunite(
    weights: NDArray[np.float32],
    forbidden: NDArray[np.bool_],
    labels: NDArray[np.int64],
    frames: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join groups that only a few of their items bar from each other; these are put out.

    Two groups become one when the pairs between them that are not forbidden agree as pairs inside
    do, and the sum of the weights inside groups grows although the barring items leave.

    Args:
        weights: `(N, N)` symmetric log-odds.
        forbidden: `(N, N)` symmetric cannot-link pairs; `labels` must respect them.
        labels: `(N,)` each the smallest index of its group.
        frames: `(N,)` in how many frames each item was seen: of two that fit, the shorter leaves.

    Returns:
        `(N,)` labels that respect `forbidden`, and the items `(E,)` put out, which are alone.
    """
    labels = labels.copy()
    outcasts: set[int] = set()
    while True:
        found = _best_union(weights, forbidden, labels, frames)
        if found is None:
            return labels, np.array(sorted(outcasts), np.int64)
        union, out = found
        outcasts.update(out.tolist())
        labels[union] = union.min()
        labels[out] = out


def _best_union(
    weights: NDArray[np.float32],
    forbidden: NDArray[np.bool_],
    labels: NDArray[np.int64],
    frames: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the members `(U,)` and the outcasts `(E,)` of the union that gains most; or None."""
    names, sizes = np.unique(labels, return_counts=True)
    groups = [np.flatnonzero(labels == name) for name in names[sizes > 1]]
    if len(groups) < 2:
        return None
    onehot = np.zeros((len(labels), len(groups)), np.float32)
    for g, members in enumerate(groups):
        onehot[members, g] = 1.0
    allowed = ~forbidden
    np.fill_diagonal(allowed, False)
    counts = onehot.T @ (allowed.astype(np.float32) @ onehot)
    sums = onehot.T @ (np.where(allowed, weights, np.float32(0)) @ onehot)
    mean = sums / np.maximum(counts, 1)
    inside = np.diag(mean)
    wanted = AGREEMENT * np.minimum(inside[:, None], inside[None, :])
    barred = onehot.T @ (forbidden.astype(np.float32) @ onehot) > 0
    best, choice = 0.0, None
    for g, h in np.argwhere(np.triu((mean >= wanted) & (mean > 0) & barred, 1)):
        a, b = groups[g], groups[h]
        out = _cover(weights, forbidden, frames, a, b)
        union = np.setdiff1d(np.concatenate([a, b]), out)
        left, right = np.intersect1d(a, union), np.intersect1d(b, union)
        if len(left) == 0 or len(right) == 0:
            continue
        gain = float(weights[np.ix_(left, right)].sum())
        for group, rest in ((a, left), (b, right)):
            gone = np.setdiff1d(group, rest)
            among = weights[np.ix_(gone, gone)]
            lost = weights[np.ix_(gone, rest)].sum() + (among.sum() - np.trace(among)) / 2
            gain -= float(lost)
        if gain > best:
            best, choice = gain, (union, out)
    return choice


def _cover(
    weights: NDArray[np.float32],
    forbidden: NDArray[np.bool_],
    frames: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return items whose leaving frees `a` and `b` of conflicts: most conflicts first."""
    items = np.concatenate([a, b])
    bars = forbidden[np.ix_(items, items)].copy()
    fit = np.where(bars, np.float32(0), weights[np.ix_(items, items)]).sum(axis=1)
    fit = np.where(fit > 0, fit * frames[items], fit)  # what the person would lose
    out: list[int] = []
    while bars.any():
        conflicts = bars.sum(axis=1)
        worst = np.flatnonzero(conflicts == conflicts.max())
        first = int(worst[np.argmin(fit[worst])])
        out.append(int(items[first]))
        bars[first], bars[:, first] = False, False
    return np.array(sorted(out), np.int64)
