"""Global ids while the cameras run: given once the looks are sure, corrected when more is known.

A tracklet is compared with everybody once it has a few good crops. Who is clearly somebody known
gets that id, who is clearly nobody known begins one, and who is neither waits a little for more
crops. Newcomers of one camera are assigned together, so that nobody is in one camera twice. Now and
then a review solves the last minutes anew with the offline association; what two reviews in a row
see otherwise is corrected, and told: people are merged, split, or a tracklet is moved.

The evidence, and everything that is learned about site and model, is that of the offline
association (`crosscam_edge.associate.knowledge`): nobody gives a threshold here either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.associate.constraints import Spans, every_pair
from crosscam_edge.associate.online.compare import Answer, answer, compare
from crosscam_edge.associate.online.corrections import Corrections
from crosscam_edge.associate.online.ledger import Ledger
from crosscam_edge.associate.online.people import Member, at_once
from crosscam_edge.associate.online.review import Review, gather
from crosscam_edge.associate.online.types import EventKind, OnlineConfig
from crosscam_edge.embed.translation import translated
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from crosscam_edge.associate.attempt import Attempt
    from crosscam_edge.associate.knowledge import Knowledge
    from crosscam_edge.associate.online.by_hand import Decisions
    from crosscam_edge.associate.online.people import Identity, People
    from crosscam_edge.associate.online.types import IdentityEvent
    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.types import Tracklet, TrackletKey


@dataclass(slots=True)
class _Newcomer:
    """A tracklet without identity.

    Attributes:
        member: As it was last seen.
        ready_ns: Since when it has crops enough; None before.
    """

    member: Member
    ready_ns: int | None = None


class OnlineAssociation:
    """Who is who, as it happens. Not safe for several threads at once; reviews may be solved apart.

    Args:
        dim: Length `D` of an embedding.
        model_id: The model that makes the embeddings.
        site: What is known of the site.
        settings: When decisions are taken and what is remembered.

    Attributes:
        model_id: As above.
        site: As above.
        ledger: Who is remembered, and what has happened.
    """

    def __init__(
        self,
        *,
        dim: int,
        model_id: str,
        site: AssociationConfig | None = None,
        settings: OnlineConfig | None = None,
    ) -> None:
        self.model_id = model_id
        self.site = site or AssociationConfig()
        self._dim = dim
        self._settings = settings or OnlineConfig()
        self.ledger = Ledger(dim, self._settings)
        self._waiting: dict[TrackletKey, _Newcomer] = {}
        self._ignored: set[TrackletKey] = set()  # living tracks of people who were erased
        self._knowledge: Knowledge | None = None
        self._corrections = Corrections(self._settings.agreement)

    @property
    def people(self) -> People:
        """Everybody who is remembered."""
        return self.ledger.people

    @property
    def decisions(self) -> Decisions:
        """What was decided by hand."""
        return self.ledger.decisions

    @property
    def counts(self) -> Counter[str]:
        """How often what happened.

        By `EventKind`; of tracklets that ended without one usable crop (`blind`), and that were
        somebody else after all (`parted`).
        """
        return self.ledger.counts

    def id_of(self, key: TrackletKey) -> int | None:
        """Return whose a track is, as far as that is known."""
        return self.ledger.id_of(key)

    def take_over(self, before: OnlineAssociation, translation: Translation) -> int:
        """Go on where an association with another model stands; call it before anything else.

        Every id stays whose it was. Remembered is who was seen by the new model too; a track that
        is still alive keeps its id also where it was not.

        Args:
            before: The other one, of the same site; it must not be used any more.
            translation: From its embeddings to those of this one.

        Returns:
            Number of people who are known no longer: nobody has seen them with the new model.
        """
        self._ignored = before._ignored
        lost = self.ledger.take_over(before.ledger, translation)
        for key, newcomer in before._waiting.items():
            tracklet = translated(newcomer.member.tracklet, translation)
            if len(tracklet.embeddings):
                member = Member.of(tracklet, ended=newcomer.member.ended)
                self._waiting[key] = _Newcomer(member, newcomer.ready_ns)
        return lost

    def restore(self, tracklets: Iterable[tuple[Tracklet, int]], next_id: int) -> None:
        """Take over what an earlier run knew; call it before anything else.

        Args:
            tracklets: With the id of whom each is of; they have crops of this model.
            next_id: First id that was never given.
        """
        for tracklet, global_id in tracklets:
            self.people.known(global_id)
            self.people.put(Member.of(tracklet, ended=True), global_id)
        self.people.never_again(next_id - 1)
        self.people.shrink(self._settings.most_members)
        for identity in self.people:
            self.ledger.indexed(identity)

    def observe(self, tracklet: Tracklet, *, ended: bool = False) -> None:
        """Take a tracklet as it stands: call it when there are new crops, and when it has ended.

        Raises:
            InputError: Embeddings of another length than `dim`.
        """
        if not len(tracklet.embeddings):
            if ended:
                self.ledger.heirs.pop(tracklet.key, None)
                self.counts["blind"] += 1
            return
        if tracklet.embeddings.shape[1] != self._dim:
            raise InputError(
                f"tracklet {tracklet.key} has embeddings of length {tracklet.embeddings.shape[1]}",
                expected=f"{self._dim}, as all of {self.model_id}",
                fix="embed all cameras with the same bundle",
            )
        key = tracklet.key
        if key in self._ignored:
            if ended:
                self._ignored.remove(key)
            return
        owner = self.people.id_of(key)
        if owner is not None:
            before = self.people.by_id[owner].members[key]
            self.ledger.put(Member.of(tracklet, ended=ended, before=before), owner)
            return
        heir = self.ledger.heirs.pop(key, None)
        if heir is not None:
            self.ledger.put(Member.of(tracklet, ended=ended), heir)
            return
        known = self._waiting.get(key)
        member = Member.of(tracklet, ended=ended, before=known.member if known else None)
        if known is None:
            self._waiting[key] = _Newcomer(member)
        else:
            known.member = member

    def sight(self, key: TrackletKey, time_ns: int) -> None:
        """Note that a living tracklet is still seen: whoever is in a picture is nobody else in it.

        Call it for every box of every frame; crops come more rarely.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self.people.sight(key, time_ns)
        elif time_ns > waiting.member.tracklet.end_ns:
            waiting.member.tracklet = replace(waiting.member.tracklet, end_ns=time_ns)

    def discard(self, key: TrackletKey, now_ns: int) -> None:
        """Forget a tracklet that turned out to be nobody: furniture, or a second box."""
        self._waiting.pop(key, None)
        self._ignored.discard(key)
        self.ledger.drop(key, now_ns)

    def erase(self, global_id: int) -> bool:
        """Forget somebody at once, and whatever was about to be told of them.

        Tracks of theirs that are still alive are ignored until they end, for their crops are of the
        person who is to be forgotten. Seen again after that, the person is somebody new.

        Returns:
            Whether the identity was remembered.
        """
        living = self.ledger.erase(global_id)
        if living is None:
            return False
        self._ignored |= living
        return True

    def ignores(self, key: TrackletKey) -> bool:
        """Return whether a track is of somebody who was erased while they were in the picture."""
        return key in self._ignored

    def step(self, now_ns: int) -> list[IdentityEvent]:
        """Decide what can be decided; call it every second or so.

        Args:
            now_ns: Time of the newest frame of any camera, UTC nanoseconds.

        Returns:
            What happened since the last call, in order.
        """
        self.ledger.forget(now_ns)
        self._part(now_ns)
        ready = self._ready(now_ns)
        if ready and self._knowledge is None:
            self._learn_first(ready, now_ns)
        while ready:
            before = len(ready)
            first_new = None
            for camera in sorted({each.member.tracklet.camera_id for each in ready}):
                group = [each for each in ready if each.member.tracklet.camera_id == camera]
                first_new = self._match(group, now_ns) or first_new
            ready = [each for each in ready if each.member.tracklet.key in self._waiting]
            if len(ready) < before:
                continue  # with those who were found, others may be found
            if first_new is None:
                break
            self._begin(*first_new, now_ns)
            ready = [each for each in ready if each is not first_new[0]]
        self.people.shrink(self._settings.most_members)
        return self.ledger.taken()

    def review(self, now_ns: int) -> Review | None:
        """Return what to look at again; None when there is nothing to learn from it.

        Solve it with `model_id` and `site` in any thread, then hand it to `correct`.
        """
        review = gather(self.people, self._settings, now_ns)
        return review if len(review.tracklets) > 1 else None

    def correct(self, review: Review, found: Attempt, now_ns: int) -> None:
        """Take over what a review has learned, and what it wants changed; `step` tells of it."""
        self._knowledge = found.knowledge
        changes = self._corrections.agreed(review, found.labels.tolist())
        for absorbed, into in changes.merged.items():
            known = absorbed in self.people.by_id and into in self.people.by_id
            if known and self.decisions.may_merge(absorbed, into):
                one, other = (list(self.people.by_id[k].members.values()) for k in (absorbed, into))
                # The review has not seen all that is remembered of them.
                if not at_once(one, other):
                    self.ledger.merge(absorbed, into, now_ns)
        new: dict[TrackletKey, int] = {}
        for key, (target, anchor) in changes.moved.items():
            owner = self.people.id_of(key)
            if owner is None or owner == target or not self.decisions.may_move(key):
                continue
            if target is None:
                if anchor not in new:
                    new[anchor] = self.people.add().global_id
                    self.ledger.tell(EventKind.SPLIT, now_ns, new[anchor], other_id=owner)
                target = new[anchor]
            if target in self.people.by_id:
                member = self.people.by_id[owner].members[key]
                if not at_once([member], list(self.people.by_id[target].members.values())):
                    self.ledger.move(key, owner, target, now_ns)

    def _learn_first(self, ready: Sequence[_Newcomer], now_ns: int) -> None:
        """Learn from the first tracklets, and from those of an earlier run.

        Without these it is mostly what is true of any site.
        """
        first = [*gather(self.people, self._settings, now_ns).tracklets]
        first += [each.member.tracklet for each in ready]
        first.sort(key=lambda t: (t.start_ns, *t.key))
        review = Review(tuple(first), (0,) * len(first), frozenset())
        self._knowledge = review.solve(self.model_id, self.site).knowledge

    def _ready(self, now_ns: int) -> list[_Newcomer]:
        """Return who has crops enough, in order of their starts."""
        out = []
        for each in self._waiting.values():
            enough = len(each.member.tracklet.embeddings) >= self._settings.min_crops
            if each.ready_ns is None and (enough or each.member.ended):
                each.ready_ns = now_ns
            if each.ready_ns is not None:
                out.append(each)
        out.sort(key=lambda e: (e.member.tracklet.start_ns, *e.member.tracklet.key))
        return out

    def _match(
        self, group: Sequence[_Newcomer], now_ns: int
    ) -> tuple[_Newcomer, Answer, list[Identity]] | None:
        """Give those of one camera ids who are somebody known; returns the first who is not."""
        assert self._knowledge is not None
        means = [each.member.mean for each in group]
        centre = self._knowledge.shift.mean(axis=0)
        known = self.ledger.nearest(means, centre)
        odds = compare(
            [each.member for each in group],
            known,
            self._knowledge,
            self.site,
            self._settings.representatives,
        )
        first_new = None
        for each, found in zip(group, answer(odds), strict=True):
            if found.taken or self._unsure(each, found, now_ns):
                continue
            if found.column >= 0:
                identity = known[found.column]
                rival = known[found.second].global_id if found.second >= 0 else 0
                self._give(each, identity)
                self.ledger.tell(
                    EventKind.MATCHED,
                    now_ns,
                    identity.global_id,
                    key=each.member.tracklet.key,
                    odds=found.odds,
                    runner_up=found.second_odds,
                    runner_up_id=rival,
                )
            elif first_new is None:
                first_new = each, found, known
        return first_new

    def _unsure(self, newcomer: _Newcomer, found: Answer, now_ns: int) -> bool:
        """Whether more crops should be waited for."""
        assert newcomer.ready_ns is not None
        waited = (now_ns - newcomer.ready_ns) / 1e9
        if newcomer.member.ended or waited >= self._settings.patience_s:
            return False
        rival = max(0.0, found.second_odds) if found.second >= 0 else 0.0
        lead = found.odds - rival if found.column >= 0 else -found.odds
        return lead < self._settings.margin

    def _begin(
        self, newcomer: _Newcomer, found: Answer, known: Sequence[Identity], now_ns: int
    ) -> None:
        identity = self.people.add()
        self._give(newcomer, identity)
        rival = known[found.second].global_id if found.second >= 0 else 0
        self.ledger.tell(
            EventKind.NEW,
            now_ns,
            identity.global_id,
            key=newcomer.member.tracklet.key,
            runner_up=found.second_odds,
            runner_up_id=rival,
        )

    def _give(self, newcomer: _Newcomer, identity: Identity) -> None:
        del self._waiting[newcomer.member.tracklet.key]
        self.ledger.put(newcomer.member, identity.global_id)

    def _part(self, now_ns: int) -> None:
        """Let go tracklets that came to be seen at once with another of the same person.

        A track that was lost may go on after another one of its camera was given the same id: the
        one of which less is known must be somebody else.
        """
        for identity in self.people.twice_alive():
            living = [each for each in identity.members.values() if not each.ended]
            living.sort(key=lambda m: (len(m.tracklet.embeddings), *m.tracklet.key))
            spans = Spans.of([each.tracklet for each in living])
            meet = spans.at_once(*every_pair(len(living)))
            for k, member in enumerate(living):
                if meet[k].any():
                    meet[k] = meet[:, k] = False
                    self.people.drop(member.tracklet.key)
                    self._waiting[member.tracklet.key] = _Newcomer(member, now_ns)
                    self.counts["parted"] += 1
            self.ledger.indexed(identity)
