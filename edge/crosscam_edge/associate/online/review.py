"""A second look at everybody of the last minutes together, as the offline association has it.

Decisions that are taken one after the other cannot be as good as one that knows what came after.
So now and then the latest tracklets are solved anew, all together, with those that stand for people
who were not seen for longer. What comes out are groups without names; here they get the names of
the people in them, and what must change for that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from crosscam_edge.associate.pipeline import solve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crosscam_edge.associate.attempt import Attempt
    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.associate.online.people import People
    from crosscam_edge.associate.online.types import OnlineConfig
    from crosscam_edge.types import Tracklet, TrackletKey

_MOST_SIGHTS = 200  # detections of a tracklet that count for whose name a group gets
_OLD = 2  # tracklets that stand for somebody who was not seen for longer


@dataclass(frozen=True, slots=True)
class Review:
    """Tracklets to solve together; holds nothing that changes, so any thread may solve it.

    Attributes:
        tracklets: N of them, in order of their starts.
        owner: `(N,)` whose each is now.
        movable: Keys of those that may be given to somebody else.
    """

    tracklets: tuple[Tracklet, ...]
    owner: tuple[int, ...]
    movable: frozenset[TrackletKey]

    def solve(self, model_id: str, config: AssociationConfig) -> Attempt:
        """Return the groups, and what was learned; not why, for nobody asks and it is large."""
        return replace(solve(self.tracklets, model_id=model_id, config=config), explain=list)


def gather(people: People, settings: OnlineConfig, now_ns: int) -> Review:
    """Collect the latest tracklets, and some of everybody else as far as there is room.

    Args:
        people: Everybody.
        settings: How far back, and how many.
        now_ns: The present.
    """
    since = now_ns - round(settings.horizon_s * 1e9)
    latest = [
        (member.tracklet, identity.global_id)
        for identity in people
        for member in identity.members.values()
        if not member.ended or member.tracklet.end_ns >= since
    ]
    latest.sort(key=lambda item: (-item[0].end_ns, item[0].key))
    chosen = {t.key: (t, g) for t, g in latest[: settings.review_tracklets]}
    movable = frozenset(chosen)
    for identity in sorted(people, key=lambda each: (-each.last_ns, each.global_id)):
        if len(chosen) >= settings.review_tracklets + settings.review_tracklets // 2:
            break
        for member in identity.representatives(_OLD):
            chosen.setdefault(member.tracklet.key, (member.tracklet, identity.global_id))
    order = sorted(chosen.values(), key=lambda item: (item[0].start_ns, *item[0].key))
    return Review(tuple(t for t, _ in order), tuple(g for _, g in order), movable)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a review asks for.

    Attributes:
        merged: Identities that are one person, and the one that they become.
        moved: Tracklets that are somebody else: an identity, or, negative, one not yet there.
    """

    merged: Mapping[int, int]
    moved: Mapping[TrackletKey, int]


def wanted(review: Review, labels: Sequence[int]) -> Wanted:
    """Name the groups of a solved review after the people in them, and say what must change.

    A group gets the name of whom most of it is, each name once (the assignment of Kuhn and
    Munkres); of people who are in it as a whole, the one with the lowest id counts for all of them,
    so that who was known first stays. Who is in a group as a whole, and does not give it its name,
    is merged. Single tracklets are moved only when they may be.

    Args:
        review: What was solved.
        labels: `(N,)` group of each tracklet.
    """
    weights: dict[int, Counter[int]] = {}
    groups_of: dict[int, set[int]] = {}
    for tracklet, owner, label in zip(review.tracklets, review.owner, labels, strict=True):
        sights = min(max(tracklet.observations, 1), _MOST_SIGHTS)
        weights.setdefault(label, Counter())[owner] += sights
        groups_of.setdefault(owner, set()).add(label)
    whole = {
        label: sorted(owner for owner in found if len(groups_of[owner]) == 1)
        for label, found in weights.items()
    }
    rows, columns = sorted(weights), sorted(groups_of)
    column = {owner: k for k, owner in enumerate(columns)}
    gain = np.zeros((len(rows), len(columns)))
    for r, label in enumerate(rows):
        for owner, weight in weights[label].items():
            gain[r, column[owner]] = weight
        if len(whole[label]) > 1:
            gain[r, column[whole[label][0]]] = sum(weights[label][each] for each in whole[label])
    name = {
        rows[r]: columns[c]
        for r, c in zip(*linear_sum_assignment(gain, maximize=True), strict=True)
        if gain[r, c] > 0
    }
    merged = {
        owner: name[label]
        for label, found in whole.items()
        for owner in found
        if label in name and owner != name[label]
    }
    moved: dict[TrackletKey, int] = {}
    for tracklet, owner, label in zip(review.tracklets, review.owner, labels, strict=True):
        target = name.get(label, -1 - label)
        if target != owner and owner not in merged and tracklet.key in review.movable:
            moved[tracklet.key] = target
    return Wanted(merged, moved)
