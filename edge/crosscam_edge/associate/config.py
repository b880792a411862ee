"""What association may be told; everything has a default that needs no thought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AssociationConfig:
    """Knowledge about the site. There is no similarity threshold here: it is learned in each run.

    Attributes:
        overlapping: Pairs of cameras that see a part of the same ground at the same time.
        separate: Pairs of cameras that never do. Pairs in neither list are judged from the run.
        clocks_agree: Whether times of different cameras can be compared. When False, no rule and no
            prior compares times across cameras.
        transits: Seconds between leaving a camera and appearing in another that are possible, as
            `(shortest, longest)` per ordered pair; pairs left out are learned from the run.
        overlap_tolerance_s: How long two tracklets of cameras with separate views may still be seen
            at once and be one person (clock offset between cameras); seconds.
        max_dense: Number of tracklets up to which all pairs are compared at once; above it only the
            nearest ones of each tracklet are. Bounds memory to about ``40 * max_dense**2`` bytes.
        neighbours: Nearest tracklets kept for each tracklet above `max_dense`.
    """

    overlapping: frozenset[frozenset[str]] = frozenset()
    separate: frozenset[frozenset[str]] = frozenset()
    clocks_agree: bool = True
    transits: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    overlap_tolerance_s: float = 1.0
    max_dense: int = 4000
    neighbours: int = 64
