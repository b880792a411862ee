"""What several reviews in a row ask for: one alone may change its mind."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crosscam_edge.associate.online.review import wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_edge.associate.online.review import Review
    from crosscam_edge.types import TrackletKey

    Target = tuple[int | None, TrackletKey]


class Changes(NamedTuple):
    """What shall be changed.

    Attributes:
        merged: Identities that are no more, and the one that each becomes.
        moved: Tracklets of somebody else: that identity, or None for one that is not there yet,
            and the earliest tracklet of the group, which tells new ones apart.
    """

    merged: dict[int, int]
    moved: dict[TrackletKey, Target]


class Corrections:
    """Counts for how many reviews in a row each change has been asked for.

    Args:
        agreement: Reviews that must ask for it.
    """

    def __init__(self, agreement: int) -> None:
        self._agreement = agreement
        self._merged: dict[tuple[int, int], int] = {}
        self._moved: dict[tuple[TrackletKey, int | TrackletKey], int] = {}

    def agreed(self, review: Review, labels: Sequence[int]) -> Changes:
        """Take what a review found; returns what is to be done now.

        Args:
            review: What was solved.
            labels: `(N,)` group of each of its tracklets.
        """
        found = wanted(review, labels)
        first: dict[int, TrackletKey] = {}
        for tracklet, label in zip(review.tracklets, labels, strict=True):
            first.setdefault(label, tracklet.key)
        group = {t.key: label for t, label in zip(review.tracklets, labels, strict=True)}
        targets: dict[TrackletKey, Target] = {
            key: (target if target > 0 else None, first[group[key]])
            for key, target in found.moved.items()
        }
        self._merged = {pair: self._merged.get(pair, 0) + 1 for pair in found.merged.items()}
        names = {
            (key, anchor if target is None else target): key
            for key, (target, anchor) in targets.items()
        }
        self._moved = {name: self._moved.get(name, 0) + 1 for name in names}
        merged = dict(pair for pair, count in self._merged.items() if count >= self._agreement)
        moved = {
            names[name]: targets[names[name]]
            for name, count in self._moved.items()
            if count >= self._agreement
        }
        for pair in merged.items():
            del self._merged[pair]
        for name in [name for name in self._moved if names[name] in moved]:
            del self._moved[name]
        return Changes(merged, moved)
