"""How fast people get from one camera to another: given, or learned from the run.

Only haste is judged. A long time between two cameras says little, since whoever took it may have
stood somewhere that nobody sees; but a way takes its time. The quickest of the transits that were
found bounds it, and a wrong match among them can only make the bound looser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.config import AssociationConfig

_MIN_TRANSITS = 8  # of an ordered pair of cameras, from which haste is judged
_HASTE = 0.5  # share of the quickest transit below which a transit is thought too quick


def travel_evidence(
    camera: NDArray[np.int64],
    names: Sequence[str],
    shared: NDArray[np.float32],
    starts: NDArray[np.int64],
    transits: Mapping[tuple[str, str], Sequence[float]],
    config: AssociationConfig,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Judge pairs of tracklets of different cameras by the time between them.

    Args:
        camera: `(N,)` numbers into `names`.
        names: Camera names.
        shared: `(N, N)` seconds seen at once; negative is the gap.
        starts: `(N,)` ns at which each tracklet begins.
        transits: Seconds of the transits found so far, per ordered pair of cameras.
        config: What is known.

    Returns:
        Log-odds `(N, N)` to add, never positive, and pairs `(N, N)` that are impossible. Both are
        symmetric.
    """
    odds = np.zeros(shared.shape, np.float32)
    impossible = np.zeros(shared.shape, np.bool_)
    if not config.clocks_agree:
        return odds, impossible
    slack = config.overlap_tolerance_s
    for a, left in enumerate(names):
        for b, right in enumerate(names):
            least = config.least_transit_s.get((left, right))
            seen = sorted(transits.get((left, right), ()))
            if a == b or (least is None and len(seen) < _MIN_TRANSITS):
                continue
            rows, columns = np.flatnonzero(camera == a), np.flatnonzero(camera == b)
            cell = np.ix_(rows, columns)
            gap = -shared[cell]
            leads = starts[rows][:, None] <= starts[columns][None, :]
            if least is not None:
                bad = leads & (gap < least - slack)
                impossible[cell] |= bad
                impossible[np.ix_(columns, rows)] |= bad.T
            elif seen[0] > 0:
                # Never seen in n transits: once in n + 2 at most (Laplace's rule of succession).
                bad = leads & (gap >= -slack) & (gap < _HASTE * seen[0] - slack)
                share = max(float((bad & leads).mean()), 1e-3)
                worth = min(0.0, float(np.log(1.0 / (len(seen) + 2) / share)))
                odds[cell] += np.where(bad, np.float32(worth), np.float32(0))
                odds[np.ix_(columns, rows)] += np.where(bad, np.float32(worth), np.float32(0)).T
    return odds, impossible
