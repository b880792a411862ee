"""Everything but looks that speaks for or against two tracklets being one person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.associate.constraints import Spans
    from crosscam_edge.associate.simultaneous import Presence
    from crosscam_edge.associate.travel import Travel

OVERLAP = np.float32(2.0)  # nats against one person whose tracklets overlap where none is sure


@dataclass(frozen=True, slots=True)
class Evidence:
    """Judges pairs of tracklets by place and time.

    Attributes:
        spans: Of all N tracklets.
        blind: `(N,)` whether nobody knows what the tracklet looks like.
        presence: What being seen at once says.
        travel: What the time between two sights says.
    """

    spans: Spans
    blind: NDArray[np.bool_]
    presence: Presence
    travel: Travel

    def judge(
        self, i: NDArray[np.int64], j: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return log-odds to add to those of the looks, and which pairs are forbidden.

        Args:
            i: The one side of the pairs.
            j: The other; broadcasts against `i`. Nothing is forbidden to be itself.
        """
        shared = self.spans.shared(i, j)
        camera = self.spans.camera
        odds, impossible = self.presence.judge(camera[i], camera[j], shared)
        haste, too_fast = self.travel.judge(self.spans, i, j, shared)
        hard = self.spans.at_once(i, j)
        soft = self.spans.overlapping(i, j) & ~hard
        odds += haste - np.where(soft, OVERLAP, np.float32(0))
        forbidden = hard | impossible | too_fast | self.blind[i] | self.blind[j]
        return odds, forbidden & (i != j)
