"""How fast people get from one camera to another: given, or learned from the run.

Only haste is judged. A long time between two cameras says little, since whoever took it may have
stood somewhere that nobody sees; but a way takes its time. The quickest of the transits that were
found bounds it, and a wrong match among them can only make the bound looser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.associate.constraints import Spans

_MIN_TRANSITS = 8  # of an ordered pair of cameras, from which haste is judged
_HASTE = 0.5  # share of the quickest transit below which a transit is thought too quick
_CELL = 4_000_000  # pairs of tracklets of two cameras up to which every one is looked at


@dataclass(frozen=True, slots=True)
class Travel:
    """How long the ways between C cameras take; rows are where one leaves.

    Attributes:
        least_s: `(C, C)` seconds below which a transit is impossible; minus infinity: any is fine.
        haste_s: `(C, C)` seconds below which a transit is thought too quick; likewise.
        worth: `(C, C)` log-odds of one that is, never positive.
        slack_s: Seconds by which clocks may disagree.
    """

    least_s: NDArray[np.float32]
    haste_s: NDArray[np.float32]
    worth: NDArray[np.float32]
    slack_s: float

    def judge(
        self, spans: Spans, i: NDArray[np.int64], j: NDArray[np.int64], shared: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return log-odds to add, never positive, and which pairs are impossible.

        Args:
            spans: Of all tracklets.
            i: The one side of the pairs.
            j: The other; broadcasts against `i`.
            shared: Seconds seen at once, of the broadcast shape.
        """
        odds = np.zeros(shared.shape, np.float32)
        impossible = np.zeros(shared.shape, np.bool_)
        given = bool(np.isfinite(self.least_s).any())
        learned = bool(np.isfinite(self.haste_s).any())
        if not given and not learned:
            return odds, impossible
        gap = -shared
        for a, b in ((i, j), (j, i)):
            leads = spans.start[a] <= spans.start[b]
            way = spans.camera[a], spans.camera[b]
            if given:
                impossible |= leads & (gap < self.least_s[way])
            if learned:
                quick = _hasty(gap, self.haste_s[way], self.slack_s) & leads
                odds += np.where(quick, self.worth[way], np.float32(0))
        return odds, impossible


def learn_travel(
    spans: Spans,
    names: Sequence[str],
    transits: Mapping[tuple[str, str], Sequence[float]],
    config: AssociationConfig,
) -> Travel:
    """Judge each ordered pair of cameras by the transits found so far.

    Args:
        spans: Of all tracklets.
        names: Camera names.
        transits: Seconds of the transits found so far, per ordered pair of cameras.
        config: What is known.
    """
    size, slack = len(names), config.overlap_tolerance_s
    least_s, haste_s = np.full((2, size, size), -np.inf, np.float32)
    worth = np.zeros((size, size), np.float32)
    out = Travel(least_s, haste_s, worth, slack)
    if not config.clocks_agree:
        return out
    for a, left in enumerate(names):
        for b, right in enumerate(names):
            least = config.least_transit_s.get((left, right))
            usual = config.usual_transit_s.get((left, right))
            told = [] if usual is None else [usual] * _MIN_TRANSITS
            seen = sorted([*transits.get((left, right), ()), *told])
            if a == b or (least is None and len(seen) < _MIN_TRANSITS):
                continue
            if least is not None:
                least_s[a, b] = least - slack
            elif seen[0] > 0:
                # Never seen in n transits: once in n + 2 at most (Laplace's rule of succession).
                haste_s[a, b] = _HASTE * seen[0] - slack
                share = max(_share(spans, a, b, _HASTE * seen[0] - slack, slack), 1e-3)
                worth[a, b] = min(0.0, float(np.log(1.0 / (len(seen) + 2) / share)))
    return out


def _share(spans: Spans, a: int, b: int, limit: float, slack: float) -> float:
    """Return the share of all pairs of tracklets of two cameras that is too quick by chance."""
    rows, columns = np.flatnonzero(spans.camera == a), np.flatnonzero(spans.camera == b)
    i, j = rows[:, None], columns[None, :]
    if len(rows) * len(columns) > _CELL:  # a fixed sample says enough
        rng = np.random.default_rng(0)
        i, j = rng.choice(rows, _CELL // 8), rng.choice(columns, _CELL // 8)
    leads = spans.start[i] <= spans.start[j]
    return float((_hasty(-spans.shared(i, j), limit, slack) & leads).mean())


def _hasty(
    gap: NDArray[np.float32], limit: NDArray[np.float32] | float, slack: float
) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = (gap >= -slack) & (gap < limit)
    return out
