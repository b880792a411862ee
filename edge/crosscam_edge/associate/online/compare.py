"""How far tracklets speak for being somebody known: the evidence of the offline association."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from crosscam_edge.associate.features import Looks
from crosscam_edge.associate.judge import Groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.associate.knowledge import Knowledge
    from crosscam_edge.associate.online.people import Identity, Member


def compare(
    newcomers: Sequence[Member],
    identities: Sequence[Identity],
    knowledge: Knowledge,
    site: AssociationConfig,
    representatives: int,
) -> NDArray[np.float64]:
    """Return `(N, M)` mean log-odds, in nats, that a newcomer is a person; -inf where it cannot be.

    It is the mean over the person's tracklets, as average linkage has it offline: the pairs are not
    independent evidence. Whether somebody cannot be it is asked of all tracklets that are
    remembered, how alike they are of `representatives`.

    Args:
        newcomers: N tracklets.
        identities: M people.
        knowledge: What pairs are judged by.
        site: What is said of the site now.
        representatives: Tracklets that speak for a person, at most.
    """
    out = np.full((len(newcomers), len(identities)), -np.inf)
    if not out.size:
        return out
    rows, columns = (grid.ravel() for grid in np.indices(out.shape))
    speakers = [identity.representatives(representatives) for identity in identities]
    members, groups = _grouped(newcomers, speakers)
    looks = Looks(
        np.stack([member.mean for member in members]),
        np.stack([member.exemplars for member in members]),
    )
    judge = knowledge.judge([member.tracklet for member in members], looks, site)
    found = judge.between(groups, rows, columns + len(newcomers))
    mean = found.total / np.maximum(found.allowed, 1)
    out[rows, columns] = np.where(found.barred > 0, -np.inf, mean)

    members, groups = _grouped(newcomers, [list(each.members.values()) for each in identities])
    blind = np.array([not member.mean.any() for member in members])
    evidence = knowledge.evidence([member.tracklet for member in members], blind, site)
    for pair, i, j in groups.cross(rows, columns + len(newcomers), None):
        _, forbidden = evidence.judge(i, j)
        barred = pair[forbidden]
        out[rows[barred], columns[barred]] = -np.inf
    return out


def _grouped(
    newcomers: Sequence[Member], groups: Sequence[Sequence[Member]]
) -> tuple[list[Member], Groups]:
    """Return all members, newcomers first, and whose they are; each newcomer is a group."""
    members = [*newcomers, *(member for group in groups for member in group)]
    sizes = [1] * len(newcomers) + [len(group) for group in groups]
    return members, Groups(np.repeat(np.arange(len(sizes)), sizes))


class Answer(NamedTuple):
    """What the comparison says of one newcomer.

    Attributes:
        column: Whom it is thought to be; -1 for nobody known.
        odds: Log-odds of that; of the best one where it is nobody.
        second: Column of the best other person; -1 without one.
        second_odds: Log-odds of that; NaN without one.
        taken: Whether the person it would be is thought to be another newcomer.
    """

    column: int
    odds: float
    second: int
    second_odds: float
    taken: bool


def answer(odds: NDArray[np.float64]) -> list[Answer]:
    """Return who the newcomers of one camera are: no person twice (the hard rule), best together.

    The assignment is that of Kuhn and Munkres over the log-odds above zero.

    Args:
        odds: `(N, M)` as from `compare`.
    """
    gain = np.maximum(odds, 0.0)
    chosen = np.full(len(odds), -1)
    if odds.size:
        rows, columns = linear_sum_assignment(gain, maximize=True)
        good = gain[rows, columns] > 0
        chosen[rows[good]] = columns[good]
    out = []
    for row, column in zip(odds, chosen.tolist(), strict=True):
        order = np.argsort(-row, kind="stable")[: 2 if len(row) > 1 else 1]
        best = [int(c) for c in order if np.isfinite(row[c])]
        others = [c for c in best if c != column]
        second = others[0] if others else -1
        taken = column < 0 and bool(best) and row[best[0]] > 0
        own = column if column >= 0 else (best[0] if best else -1)
        out.append(
            Answer(
                column,
                float(row[own]) if own >= 0 else float("-inf"),
                second,
                float(row[second]) if second >= 0 else float("nan"),
                taken,
            )
        )
    return out
