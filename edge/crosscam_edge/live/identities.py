"""Global ids of a live run: decisions every second, reviews on a thread of their own."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_edge.associate.online import OnlineAssociation, OnlineConfig
from crosscam_edge.live.memory import give_back
from crosscam_edge.types import TrackletKey

if TYPE_CHECKING:
    from crosscam_edge.associate.attempt import Attempt
    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.associate.online import IdentityEvent
    from crosscam_edge.associate.online.review import Review
    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.gallery import Gallery
    from crosscam_edge.track.live import LiveFrame

_log = get_logger("identities")
_STEP_NS = 1_000_000_000
_REVIEW_NS = 5_000_000_000
_REST = 10.0  # times its duration pass before the next review: a tenth of a core at most


class Identities:
    """Who is who in a live run. Owned by one thread; reviews are solved by another.

    Args:
        dim: Length `D` of an embedding.
        model_id: The model that makes the embeddings.
        site: What is known of the site.
        settings: When decisions are taken and what is remembered.
        gallery: Keeps everything over restarts; nothing is kept without.
        now_ns: The present, UTC.

    Attributes:
        online: The association underneath.
        next_track: First id of a track that no earlier run has given, by camera.
        reviews: Reviews so far.
        failures: Those that failed.
    """

    def __init__(
        self,
        *,
        dim: int,
        model_id: str,
        site: AssociationConfig,
        settings: OnlineConfig | None = None,
        gallery: Gallery | None = None,
        now_ns: int = 0,
    ) -> None:
        settings = settings or OnlineConfig()
        self.online = OnlineAssociation(dim=dim, model_id=model_id, site=site, settings=settings)
        self.next_track: dict[str, int] = {}
        self._gallery = gallery
        if gallery is not None:
            left = gallery.restore(now_ns - round(settings.ttl_s * 1e9))
            self.online.restore(left.tracklets, left.next_id)
            self.online.decisions.restore(self.online.people, left.by_hand, left.apart)
            self.next_track = left.next_track
        self.reviews = 0
        self.failures = 0
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="review")
        self._running: tuple[Review, Future[Attempt], int] | None = None
        self._stepped_ns = self._review_ns = 0

    def first_track(self, camera_id: str) -> int:
        """Return the id of the first track of a camera that begins; none is given twice."""
        first = self.next_track.get(camera_id, 1)
        if self._gallery is not None:
            self._gallery.given(camera_id, first - 1)
        return first

    def translated(
        self, *, dim: int, model_id: str, site: AssociationConfig, translation: Translation
    ) -> tuple[OnlineAssociation, int]:
        """Make ready to go over to another model; nothing changes yet.

        Args:
            dim: Length of its embeddings.
            model_id: It.
            site: What is known of the site with this model.
            translation: From the embeddings so far to those of the new model.

        Returns:
            Who is who with that model, under the same ids, for `use` before anything else happens;
            and the number of people who will not be known again: it has not seen them.
        """
        online = OnlineAssociation(dim=dim, model_id=model_id, site=site, settings=self._settings)
        return online, online.take_over(self.online, translation)

    def use(self, online: OnlineAssociation, dim: int) -> None:
        """Go over to what `translated` has returned; raises only if nothing has changed.

        Args:
            online: It.
            dim: Length of the new model's embeddings.
        """
        if self._gallery is not None:
            known = [
                (member.tracklet, identity.global_id)
                for identity in online.people
                for member in identity.members.values()
            ]
            self._gallery.use_model(online.model_id, dim, known)
        self.online = online
        self._running = None  # a review of the other model's embeddings

    def take(self, frame: LiveFrame, now_ns: int) -> None:
        """Take what one camera has seen."""
        for tracklet in frame.grown:
            self.online.observe(tracklet)
        for row in frame.rows:
            self.online.sight(TrackletKey(frame.camera_id, row.track_id), row.time_ns)
        for tracklet in frame.ended:
            self.online.observe(tracklet, ended=True)
        for key in frame.nobody:
            self.online.discard(key, now_ns)
        if self._gallery is None:
            return
        if frame.rows:
            self._gallery.given(frame.camera_id, max(row.track_id for row in frame.rows))
        for tracklet in (*frame.grown, *frame.ended):
            owner = self.online.people.id_of(tracklet.key)
            if owner is not None:
                self._gallery.put(tracklet, owner)
        for key in frame.nobody:
            self._gallery.drop(*key)

    def id_of(self, key: TrackletKey) -> int | None:
        """Return whose a track is, as far as that is known."""
        return self.online.id_of(key)

    def step(self, now_ns: int) -> list[IdentityEvent]:
        """Decide what can be decided; at most once a second, else nothing happens."""
        if now_ns - self._stepped_ns < _STEP_NS:
            return []
        self._stepped_ns = now_ns
        self._collect(now_ns)
        if self._gallery is not None:
            self._gallery.tidy()
        if self._running is None and now_ns >= self._review_ns:
            review = self.online.review(now_ns)
            if review is not None:
                self._running = review, self._submit(review), now_ns
            self._review_ns = now_ns + _REVIEW_NS
        return self._kept(self.online.step(now_ns))

    def finish(self, now_ns: int) -> list[IdentityEvent]:
        """Decide everything: no more frames come."""
        if self._running is not None:
            self._running[1].exception()  # waits
            self._collect(now_ns)
        events = self._kept(self.online.step(now_ns))
        for _ in range(self._settings.agreement):
            review = self.online.review(now_ns)
            if review is None:
                break
            self._apply(review, self._submit(review), now_ns)
        self._pool.shutdown()
        return events + self._kept(self.online.step(now_ns))

    def _kept(self, events: list[IdentityEvent]) -> list[IdentityEvent]:
        """Keep what happened, and the tracklets that it happened to."""
        if self._gallery is not None:
            people = self.online.people
            for event in events:
                owner = None if event.key is None else people.id_of(event.key)
                if event.key is not None and owner is not None:
                    self._gallery.put(people.by_id[owner].members[event.key].tracklet, owner)
                self._gallery.tell(event)
        return events

    def _submit(self, review: Review) -> Future[Attempt]:
        return self._pool.submit(_solve, review, self.online.model_id, self.online.site)

    def _collect(self, now_ns: int) -> None:
        """Take over a review that is done."""
        if self._running is None or not self._running[1].done():
            return
        review, solved, began_ns = self._running
        self._running = None
        self._apply(review, solved, now_ns)
        self._review_ns = max(self._review_ns, now_ns + round(_REST * (now_ns - began_ns)))

    def _apply(self, review: Review, solved: Future[Attempt], now_ns: int) -> None:
        try:
            found = solved.result()
        except Exception as error:  # ids go on without: the next review may do better
            self.failures += 1
            _log.warning("review failed", reason=f"{type(error).__name__}: {error}")
            return
        self.reviews += 1
        self.online.correct(review, found, now_ns)


def _solve(review: Review, model_id: str, site: AssociationConfig) -> Attempt:
    try:
        return review.solve(model_id, site)
    finally:
        give_back()
