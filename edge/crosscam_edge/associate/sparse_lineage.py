"""Why each of many tracklets has its identity, from the pairs that were looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.judge import Groups, pair_scores
from crosscam_edge.associate.lineage import identities
from crosscam_edge.associate.types import Assignment, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.candidates import Pairs
    from crosscam_edge.associate.judge import Judge
    from crosscam_edge.types import Tracklet

_LOOKED = 12  # other identities of a tracklet of which the rules are looked up
_RIVALS = 3  # ... and that are compared in full


def explain_pairs(
    tracklets: Sequence[Tracklet],
    labels: NDArray[np.int64],
    judge: Judge,
    pairs: Pairs,
    scores: NDArray[np.float32],
) -> list[Assignment]:
    """Return one assignment for each of `(N,)` tracklets, which are in order of time.

    Like `lineage.explain`, but the runner-up is sought among the identities of the tracklets that
    are most alike, and of an identity of very many tracklets a part is compared.

    Args:
        tracklets: `(N,)` in order of time.
        labels: `(N,)` their groups.
        judge: Judges any pair.
        pairs: `(P,)` candidate pairs.
        scores: `(P,)` their similarities.
    """
    count = len(tracklets)
    identity = identities(labels)
    groups = Groups(identity)
    score, origin = _own(judge, groups)
    rival, runner_up = _rivals(judge, groups, pairs, scores)
    return [
        Assignment(
            key=tracklets[i].key,
            global_id=int(identity[i]) + 1,
            reason=Reason.MATCHED if origin[i] >= 0 else Reason.CREATED,
            score=float(score[i]),
            runner_up=float(runner_up[i]),
            runner_up_id=int(rival[i]) + 1,
            matched_to=tracklets[origin[i]].key if origin[i] >= 0 else None,
        )
        for i in range(count)
    ]


def _own(judge: Judge, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean similarity to the own group, and the earlier member that is most alike.

    NaN where there is no other member, -1 where none is earlier.
    """
    n = len(groups.labels)
    total, mates = np.zeros(n), np.zeros(n, np.int64)
    origin, best = np.full(n, -1), np.full(n, -np.inf)
    for i, j in groups.of(groups.labels):
        different = i != j
        i, j = i[different], j[different]
        score = pair_scores(judge.looks, i, j)
        total += np.bincount(i, score, n)
        mates += np.bincount(i, minlength=n)
        # The member that began the identity is always among those compared.
        earlier = np.flatnonzero(j < i)
        order = earlier[np.lexsort((j[earlier], -score[earlier], i[earlier]))]
        first = order[np.flatnonzero(np.diff(i[order], prepend=-1))]
        best[i[first]], origin[i[first]] = score[first], j[first]
    with np.errstate(invalid="ignore"):
        return np.where(mates > 0, total / np.maximum(mates, 1), np.nan), origin


def _rivals(
    judge: Judge, groups: Groups, pairs: Pairs, scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the most similar other group that the rules allow, and how similar; -1 and NaN."""
    n = len(groups.labels)
    item = np.concatenate([pairs.left, pairs.right])
    other = groups.labels[np.concatenate([pairs.right, pairs.left])]
    score = np.concatenate([scores, scores])
    rows = np.flatnonzero(other != groups.labels[item])
    rows = rows[np.lexsort((other[rows], -score[rows], item[rows]))]
    # The best pair of each item and group, in the order of the items and then of similarity.
    _, first = np.unique(item[rows] * n + other[rows], return_index=True)
    rows = rows[np.sort(first)]
    rows = _first_of_each(rows, item, _LOOKED)
    barred = np.zeros(len(rows), np.bool_)
    for owner, j in groups.of(other[rows], None):
        _, forbidden = judge.evidence.judge(item[rows[owner]], j)
        barred |= np.bincount(owner, forbidden, len(rows)) > 0
    rows = _first_of_each(rows[~barred], item, _RIVALS)
    item, other = item[rows], other[rows]
    total, count = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    for owner, j in groups.of(other):
        total += np.bincount(owner, pair_scores(judge.looks, item[owner], j), len(rows))
        count += np.bincount(owner, minlength=len(rows))
    mean = total / np.maximum(count, 1)
    order = np.lexsort((other, -mean, item))
    first = _first_of_each(order, item, 1)
    rival, runner_up = np.full(n, -1), np.full(n, np.nan)
    rival[item[first]], runner_up[item[first]] = other[first], mean[first]
    return rival, runner_up


def _first_of_each(
    rows: NDArray[np.int64], item: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return the first `count` of the rows of each item; rows are in order of their items."""
    begin = np.searchsorted(item[rows], item[rows])
    return rows[np.arange(len(rows)) - begin < count]
