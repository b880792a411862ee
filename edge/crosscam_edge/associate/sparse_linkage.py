"""Average linkage on few of all pairs.

`solve.average_linkage` always joins the best pair of groups. Average linkage is reducible: a union
is never more alike to a third group than the more alike of its parts was. So two groups that are
each other's best may be joined at any time, and all such pairs at once (Murtagh 1983), with the
same outcome but for ties. Cannot-link pairs only ever take choices away, so this holds with them.

Two groups whose mean log-odds is positive have a positive pair, so only groups that share a
candidate are ever compared. The sum over the candidates alone is at least that over all pairs as
long as no other pair is positive. It is made exact, pair by pair, only where it makes two groups
the best for each other: what is joined was compared in full, and broke no rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.candidates import Pairs, unique_pairs
from crosscam_edge.associate.judge import Groups
from crosscam_kernels.ops import similarity_topk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.associate.judge import Judge, Verdict

_PROTOTYPES = 8  # groups that are looked at as the most alike to a group as a whole
_ROUNDS = 4  # of looking for such groups


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of groups and what is known of the pairs of items between them.

    Attributes:
        a: `(P,)` groups, named by their smallest item.
        b: `(P,)` groups; `a[p] < b[p]`, each pair once.
        total: `(P,)` sum of the log-odds of the allowed pairs that were looked at.
        allowed: `(P,)` number of these.
        barred: `(P,)` number of forbidden pairs that were looked at.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    total: NDArray[np.float64]
    allowed: NDArray[np.int64]
    barred: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Pairs, weight: NDArray[np.float32], forbidden: NDArray[np.bool_]) -> Links:
        """Return the links of single items."""
        return cls(
            pairs.left,
            pairs.right,
            np.where(forbidden, np.float32(0), weight).astype(np.float64),
            (~forbidden).astype(np.int64),
            forbidden.astype(np.int64),
        )

    def made_exact(self, which: NDArray[np.int64], verdict: Verdict) -> Links:
        """Return the links with what a look at all pairs of some of them has shown."""
        total, allowed, barred = self.total.copy(), self.allowed.copy(), self.barred.copy()
        total[which], allowed[which], barred[which] = verdict
        return Links(self.a, self.b, total, allowed, barred)

    def contracted(self, to: NDArray[np.int64]) -> Links:
        """Return the links after group g has become `to[g]`; those inside a group are gone."""
        grown = np.zeros(len(to), np.bool_)
        grown[to[to != np.arange(len(to))]] = True
        a, b = to[self.a], to[self.b]
        touched = np.flatnonzero((grown[a] | grown[b]) & (a != b))
        still = np.flatnonzero(~(grown[a] | grown[b]))
        key = np.minimum(a, b)[touched] * len(to) + np.maximum(a, b)[touched]
        keys, inverse = np.unique(key, return_inverse=True)
        left, right = np.divmod(keys, len(to))

        def summed(values: NDArray[np.floating] | NDArray[np.int64]) -> NDArray[np.float64]:
            out = np.bincount(inverse, values[touched], len(keys))
            return np.concatenate([values[still].astype(np.float64), out])

        return Links(
            np.concatenate([self.a[still], left]),
            np.concatenate([self.b[still], right]),
            summed(self.total),
            summed(self.allowed).astype(np.int64),
            summed(self.barred).astype(np.int64),
        )


def sparse_linkage(judge: Judge, links: Links, count: int) -> NDArray[np.int64]:
    """Group items by average linkage under cannot-link constraints.

    Args:
        judge: Judges any pair.
        links: Candidate pairs of single items.
        count: Number of items N.

    Returns:
        `(N,)` labels, each the smallest index of its group; a function of the input alone.
    """
    labels = np.arange(count)
    for _ in range(_ROUNDS):
        labels, links = _join(judge, links, labels)
        new = _alike_groups(judge, links, labels)
        if not len(new.left):
            break
        links = _with_links(links, new, judge, Groups(labels))
        if not len(_best_for_each_other(links, _means(links, Groups(labels)))):
            break
    return labels


def _join(judge: Judge, links: Links, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Links]:
    """Join groups until no two that have a link gain by it."""
    groups = Groups(labels)
    while True:
        best = _best_for_each_other(links, _means(links, groups))
        if not len(best):
            return labels, links
        size = groups.size[links.a[best]] * groups.size[links.b[best]]
        vague = best[links.allowed[best] + links.barred[best] < size]
        verdict = judge.between(groups, links.a[vague], links.b[vague])
        links = links.made_exact(vague, verdict)
        # What turned out less alike than it seemed must be compared with its rivals again.
        sure = np.setdiff1d(best, vague)
        if len(sure):
            to = np.arange(len(labels))
            to[links.b[sure]] = links.a[sure]
            labels, links = to[labels], links.contracted(to)
            groups = Groups(labels)


def _means(links: Links, groups: Groups) -> NDArray[np.float64]:
    """Return the mean log-odds of each link, at most; minus infinity where the rules forbid it."""
    size = groups.size[links.a] * groups.size[links.b]
    return np.where(links.barred > 0, -np.inf, links.total / size)


def _best_for_each_other(links: Links, mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return links with a positive mean that are the best of both their groups.

    Of equal ones the one with the smaller groups' names is better, so the best of all is returned.
    """
    live = np.flatnonzero(mean > 0)
    order = live[np.lexsort((links.b[live], links.a[live], -mean[live]))]
    ends = np.stack([links.a[order], links.b[order]], axis=1).reshape(-1)
    _, first = np.unique(ends, return_index=True)
    wins = np.bincount(first // 2, minlength=len(order))
    out: NDArray[np.int64] = order[wins == 2]
    return out


def _alike_groups(judge: Judge, links: Links, labels: NDArray[np.int64]) -> Pairs:
    """Return pairs of groups without a link that are alike as wholes."""
    names, group = np.unique(labels, return_inverse=True)
    seen = ~judge.evidence.blind[names]
    mean = judge.looks.mean
    prototype = np.zeros((len(names), mean.shape[1]), np.float32)
    np.add.at(prototype, group, mean)
    # The product of two mean vectors is the mean of the products of their members.
    prototype /= np.bincount(group)[:, None]
    found = similarity_topk(prototype, prototype, _PROTOTYPES + 1, valid=seen)
    row, column = np.nonzero((found.index >= 0) & seen[:, None])
    # Mean vectors are a little less alike than exemplars, so look also at what falls short.
    near = found.similarity[row, column] > (judge.across.threshold + judge.across.impostor[0]) / 2
    row, column = row[near], found.index[row[near], column[near]]
    pairs = unique_pairs(names[row], names[column], len(labels))
    known = np.isin(
        pairs.left * len(labels) + pairs.right, links.a * len(labels) + links.b, kind="sort"
    )
    return Pairs(pairs.left[~known], pairs.right[~known])


def _with_links(links: Links, new: Pairs, judge: Judge, groups: Groups) -> Links:
    verdict = judge.between(groups, new.left, new.right)
    return Links(
        np.concatenate([links.a, new.left]),
        np.concatenate([links.b, new.right]),
        np.concatenate([links.total, verdict.total]),
        np.concatenate([links.allowed, verdict.allowed]),
        np.concatenate([links.barred, verdict.barred]),
    )
