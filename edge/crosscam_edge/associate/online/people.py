"""Who is remembered, and by which tracklets: bounded in every direction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.constraints import Spans
from crosscam_edge.associate.features import EXEMPLARS, diverse, mean_embedding
from crosscam_edge.track.tracklets import at_rest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet, TrackletKey


@dataclass(slots=True)
class Member:
    """A tracklet as it was last seen.

    Attributes:
        tracklet: It, with one crop at least.
        ended: Whether nothing more comes.
        mean: `(D,)` float32, mean embedding of length 1.
        diverse: `(K,)` which of its embeddings are diverse.
    """

    tracklet: Tracklet
    ended: bool
    mean: NDArray[np.float32]
    diverse: NDArray[np.intp]

    @property
    def exemplars(self) -> NDArray[np.float32]:
        """`(K, D)` diverse embeddings."""
        return self.tracklet.embeddings[self.diverse].astype(np.float32, copy=False)

    @classmethod
    def of(cls, tracklet: Tracklet, *, ended: bool, before: Member | None = None) -> Member:
        """Return a member; its looks are taken from the one before it where nothing is new."""
        if ended:
            tracklet = at_rest(tracklet)
        if before is not None and _same_crops(before.tracklet, tracklet):
            return cls(tracklet, ended, before.mean, before.diverse)
        mean = mean_embedding(tracklet.embeddings, tracklet.qualities)
        rows = diverse(tracklet.embeddings, mean, EXEMPLARS)
        return cls(tracklet, ended, mean.astype(np.float32), rows)


def _same_crops(a: Tracklet, b: Tracklet) -> bool:
    return np.array_equal(a.embedding_times_ns, b.embedding_times_ns)


def at_once(a: Sequence[Member], b: Sequence[Member]) -> bool:
    """Return whether any of `a` is surely seen at once, in one camera, with any of `b`."""
    if not a or not b:
        return False
    spans = Spans.of([member.tracklet for member in (*a, *b)])
    left, right = np.arange(len(a)), np.arange(len(a), len(a) + len(b))
    return bool(spans.at_once(left[:, None], right[None, :]).any())


@dataclass(slots=True)
class Identity:
    """A person.

    Attributes:
        global_id: From 1, never used again.
        members: Tracklets by which the person is remembered, by key.
        tracklets: How many there ever were.
        first_ns: First sight.
        last_ns: Last sight.
    """

    global_id: int
    members: dict[TrackletKey, Member] = field(default_factory=dict)
    tracklets: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def representatives(self, most: int) -> list[Member]:
        """Return who speaks for the person: of each camera the latest, then those with most crops.

        Of the same members it is always the same list.
        """
        latest: dict[str, Member] = {}
        for member in self.members.values():
            at = member.tracklet.camera_id
            if at not in latest or _later(member, latest[at]):
                latest[at] = member
        first = sorted(latest.values(), key=lambda m: (-m.tracklet.end_ns, m.tracklet.key))
        chosen = {id(member) for member in first}
        rest = [member for member in self.members.values() if id(member) not in chosen]
        rest.sort(key=lambda m: (-len(m.tracklet.embeddings), -m.tracklet.end_ns, m.tracklet.key))
        return (first + rest)[:most]

    def shrink(self, most: int) -> None:
        """Let tracklets go that ended, beyond `most`: the oldest of the camera that has most."""
        while len(self.members) > most:
            by_camera: dict[str, list[Member]] = {}
            for member in self.members.values():
                if member.ended:
                    by_camera.setdefault(member.tracklet.camera_id, []).append(member)
            if not by_camera:
                return
            crowd = max(by_camera.items(), key=lambda item: (len(item[1]), item[0]))[1]
            oldest = min(crowd, key=lambda m: (m.tracklet.end_ns, m.tracklet.key))
            del self.members[oldest.tracklet.key]


def _later(a: Member, b: Member) -> bool:
    return (a.tracklet.end_ns, a.tracklet.key) > (b.tracklet.end_ns, b.tracklet.key)


class People:
    """All identities, and which tracklet is whose.

    Attributes:
        by_id: Identities by global id.
    """

    def __init__(self) -> None:
        self.by_id: dict[int, Identity] = {}
        self._of: dict[TrackletKey, int] = {}
        self._alive: dict[int, set[TrackletKey]] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Identity]:
        return iter(self.by_id.values())

    @property
    def last_id(self) -> int:
        """The highest id that was given so far; 0 before the first."""
        return self._next - 1

    @property
    def tracklets(self) -> int:
        """How many are remembered."""
        return len(self._of)

    def id_of(self, key: TrackletKey) -> int | None:
        """Return whose a tracklet is, as far as it is remembered."""
        return self._of.get(key)

    def twice_alive(self) -> list[Identity]:
        """Return those with several tracklets that have not ended, without asking everybody."""
        return [self.by_id[each] for each, keys in self._alive.items() if len(keys) > 1]

    def tracklets_of(self, keys: Iterable[TrackletKey]) -> dict[TrackletKey, Tracklet]:
        """Return those of some tracklets that are remembered, as they were last seen."""
        owners = {key: self._of[key] for key in keys if key in self._of}
        return {key: self.by_id[owner].members[key].tracklet for key, owner in owners.items()}

    def add(self) -> Identity:
        """Begin an identity."""
        return self.known(self._next)

    def known(self, global_id: int) -> Identity:
        """Return an identity, which begins with that if it is not there."""
        self.never_again(global_id)
        return self.by_id.setdefault(global_id, Identity(global_id))

    def never_again(self, global_id: int) -> None:
        """Give no id up to this one to anybody new."""
        self._next = max(self._next, global_id + 1)

    def put(self, member: Member, global_id: int) -> None:
        """Give a tracklet to an identity, taking it from another one, or bring it up to date."""
        key, tracklet = member.tracklet.key, member.tracklet
        before = self._of.get(key)
        identity = self.by_id[global_id]
        if before != global_id:
            if before is not None:
                self.by_id[before].members.pop(key, None)
                self.by_id[before].tracklets -= 1
                self._no_longer_alive(key, before)
            identity.tracklets += 1
            self._of[key] = global_id
        new = identity.last_ns == 0
        identity.members[key] = member
        if member.ended:
            self._no_longer_alive(key, global_id)
        else:
            self._alive.setdefault(global_id, set()).add(key)
        identity.first_ns = tracklet.start_ns if new else min(identity.first_ns, tracklet.start_ns)
        identity.last_ns = max(identity.last_ns, tracklet.end_ns)

    def sight(self, key: TrackletKey, time_ns: int) -> None:
        """Note that a living tracklet is still seen, without a new crop."""
        owner = self._of.get(key)
        if owner is not None:
            identity = self.by_id[owner]
            member = identity.members[key]
            if not member.ended and time_ns > member.tracklet.end_ns:
                member.tracklet = replace(member.tracklet, end_ns=time_ns)
                identity.last_ns = max(identity.last_ns, time_ns)

    def shrink(self, most: int) -> None:
        """Bound the tracklets of each identity; those let go keep their id no longer."""
        for identity in self.by_id.values():
            if len(identity.members) > most:
                before = set(identity.members)
                identity.shrink(most)
                for key in before - set(identity.members):
                    self._of.pop(key, None)

    def remove(self, global_id: int) -> None:
        """Forget an identity and its tracklets."""
        for key in self.by_id.pop(global_id).members:
            self._of.pop(key, None)
        self._alive.pop(global_id, None)

    def drop(self, key: TrackletKey) -> int | None:
        """Forget a tracklet that was nobody; returns the identity that is left with none."""
        global_id = self._of.pop(key, None)
        if global_id is None:
            return None
        identity = self.by_id[global_id]
        identity.members.pop(key, None)
        identity.tracklets -= 1
        self._no_longer_alive(key, global_id)
        if identity.members:
            return None
        del self.by_id[global_id]
        return global_id

    def _no_longer_alive(self, key: TrackletKey, global_id: int) -> None:
        keys = self._alive.get(global_id)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._alive[global_id]
