"""What a solved run has learned, put to use on tracklets that came later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_edge.associate.constraints import Spans
from crosscam_edge.associate.evidence import Evidence
from crosscam_edge.associate.features import Looks, centred
from crosscam_edge.associate.judge import Judge
from crosscam_edge.associate.simultaneous import Presence
from crosscam_edge.associate.travel import Travel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.calibrate import ScoreModel
    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.types import Tracklet


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Everything that pairs of tracklets are judged by.

    Attributes:
        names: The C cameras that something is known of.
        shift: `(C, D)` to subtract from the embeddings of each.
        across: Scores of pairs of two cameras.
        within: Scores of pairs of one.
        presence: What being seen at once says.
        travel: What the time between two sights says.
    """

    names: tuple[str, ...]
    shift: NDArray[np.float64]
    across: ScoreModel
    within: ScoreModel
    presence: Presence
    travel: Travel

    def judge(self, tracklets: Sequence[Tracklet], looks: Looks, site: AssociationConfig) -> Judge:
        """Return a judge of pairs of tracklets, also of cameras that were not known before.

        Of such a camera no colour cast is known, only the centre that all cameras share, and no way
        to another one but for what the site says.

        Args:
            tracklets: N of them.
            looks: How they look, not yet centred.
            site: What is said of the site now: it holds at once, whatever was learned from.
        """
        blind = np.linalg.norm(looks.mean, axis=1) == 0
        evidence = self.evidence(tracklets, blind, site)
        shift, more = self.shift, int(evidence.spans.camera.max(initial=-1)) + 1 - len(self.names)
        if more > 0:
            shift = np.concatenate([shift, np.tile(shift.mean(axis=0), (more, 1))])
        looks = centred(looks, shift[evidence.spans.camera])
        return Judge(looks, self.across, self.within, evidence)

    def evidence(
        self, tracklets: Sequence[Tracklet], blind: NDArray[np.bool_], site: AssociationConfig
    ) -> Evidence:
        """Return what place and time say of pairs of tracklets; see `judge`.

        Args:
            tracklets: N of them.
            blind: `(N,)` whether nobody knows what the tracklet looks like.
            site: What is said of the site now.
        """
        new = sorted({t.camera_id for t in tracklets} - set(self.names))
        spans, more = Spans.of(tracklets, (*self.names, *new)), len(new)
        presence, travel = _wider_presence(self.presence, more), _wider_travel(self.travel, more)
        if site.clocks_agree:
            names = (*self.names, *new)
            presence, travel = _said(presence, names, site), _given(travel, names, site)
        return Evidence(spans, blind, presence, travel)


def _wider_presence(presence: Presence, more: int) -> Presence:
    yes, no, never = (_wider(m, 0, more) for m in (presence.yes, presence.no, presence.never))
    return Presence(yes, no, never.astype(np.bool_), presence.tolerance_s)


def _wider_travel(travel: Travel, more: int) -> Travel:
    least, haste = (_wider(m, -np.inf, more) for m in (travel.least_s, travel.haste_s))
    return Travel(least, haste, _wider(travel.worth, 0, more), travel.slack_s)


def _said(presence: Presence, names: Sequence[str], site: AssociationConfig) -> Presence:
    """Return it with what a site says of views that overlap, or never do."""
    number = {name: k for k, name in enumerate(names)}
    yes, no, never = presence.yes.copy(), presence.no.copy(), presence.never.copy()
    for pairs, apart in ((site.separate, True), (site.overlapping, False)):
        for pair in pairs:
            if not pair <= number.keys():
                continue
            a, b = (number[name] for name in sorted(pair))
            never[a, b] = never[b, a] = apart
            if not apart:
                yes[a, b] = yes[b, a] = no[a, b] = no[b, a] = 0.0
    return replace(presence, yes=yes, no=no, never=never)


def _given(travel: Travel, names: Sequence[str], site: AssociationConfig) -> Travel:
    """Return it with the ways of which a site says how long they take at least, and no others."""
    number = {name: k for k, name in enumerate(names)}
    least, haste = np.full_like(travel.least_s, -np.inf), travel.haste_s.copy()
    for (left, right), seconds in site.least_transit_s.items():
        if left in number and right in number:
            way = number[left], number[right]
            least[way], haste[way] = seconds - travel.slack_s, -np.inf
    return replace(travel, least_s=least, haste_s=haste)


def _wider(matrix: NDArray[Any], value: float, more: int) -> NDArray[Any]:
    return np.pad(matrix, ((0, more), (0, more)), constant_values=value)
