"""What association may be told; everything has a default that needs no thought."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crosscam_edge.associate.learned import Learned


@dataclass(frozen=True, slots=True)
class AssociationConfig:
    """Knowledge about the site. There is no similarity threshold here: it is learned in each run.

    Attributes:
        overlapping: Pairs of cameras that see a part of the same ground at the same time.
        separate: Pairs of cameras that never do. Pairs in neither list are judged from the run.
        clocks_agree: Whether times of different cameras can be compared. When False, nothing
            compares times across cameras.
        overlap_tolerance_s: How long two tracklets of cameras with separate views may still be seen
            at once and be one person (clock offset between cameras); seconds.
        least_transit_s: Seconds that anybody needs at least from one camera to another, by ordered
            pair of their names. Less is impossible. Pairs not given are learned from the run.
        usual_transit_s: Seconds that nearly everybody needs at least, likewise. It counts as the
            transits from which a run judges haste do, and quicker ones that it finds loosen it.
        learned: What earlier footage of the site has shown of the model's scores and the cameras'
            colours; a run begins from it instead of from what is true of any site.
    """

    overlapping: frozenset[frozenset[str]] = frozenset()
    separate: frozenset[frozenset[str]] = frozenset()
    clocks_agree: bool = True
    overlap_tolerance_s: float = 1.0
    least_transit_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    usual_transit_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    learned: Learned | None = None
