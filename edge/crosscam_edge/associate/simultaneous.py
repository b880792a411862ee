"""Whether a person can be seen by two cameras at once: learned, unless told.

Where views do not overlap, a person in one camera is not in the other. Nobody has to say which
views overlap: of the pairs of tracklets that look most alike (each the other's best), count how
many are seen at once, and compare with how many would be if looks and time had nothing to do with
each other. Clocks that disagree make the two numbers equal, and then time says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.associate.constraints import Spans

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


@dataclass(frozen=True, slots=True)
class Presence:
    """What being seen at once says, for each pair of C cameras; symmetric.

    Attributes:
        yes: `(C, C)` log-odds of a pair of tracklets that is seen at once.
        no: `(C, C)` log-odds of one that is not.
        never: `(C, C)` whether a pair that is seen at once is impossible.
        tolerance_s: Seconds beyond which two are seen at once.
    """

    yes: NDArray[np.float32]
    no: NDArray[np.float32]
    never: NDArray[np.bool_]
    tolerance_s: float

    def judge(
        self, left: NDArray[np.int64], right: NDArray[np.int64], shared: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return log-odds to add, and which pairs are impossible.

        Args:
            left: Cameras of the one side of the pairs.
            right: Cameras of the other; broadcasts against `left`.
            shared: Seconds seen at once, of the broadcast shape.
        """
        at_once = shared > self.tolerance_s
        odds = np.where(at_once, self.yes[left, right], self.no[left, right])
        return odds, at_once & self.never[left, right]


def count_all(
    similarity: NDArray[np.float32],
    camera: NDArray[np.int64],
    names: Sequence[str],
    shared: NDArray[np.float32],
    threshold: float,
    config: AssociationConfig,
) -> dict[tuple[int, int], tuple[int, int, float]]:
    """Count mutually best pairs of each pair of cameras, from all pairs of tracklets.

    Args:
        similarity: `(N, N)`.
        camera: `(N,)` numbers into `names`.
        names: Camera names.
        shared: `(N, N)` seconds seen at once.
        threshold: Similarity from which pairs are believed.
        config: What is known.

    Returns:
        By numbers of cameras: mutually best pairs, those of them that are seen at once, and the
        share of all pairs that is.
    """
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
    return counts


def count_pairs(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    spans: Spans,
    names: Sequence[str],
    config: AssociationConfig,
) -> dict[tuple[int, int], tuple[int, int, float]]:
    """Count as `count_all` does, from a list of the mutually best pairs; in O(N log N).

    Args:
        left: `(P,)` tracklets.
        right: `(P,)` tracklets of other cameras, with which they are mutually best.
        spans: Of all tracklets.
        names: Camera names.
        config: What is known.
    """
    size = len(names)
    low = np.minimum(spans.camera[left], spans.camera[right])
    cell = low * size + np.maximum(spans.camera[left], spans.camera[right])
    together = spans.shared(left, right) > config.overlap_tolerance_s
    matched = np.bincount(cell, minlength=size * size)
    at_once = np.bincount(cell, weights=together, minlength=size * size)
    tolerance = round(config.overlap_tolerance_s * 1e9)
    by_camera = []
    for c in range(size):
        start, end = spans.start[spans.camera == c], spans.end[spans.camera == c]
        long = end - start > tolerance  # nobody shares more time than one is seen
        by_camera.append((len(start), np.sort(start[long]), np.sort(end[long])))
    counts = {}
    for a in range(size):
        for b in range(a + 1, size):
            (all_a, start_a, end_a), (all_b, start_b, end_b) = by_camera[a], by_camera[b]
            # Of two that are long enough exactly one may leave before the other has come.
            before = np.searchsorted(end_a, start_b + tolerance, side="right").sum()
            after = np.searchsorted(end_b, start_a + tolerance, side="right").sum()
            share = (len(start_a) * len(start_b) - int(before) - int(after)) / (all_a * all_b)
            number = a * size + b
            counts[a, b] = (int(matched[number]), int(at_once[number]), share)
    return counts


def learn_presence(
    counts: Mapping[tuple[int, int], tuple[int, int, float]],
    names: Sequence[str],
    config: AssociationConfig,
) -> Presence:
    """Judge each pair of cameras by how often mutually best pairs are seen at once.

    Args:
        counts: What `count_all` or `count_pairs` returned; not used when clocks disagree.
        names: Camera names.
        config: What is known.
    """
    size = len(names)
    yes, no = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    never = np.zeros((size, size), np.bool_)
    out = Presence(yes, no, never, config.overlap_tolerance_s)
    if not config.clocks_agree:
        return out
    expected = sum(n * q for n, _, q in counts.values())
    observed = sum(k for _, k, _ in counts.values())
    ratio = (observed + _PRIOR_RATIO * _PRIOR_PAIRS) / (expected + _PRIOR_PAIRS)
    for (a, b), (n, k, q) in counts.items():
        pair = frozenset((names[a], names[b]))
        if pair in config.separate:  # holds also where all are at once and nothing can be learned
            never[a, b] = never[b, a] = True
        if pair in config.overlapping or q in (0.0, 1.0):
            continue
        chance = float(bdtr(k, n, q))
        if n >= _MIN_PAIRS and k < 0.25 * n * q and chance < _CHANCE:
            never[a, b] = never[b, a] = True
        # Never below what the prior can support, never so sure that looks cannot overrule it.
        prior = float(np.clip(min(ratio, 1.0 / q) * q, 1e-3, 1 - 1e-3))
        rate = (k + _PRIOR_PAIRS * prior) / (n + _PRIOR_PAIRS)
        yes[a, b] = yes[b, a] = np.clip(np.log(rate / q), -_MAX, _MAX)
        no[a, b] = no[b, a] = np.clip(np.log((1 - rate) / (1 - q)), -_MAX, 1.0)
    return out
