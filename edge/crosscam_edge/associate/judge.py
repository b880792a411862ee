"""Scores, log-odds and rules for any pairs of tracklets, worked out when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosscam_edge.associate.features import Looks, paired_similarity, similarity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from crosscam_edge.associate.calibrate import ScoreModel
    from crosscam_edge.associate.evidence import Evidence

_CHUNK_BYTES = 4 << 20  # of exemplars gathered at once
SAMPLE = 64  # members of a group that speak for it
_BLOCK = 500_000  # pairs whose rules are looked up at once


class Verdict(NamedTuple):
    """What all pairs between two groups come to, for `(P,)` pairs of groups.

    Attributes:
        total: Sum of the log-odds of the pairs that are allowed; estimated for large groups.
        allowed: Number of pairs that are allowed.
        barred: Number of pairs that are forbidden; always exact.
    """

    total: NDArray[np.float64]
    allowed: NDArray[np.int64]
    barred: NDArray[np.int64]


class Groups:
    """Members of groups, found by number.

    Args:
        labels: `(N,)` number of the group of each item; groups are numbered from 0 to N - 1.
    """

    def __init__(self, labels: NDArray[np.int64]) -> None:
        self.labels = labels
        self.size = np.bincount(labels, minlength=len(labels))
        self._order = np.argsort(labels, kind="stable")
        self._start = np.cumsum(self.size) - self.size

    def members(self, group: int) -> NDArray[np.int64]:
        """Return the items of a group in ascending order."""
        first = self._start[group]
        return self._order[first : first + self.size[group]]

    def of(
        self, group: NDArray[np.int64], most: int | None = SAMPLE
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the members of the groups `group[p]`: the numbers `p`, and the items.

        Args:
            group: `(P,)` groups.
            most: At most so many members of a group, evenly spread, its first included; None: all.
        """
        one = np.zeros(len(group), np.int64)
        for owner, _, place in _cells(one + 1, self._counts(group, most)):
            yield owner, self._items(group[owner], place, most)

    def cross(
        self, a: NDArray[np.int64], b: NDArray[np.int64], most: int | None = SAMPLE
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """Yield all pairs between the groups `a[p]` and `b[p]`: the numbers `p`, and both items.

        Args:
            a: `(P,)` groups.
            b: `(P,)` groups.
            most: As for `of`.
        """
        for owner, row, column in _cells(self._counts(a, most), self._counts(b, most)):
            yield owner, self._items(a[owner], row, most), self._items(b[owner], column, most)

    def _counts(self, group: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
        size = self.size[group]
        return size if most is None else np.minimum(size, most)

    def _items(
        self, group: NDArray[np.int64], place: NDArray[np.int64], most: int | None
    ) -> NDArray[np.int64]:
        spread = place * self.size[group] // self._counts(group, most)
        return self._order[self._start[group] + spread]


def _cells(
    rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the number, row and column of all cells of tables, in pieces of bounded size."""
    count = rows * columns
    ends = np.cumsum(count)
    low = 0
    while low < len(count):
        before = int(ends[low - 1]) if low else 0
        high = max(int(np.searchsorted(ends, before + _BLOCK, side="right")), low + 1)
        owner = np.repeat(np.arange(low, high), count[low:high])
        row, column = np.divmod(
            np.arange(before, ends[high - 1]) - (ends - count)[owner], columns[owner]
        )
        yield owner, row, column
        low = high


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges pairs of N tracklets.

    Attributes:
        looks: Of all tracklets, centred.
        across: Scores of pairs of two cameras.
        within: Scores of pairs of one camera.
        evidence: What place and time say.
    """

    looks: Looks
    across: ScoreModel
    within: ScoreModel
    evidence: Evidence

    def weigh(
        self, i: NDArray[np.int64], j: NDArray[np.int64], score: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the log-odds of `(P,)` pairs, and which are forbidden; scores may be given."""
        return self._weigh(i, j, pair_scores(self.looks, i, j) if score is None else score)

    def block(self, items: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the log-odds `(M, M)` of all pairs of `(M,)` items, and which are forbidden."""
        looks = Looks(self.looks.mean[items], self.looks.exemplars[items])
        return self._weigh(items[:, None], items[None, :], similarity(looks, looks))

    def _weigh(
        self, i: NDArray[np.int64], j: NDArray[np.int64], score: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        odds, forbidden = self.evidence.judge(i, j)
        camera = self.evidence.spans.camera
        one = camera[i] == camera[j]
        odds += np.where(one, self.within.log_odds(score), self.across.log_odds(score))
        return odds, forbidden

    def between(self, groups: Groups, a: NDArray[np.int64], b: NDArray[np.int64]) -> Verdict:
        """Judge all pairs between the groups `a[p]` and `b[p]`.

        The rules are looked up for every pair. Looks are compared for every pair of groups of up to
        64 members; of larger ones 64 members, evenly spread in time, speak for all.
        """
        count = len(a)
        total, allowed = np.zeros(count), np.zeros(count, np.int64)
        barred = np.zeros(count, np.int64)
        for p, i, j in groups.cross(a, b):
            weight, forbidden = self.weigh(i, j)
            total += np.bincount(p, np.where(forbidden, np.float32(0), weight), count)
            allowed += np.bincount(p[~forbidden], minlength=count)
            barred += np.bincount(p[forbidden], minlength=count)
        large = np.maximum(groups.size[a], groups.size[b]) > SAMPLE
        which = np.flatnonzero(large)
        if len(which):
            mean = total[which] / np.maximum(allowed[which], 1)
            barred[which] = 0
            for owner, i, j in groups.cross(a[which], b[which], None):
                _, forbidden = self.evidence.judge(i, j)
                barred += np.bincount(which[owner[forbidden]], minlength=count)
            allowed[which] = groups.size[a[which]] * groups.size[b[which]] - barred[which]
            total[which] = mean * allowed[which]
        return Verdict(total, allowed, barred)


def pair_scores(looks: Looks, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return `(P,)`: the similarities of the tracklets `i[p]` and `j[p]`."""
    out = np.empty(len(i), np.float32)
    step = max(1, _CHUNK_BYTES // max(looks.exemplars[0].nbytes, 1) // 2) if len(i) else 1
    for first in range(0, len(i), step):
        part = slice(first, first + step)
        out[part] = paired_similarity(
            Looks(looks.mean[i[part]], looks.exemplars[i[part]]),
            Looks(looks.mean[j[part]], looks.exemplars[j[part]]),
        )
    return out
