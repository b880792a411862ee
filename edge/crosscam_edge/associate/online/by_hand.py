"""People merged and split by hand, and what reviews must leave alone because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_edge.associate.online.people import at_once
from crosscam_edge.associate.online.types import BY_HAND, EventKind
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from crosscam_edge.associate.online.association import OnlineAssociation
    from crosscam_edge.associate.online.people import People
    from crosscam_edge.types import TrackletKey


class Decisions:
    """What was decided by hand.

    Tracklets of people who were merged or split stay where they were put, and people who were
    split are never merged again but by hand. New tracklets may still be found to be any of them.
    """

    def __init__(self) -> None:
        self._pinned: set[TrackletKey] = set()
        self._apart: set[frozenset[int]] = set()

    def may_move(self, key: TrackletKey) -> bool:
        """Return whether a review may give a tracklet to somebody else."""
        return key not in self._pinned

    def may_merge(self, one: int, other: int) -> bool:
        """Return whether a review may take two people for one."""
        return frozenset((one, other)) not in self._apart

    def pin(self, keys: Iterable[TrackletKey]) -> None:
        """Have tracklets stay whose they are."""
        self._pinned.update(keys)

    def part(self, one: int, other: int) -> None:
        """Have two people stay two."""
        self._apart.add(frozenset((one, other)))

    def merged(self, absorbed: int, into: int) -> None:
        """Take over what was decided of somebody who is now somebody else."""
        self._apart = {
            frozenset(into if each == absorbed else each for each in pair) for pair in self._apart
        }
        self._apart = {pair for pair in self._apart if len(pair) == 2}

    def tidy(self, people: People) -> None:
        """Let go what was decided of whom nobody remembers."""
        self._pinned = {key for key in self._pinned if people.id_of(key) is not None}
        self._apart = {pair for pair in self._apart if pair <= people.by_id.keys()}

    def restore(
        self, people: People, ids: Collection[int], apart: Iterable[frozenset[int]]
    ) -> None:
        """Take over what an earlier run was told.

        Args:
            people: Who is remembered.
            ids: Of whom all tracklets stay where they are.
            apart: Pairs of people who stay two.
        """
        self._apart.update(apart)
        for each in ids:
            if each in people.by_id:
                self.pin(people.by_id[each].members)
        self.tidy(people)


def merge_by_hand(online: OnlineAssociation, absorbed: int, into: int, now_ns: int) -> int:
    """Take two people for one; `step` tells of it.

    Args:
        online: Of the run; called on its thread.
        absorbed: Whose id is given up.
        into: Whose id stays.
        now_ns: The present.

    Returns:
        The id that stays.

    Raises:
        InputError: Either is not remembered, they are the same, or they were seen in one camera at
            once: nobody is in one place twice.
    """
    people = online.people.by_id
    for each in (absorbed, into):
        if each not in people:
            raise _forgotten(each)
    if absorbed == into:
        raise InputError(f"{into} and {absorbed} are one person already", expected="two people")
    one, other = (list(people[each].members.values()) for each in (absorbed, into))
    if at_once(one, other):
        raise InputError(
            f"{absorbed} and {into} were seen in one camera at the same time",
            expected="one person: nobody is in a picture twice",
            fix="split off the tracklets that are somebody else's first",
        )
    online.decisions.tidy(online.people)
    online.decisions.pin(member.tracklet.key for member in (*one, *other))
    online.ledger.merge(absorbed, into, now_ns, cause=BY_HAND)
    return into


def split_by_hand(
    online: OnlineAssociation, global_id: int, keys: Collection[TrackletKey], now_ns: int
) -> int:
    """Make tracklets of somebody a person of their own; `step` tells of it.

    Args:
        online: Of the run; called on its thread.
        global_id: Whose they are.
        keys: The tracklets.
        now_ns: The present.

    Returns:
        The id of the new person.

    Raises:
        InputError: The person is not remembered, a tracklet is not known to be theirs, or none
            would be left to them.
    """
    identity = online.people.by_id.get(global_id)
    if identity is None:
        raise _forgotten(global_id)
    strange = sorted(set(keys) - set(identity.members))
    if strange:
        camera, track = strange[0]
        raise InputError(
            f"track {track} of '{camera}' is not remembered as one of {global_id}",
            expected="tracklets that the run still knows the person by",
            fix="GET /api/v1/identities/ID lists where somebody was; the oldest are let go first",
        )
    if not keys or len(set(keys)) == len(identity.members):
        raise InputError(
            f"{len(set(keys))} of {len(identity.members)} tracklets would be somebody else's",
            expected="one at least, and one at least that stays",
            fix="choose those of the other person",
        )
    new = online.people.add().global_id
    online.decisions.tidy(online.people)
    online.decisions.pin(identity.members)
    online.decisions.part(global_id, new)
    online.ledger.tell(EventKind.SPLIT, now_ns, new, other_id=global_id, cause=BY_HAND)
    for key in sorted(set(keys)):
        online.ledger.move(key, global_id, new, now_ns, cause=BY_HAND)
    return new


def _forgotten(global_id: int) -> InputError:
    return InputError(
        f"identity {global_id} is not remembered by the run",
        expected="somebody who was seen in the last day, under the id that they have now",
        fix="GET /api/v1/identities/ID tells the `state` and who an id is by now",
    )
