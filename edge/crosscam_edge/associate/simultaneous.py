"""Whether a person can be seen by two cameras at once: learned, unless told.

Where views do not overlap, a person in one camera is not in the other. Nobody has to say which
views overlap: of the pairs of tracklets that look most alike (each the other's best), count how
many are seen at once, and compare with how many would be if looks and time had nothing to do with
each other. Clocks that disagree make the two numbers equal, and then time says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.config import AssociationConfig

# Before anything is seen, views are thought apart: simultaneous pairs this much rarer than chance.
_PRIOR_RATIO = 0.35
_PRIOR_PAIRS = 4.0
_MIN_PAIRS = 6
_CHANCE = 0.02
_MAX = 4.0


def mutual_best(
    similarity: NDArray[np.float32], camera: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """Return `(N, N)`: True where each is the other's best in its camera, above `threshold`."""
    best = np.zeros(similarity.shape, np.bool_)
    for c in np.unique(camera):
        columns = np.flatnonzero(camera == c)
        block = similarity[:, columns]
        best[np.arange(len(block)), columns[np.argmax(block, axis=1)]] = True
    out: NDArray[np.bool_] = best & best.T & (similarity > threshold)
    out &= camera[:, None] != camera[None, :]
    return out


def presence_evidence(
    similarity: NDArray[np.float32],
    camera: NDArray[np.int64],
    names: Sequence[str],
    shared: NDArray[np.float32],
    threshold: float,
    config: AssociationConfig,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Judge all pairs of tracklets of different cameras by whether they are seen at once.

    Args:
        similarity: `(N, N)`.
        camera: `(N,)` numbers into `names`.
        names: Camera names.
        shared: `(N, N)` seconds seen at once.
        threshold: Similarity from which pairs are believed.
        config: What is known.

    Returns:
        Log-odds `(N, N)` to add, and pairs `(N, N)` that are impossible.
    """
    odds = np.zeros(similarity.shape, np.float32)
    impossible = np.zeros(similarity.shape, np.bool_)
    if not config.clocks_agree:
        return odds, impossible
    at_once = shared > config.overlap_tolerance_s
    pairs = mutual_best(similarity, camera, threshold)
    counts: dict[tuple[int, int], tuple[int, int, float]] = {}
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            cell = np.ix_(camera == a, camera == b)
            if at_once[cell].size:
                matched = pairs[cell]
                together = int((matched & at_once[cell]).sum())
                counts[a, b] = (int(matched.sum()), together, float(at_once[cell].mean()))
    expected = sum(n * q for n, _, q in counts.values())
    observed = sum(k for _, k, _ in counts.values())
    ratio = (observed + _PRIOR_RATIO * _PRIOR_PAIRS) / (expected + _PRIOR_PAIRS)
    for (a, b), (n, k, q) in counts.items():
        pair = frozenset((names[a], names[b]))
        cell, transposed = np.ix_(camera == a, camera == b), np.ix_(camera == b, camera == a)
        if pair in config.separate:  # holds also where all are at once and nothing can be learned
            impossible[cell], impossible[transposed] = at_once[cell], at_once[cell].T
        if pair in config.overlapping or q in (0.0, 1.0):
            continue
        chance = float(bdtr(k, n, q))
        apart = n >= _MIN_PAIRS and k < 0.25 * n * q and chance < _CHANCE
        if apart:
            impossible[cell], impossible[transposed] = at_once[cell], at_once[cell].T
        # Never below what the prior can support, never so sure that looks cannot overrule it.
        prior = float(np.clip(min(ratio, 1.0 / q) * q, 1e-3, 1 - 1e-3))
        rate = (k + _PRIOR_PAIRS * prior) / (n + _PRIOR_PAIRS)
        yes = np.clip(np.log(rate / q), -_MAX, _MAX)
        no = np.clip(np.log((1 - rate) / (1 - q)), -_MAX, 1.0)
        block = np.where(at_once[cell], yes, no).astype(np.float32)
        odds[cell], odds[transposed] = block, block.T
    return odds, impossible
