"""Who is remembered, how they are found by their looks, and what has happened to them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.online.by_hand import Decisions
from crosscam_edge.associate.online.index import Index
from crosscam_edge.associate.online.people import Member, People
from crosscam_edge.associate.online.types import EventKind, IdentityEvent, OnlineConfig
from crosscam_edge.embed.translation import translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.online.people import Identity
    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.types import TrackletKey


class Ledger:
    """People with their tracklets, the index of their looks and the events, kept in step.

    Args:
        dim: Length `D` of an embedding.
        settings: What is remembered.

    Attributes:
        people: Everybody who is remembered.
        decisions: What was decided by hand.
        counts: Of everything that happened.
        heirs: Living tracks without looks that have an id all the same.
    """

    def __init__(self, dim: int, settings: OnlineConfig) -> None:
        self.people = People()
        self.decisions = Decisions()
        self.counts: Counter[str] = Counter()
        self.heirs: dict[TrackletKey, int] = {}
        self._settings = settings
        self._index = Index(dim)
        self._events: list[IdentityEvent] = []

    def take_over(self, before: Ledger, translation: Translation) -> int:
        """Go on with another model where a ledger stands; see `OnlineAssociation.take_over`.

        Returns:
            Number of people who are known no longer.
        """
        self.counts, self._events, self.decisions = before.counts, before._events, before.decisions
        lost = 0
        for identity in before.people:
            for member in identity.members.values():
                tracklet = translated(member.tracklet, translation)
                if len(tracklet.embeddings):
                    self.people.known(identity.global_id)
                    self.people.put(Member.of(tracklet, ended=member.ended), identity.global_id)
                elif not member.ended:
                    self.heirs[tracklet.key] = identity.global_id
            kept = self.people.by_id.get(identity.global_id)
            if kept is None:
                lost += identity.global_id not in self.heirs.values()
            else:
                kept.tracklets = identity.tracklets
                kept.first_ns, kept.last_ns = identity.first_ns, identity.last_ns
                self.indexed(kept)
        self.heirs |= before.heirs
        self.people.never_again(before.people.last_id)
        return lost

    def id_of(self, key: TrackletKey) -> int | None:
        """Return whose a track is, as far as that is known."""
        owner = self.people.id_of(key)
        return self.heirs.get(key) if owner is None else owner

    def put(self, member: Member, global_id: int) -> None:
        """Give a tracklet to somebody who is remembered, or who begins with it."""
        identity = self.people.known(global_id)
        self.people.put(member, global_id)
        self.indexed(identity)

    def nearest(
        self, means: Sequence[NDArray[np.floating]], centre: NDArray[np.floating]
    ) -> list[Identity]:
        """Return who looks most like any of `(D,)` embeddings; see `Index.nearest`."""
        found = self._index.nearest(means, centre, self._settings.candidates)
        return [self.people.by_id[each] for each in found]

    def move(
        self, key: TrackletKey, owner: int, target: int, now_ns: int, *, cause: str = ""
    ) -> None:
        """Give a tracklet of somebody to somebody else; who is left with none is merged."""
        self.people.put(self.people.by_id[owner].members[key], target)
        self.indexed(self.people.by_id[target])
        self.tell(EventKind.MOVED, now_ns, target, key=key, other_id=owner, cause=cause)
        if self.people.by_id[owner].members:
            self.indexed(self.people.by_id[owner])
        else:
            self.people.remove(owner)
            self._index.remove(owner)
            self.tell(EventKind.MERGED, now_ns, target, other_id=owner)

    def merge(self, absorbed: int, into: int, now_ns: int, *, cause: str = "") -> None:
        """Make one person of two."""
        gone, kept = self.people.by_id[absorbed], self.people.by_id[into]
        let_go = gone.tracklets - len(gone.members)
        for member in list(gone.members.values()):
            self.people.put(member, into)
        kept.tracklets += let_go
        for key in [key for key, owner in self.heirs.items() if owner == absorbed]:
            self.heirs[key] = into
        kept.first_ns = min(kept.first_ns, gone.first_ns)
        self.people.remove(absorbed)
        self._index.remove(absorbed)
        self.indexed(kept)
        self.decisions.merged(absorbed, into)
        self.tell(EventKind.MERGED, now_ns, into, other_id=absorbed, cause=cause)

    def drop(self, key: TrackletKey, now_ns: int) -> None:
        """Forget a tracklet that was nobody, and whoever is left with none."""
        self.heirs.pop(key, None)
        left = self.people.drop(key)
        if left is not None:
            self._index.remove(left)
            self.tell(EventKind.ENDED, now_ns, left)

    def erase(self, global_id: int) -> set[TrackletKey] | None:
        """Forget somebody at once, and whatever was about to be told of them.

        Returns:
            Their tracks that are still alive; None when nobody of that id is remembered.
        """
        self._events = [
            replace(each, runner_up=float("nan"), runner_up_id=0)
            if each.runner_up_id == global_id
            else each
            for each in self._events
            if global_id not in (each.global_id, each.other_id)
        ]
        living = {key for key, owner in self.heirs.items() if owner == global_id}
        for key in living:
            del self.heirs[key]
        identity = self.people.by_id.get(global_id)
        if identity is None:
            return living or None
        living |= {key for key, member in identity.members.items() if not member.ended}
        self.people.remove(global_id)
        self._index.remove(global_id)
        self.counts[EventKind.ERASED] += 1
        return living

    def forget(self, now_ns: int) -> None:
        """Let go who was not seen for too long, and who are too many."""
        since = now_ns - round(self._settings.ttl_s * 1e9)
        gone = [each for each in self.people if each.last_ns < since]
        people = len(self.people) - len(gone)
        tracklets = self.people.tracklets - sum(len(each.members) for each in gone)
        most = self._settings
        if people > most.most_identities or tracklets > most.most_tracklets:
            left = sorted(self.people, key=lambda each: (each.last_ns, each.global_id))
            for identity in left[len(gone) :]:
                if people <= most.most_identities and tracklets <= most.most_tracklets:
                    break
                gone.append(identity)
                people, tracklets = people - 1, tracklets - len(identity.members)
        for identity in gone:
            self.people.remove(identity.global_id)
            self._index.remove(identity.global_id)
            self.tell(EventKind.ENDED, now_ns, identity.global_id)

    def indexed(self, identity: Identity) -> None:
        """Bring somebody up to date in the index."""
        speakers = identity.representatives(self._settings.representatives)
        self._index.put(identity.global_id, np.mean([each.mean for each in speakers], axis=0))

    def tell(
        self,
        kind: EventKind,
        now_ns: int,
        global_id: int,
        *,
        key: TrackletKey | None = None,
        other_id: int = 0,
        odds: float = float("nan"),
        runner_up: float = float("nan"),
        runner_up_id: int = 0,
        cause: str = "",
    ) -> None:
        """Note what happened; `step` returns it."""
        self.counts[kind] += 1
        self._events.append(
            IdentityEvent(
                kind, now_ns, global_id, key, other_id, odds, runner_up, runner_up_id, cause
            )
        )

    def taken(self) -> list[IdentityEvent]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events
