"""What online association is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from crosscam_edge.types import TrackletKey


BY_HAND = "by hand"
"""Cause of what somebody asked for."""


class EventKind(StrEnum):
    """What happened to an identity.

    Attributes:
        NEW: It began with a tracklet that nobody matched.
        MATCHED: A tracklet was found to be somebody known.
        MOVED: A tracklet was found to be somebody else than was thought.
        MERGED: Two identities were found to be one person; `other_id` is no more.
        SPLIT: An identity was found to be two people; this one was part of `other_id`.
        ENDED: It was not seen for too long, or there were too many: it is forgotten.
        ERASED: Somebody asked for everything about it to be deleted.
    """

    NEW = "new"
    MATCHED = "matched"
    MOVED = "moved"
    MERGED = "merged"
    SPLIT = "split"
    ENDED = "ended"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """One thing that happened to an identity.

    Attributes:
        kind: What.
        time_ns: When it was decided: time of the newest frame then, UTC nanoseconds.
        global_id: The identity, from 1; ids are never used again.
        key: The tracklet; None for `MERGED`, `SPLIT` and `ENDED`.
        other_id: The identity that was absorbed, split or left; 0 otherwise.
        odds: Log-odds, in nats, that the tracklet is of this identity; NaN where none was asked.
        runner_up: The same of the best other identity it could have had; NaN without one.
        runner_up_id: That identity; 0 without one.
        cause: `BY_HAND`, or empty where the association found it.
    """

    kind: EventKind
    time_ns: int
    global_id: int
    key: TrackletKey | None = None
    other_id: int = 0
    odds: float = float("nan")
    runner_up: float = float("nan")
    runner_up_id: int = 0
    cause: str = ""


@dataclass(frozen=True, slots=True)
class OnlineConfig:
    """When a tracklet gets its identity, how long that may be corrected, and what is remembered.

    Attributes:
        min_crops: Good crops before a living tracklet is compared with anybody; one that ended is
            compared with what it has.
        margin: Nats by which the answer must be ahead, of the runner-up and of "nobody known" ...
        patience_s: ... or a living tracklet waits this long for more crops before it is given.
        horizon_s: Tracklets that ended no longer ago than this are looked at again by a review.
        review_tracklets: At most so many tracklets in a review, the latest.
        agreement: A review's correction is made when so many reviews in a row ask for it.
        ttl_s: An identity that was not seen for longer is forgotten.
        most_identities: At most so many are remembered; who was not seen for longest is forgotten.
        most_tracklets: The same of their tracklets; each takes 5 to 12 kB.
        most_members: Tracklets kept of an identity.
        representatives: Tracklets that speak for an identity when a new one is compared with it.
        candidates: Identities, the most alike, that a tracklet is compared with.
    """

    min_crops: int = 3
    margin: float = 1.0
    patience_s: float = 3.0
    horizon_s: float = 900.0
    review_tracklets: int = 600
    agreement: int = 2
    ttl_s: float = 86_400.0
    most_identities: int = 10_000
    most_tracklets: int = 25_000
    most_members: int = 24
    representatives: int = 8
    candidates: int = 16

    def __post_init__(self) -> None:
        for name in (
            "min_crops",
            "review_tracklets",
            "agreement",
            "most_identities",
            "most_tracklets",
            "most_members",
            "representatives",
            "candidates",
        ):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}", expected="at least 1", fix=f"raise {name}"
                )
        for name in ("margin", "patience_s", "horizon_s", "ttl_s"):
            if not getattr(self, name) >= 0:
                raise UsageError(
                    f"{name} is {getattr(self, name)}", expected="0 or more", fix=f"raise {name}"
                )
