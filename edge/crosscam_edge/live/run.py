"""A live site: the newest pictures of all cameras through detection, tracking and association.

One thread goes round: it takes the newest pictures of cameras that are due, as many as keep the
detector busy and those first that have waited longest; while their people are detected it tracks
those of the round before, camera by camera; and once a second it decides who is who. What it cannot
keep up with is never queued: a camera's picture that nobody took is replaced by the next one.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from crosscam_edge.associate.online import EventKind, IdentityEvent
from crosscam_edge.associate.online.by_hand import merge_by_hand, split_by_hand
from crosscam_edge.associate.site import site_knowledge
from crosscam_edge.live.batches import WAIT_S
from crosscam_edge.live.commands import Commands
from crosscam_edge.live.identities import Identities
from crosscam_edge.live.looking import Looking
from crosscam_edge.live.open import live_cameras
from crosscam_edge.live.pacing import Pacing
from crosscam_edge.live.roster import Roster, with_former
from crosscam_edge.live.service import Service
from crosscam_edge.live.telling import Telling
from crosscam_edge.timers import StageTimers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.config import CameraConfig, SiteConfig
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.gallery import Gallery
    from crosscam_edge.live.camera import CameraHealth, LiveCamera, Picture
    from crosscam_edge.live.latency import Latency
    from crosscam_edge.live.looking import Round
    from crosscam_edge.live.ring import Rings
    from crosscam_edge.live.roster import Changes
    from crosscam_edge.live.watched import Watched
    from crosscam_edge.opening import Models
    from crosscam_edge.track.live import LiveFrame
    from crosscam_edge.types import Frame, TrackletKey

    Emit = Callable[[Mapping[str, Any]], None]

T = TypeVar("T")
FRAME_RATE = 10.0
"""Pictures of a camera that are looked at in a second, unless the site file says otherwise."""
_WAIT_S = 0.05
_EARLY = 0.25  # share of a picture's time that it may be early: cameras do not keep time


class LiveRun:
    """Carries out a live run.

    Args:
        cameras: Configurations and sources; started and stopped by the run.
        settings: Of the site.
        models: Closed by the caller.
        site: What is known of the site.
        now_ns: UTC, the clock of the sources.
        emit: Gets every record; must not wait.
        tracks: Whether boxes are among the records.
        gallery: Keeps identities over restarts; closed by the caller.
        rings: Get what cameras send that are added later, for clips.

    Attributes:
        latency: From capture to what is known of the picture, all cameras together.
        stages: The parts of it, by `STAGES`.
        timers: Busy seconds by stage.
        identities: Who is who.
        watchers: Called by the run's thread with each picture that was looked at and what it
            brought; must neither wait nor change anything.
        detector: Finds people.
        service: The model that tells people apart, and its swap.
    """

    def __init__(
        self,
        cameras: Sequence[tuple[CameraConfig, LiveCamera]],
        settings: SiteConfig,
        models: Models,
        *,
        site: AssociationConfig,
        now_ns: Callable[[], int],
        emit: Emit,
        tracks: bool = False,
        gallery: Gallery | None = None,
        rings: Rings | None = None,
    ) -> None:
        self.watchers: list[Callable[[Frame, LiveFrame], None]] = []
        self._pacing = Pacing(settings.process_fps or FRAME_RATE, now_ns)
        self.latency, self.stages = self._pacing.latency, self._pacing.stages
        self._now, self._rings = now_ns, rings
        self.detector, embedder = models.detector, models.embedder
        self.identities = Identities(
            dim=embedder.dim,
            model_id=embedder.model_id,
            site=site,
            gallery=gallery,
            now_ns=now_ns(),
        )
        self._roster = Roster(models.detector, self.identities, settings)
        self._roster.add(cameras, self._pacing.control.target)
        self.timers = StageTimers()
        self._looking = Looking(models, self.timers, settings.live.batch)
        self._begun: Round | None = None
        self._wake = threading.Event()
        self._commands = Commands()
        self._telling = Telling(
            emit,
            tracks=tracks,
            identities=self.identities,
            roster=self._roster,
            pacing=self._pacing,
            rings=rings,
        )
        self.service = Service(
            embedder,
            looking=self._looking,
            identities=self.identities,
            roster=self._roster,
            ask=self.ask,
            now_ns=now_ns,
            emit=emit,
        )

    @property
    def embedder(self) -> Embedder:
        """The model that tells people apart now."""
        return self.service.embedder

    @property
    def settings(self) -> SiteConfig:
        """Of the site, as they are now."""
        return self._roster.settings

    @property
    def _watched(self) -> tuple[Watched, ...]:
        return self._roster.watched

    def wake(self) -> None:
        """Tell the run that a camera has something new; any thread may."""
        self._wake.set()

    def ask(self, work: Callable[[], T]) -> Future[T]:
        """Have something done by the run's own thread between two rounds; any thread may ask.

        Only there may `identities` be changed. The work must be short: the cameras wait for it.

        Raises:
            RunError: The run has ended, or too many requests wait.
        """
        asked = self._commands.ask(work)
        self._wake.set()
        return asked

    def reconfigure(self, settings: SiteConfig) -> Future[Changes]:
        """Go over to another configuration while the run goes on; any thread may ask.

        Cameras may come and go, be elsewhere, and get other regions, masks and relations; and
        `process_fps` may be another one. What a camera that ends has seen is finished and told. A
        camera that stays as it is notices nothing.

        Args:
            settings: All of the new configuration, with absolute paths.

        Returns:
            What changed, once it is done.

        Raises:
            UsageError: It is wrong, or changes what cannot be changed: nothing of it is done.
            RunError: The run has ended, or too many requests wait.
        """
        self._roster.check(settings)
        cameras = live_cameras(settings, self._now, self.wake, self._rings)
        return self.ask(partial(self._change, settings, cameras))

    def _change(
        self, settings: SiteConfig, cameras: Sequence[tuple[CameraConfig, LiveCamera]]
    ) -> Changes:
        configs = [config for config, _ in cameras]
        names = frozenset(str(config.id) for config in configs)
        self._pacing.control.target = settings.process_fps or FRAME_RATE
        changes = self._roster.change(settings, cameras, self._pacing.control.target, self._now())
        online = self.identities.online
        online.site = with_former(site_knowledge(configs), online.site, names)
        return changes

    def forget(self, global_id: int, tracks: Iterable[TrackletKey]) -> bool:
        """Forget somebody at once, here and not in the gallery; by way of `ask`.

        Args:
            global_id: The identity.
            tracks: Its tracks, as far as they are known.

        Returns:
            Whether the identity was remembered.
        """
        wanted: defaultdict[str, set[int]] = defaultdict(set)
        for key in tracks:
            wanted[key.camera_id].add(key.track_id)
        for each in self._watched:
            each.analysis.forget(wanted[each.name])
        return self.identities.online.erase(global_id)

    def merge(self, absorbed: int, into: int) -> int:
        """Take two people for one, by hand; by way of `ask`. Returns the id that stays.

        Raises:
            InputError: They cannot be one person, or are not remembered.
        """
        return merge_by_hand(self.identities.online, absorbed, into, self._now())

    def split(self, global_id: int, tracks: Collection[TrackletKey]) -> int:
        """Make tracklets of somebody a person of their own, by hand; by way of `ask`.

        Returns:
            The id of the new person.

        Raises:
            InputError: They are not remembered as that person's, or are all there is of them.
        """
        return split_by_hand(self.identities.online, global_id, tracks, self._now())

    def tell_erased(self, global_id: int) -> None:
        """Tell whoever keeps records that somebody was erased; by way of `ask`."""
        self._telling.people([IdentityEvent(EventKind.ERASED, self._now(), global_id)])

    def health(self) -> list[CameraHealth]:
        """Return how the cameras are, in the order of the site."""
        return [self._pacing.health(each) for each in self._watched]

    def latencies(self) -> dict[str, Latency]:
        """Return how long it took from capture to what is known of a picture, by camera."""
        return {each.name: each.latency for each in self._watched}

    def queues(self) -> dict[str, int]:
        """Return what waits now: `arrived` and `taken` pictures, and `requests` of `ask`.

        Of each camera one picture at most waits to be taken.
        """
        return {
            "arrived": sum(each.camera.waiting for each in self._watched),
            "taken": self._looking.waiting,
            "requests": len(self._commands),
        }

    def looked_at(self) -> dict[str, int]:
        """Return the number of pictures that were looked at, by camera."""
        return {each.name: each.analysis.frames for each in self._watched}

    def tracks(self) -> dict[str, dict[str, int]]:
        """Return what became of tracks, and how many crops were embedded, by camera."""
        return {each.name: each.analysis.counts for each in self._watched}

    def failures(self) -> dict[str, int]:
        """Return the number of pictures that could not be looked at, by camera."""
        return {each.name: each.failures for each in self._watched if each.failures}

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop; then end all tracks and decide all that is open."""
        for each in self._watched:
            each.camera.start()
        try:
            while not stop.is_set():
                self._wake.clear()
                began = time.perf_counter()
                pictures = self._round()
                if not pictures:
                    self._wake.wait(_WAIT_S)
                most = max(1, min(self._looking.at_once, len(self._watched)))
                self._pacing.idle(max(0.0, 1 - pictures / most) * (time.perf_counter() - began))
                self._pacing.decide(self._watched)
                self._commands.carry_out()
                self._telling.cameras()
                with self.timers.measure("associate"):
                    events = self.identities.step(self._now())
                self._telling.people(events)
            if self._begun is not None:
                self._finish(self._begun)
        finally:
            self.service.give_up()
            self._commands.close()
            self._looking.close()
            self._roster.stop()
            now = self._now()
            for each in self._watched:
                self.identities.take(each.analysis.flush(), now)
            self._telling.people(self.identities.finish(now))
            self._telling.cameras(at_once=True)
            self.service.close()

    def _round(self) -> int:
        """Begin with the newest pictures of cameras, and finish those that were begun before.

        Returns how many they were.
        """
        taken = self._take(self._watched, self._looking.at_once)
        if taken and self._looking.batch > 1:
            self._take_a_moment_later(taken)
        before, self._begun = self._begun, None
        if taken:
            self._begun = self._looking.begin(taken, self._now())
        if before is None:
            return len(taken)
        self._finish(before)
        return len(taken) + len(before.looks)

    def _finish(self, begun: Round) -> None:
        """Track in the pictures of a round, and tell."""
        for look in self._looking.finish(begun, self._watched):
            each, picture = look.watched, look.picture
            if look.frame is None or look.seen is None:
                each.failed(look.error)
                continue
            self.identities.take(look.seen, look.frame.time_ns)
            self._telling.boxes(each, picture, look.seen)
            for watcher in tuple(self.watchers):
                watcher(look.frame, look.seen)
            if look.seen.rows:
                each.people_ns = look.taken_ns
            self._pacing.count(look)

    def _take(self, cameras: Iterable[Watched], most: int) -> list[tuple[Watched, Picture]]:
        """Take the newest picture of cameras that are due and have one, the longest due first."""
        now = self._now()
        taken: list[tuple[Watched, Picture]] = []
        for each in sorted(cameras, key=lambda each: each.due_ns):
            if now < each.due_ns or len(taken) == most:
                break
            picture = each.camera.take()
            if picture is None:
                self.identities.take(each.analysis.gone(now), now)
                continue
            step = round(1e9 / self._pacing.control.asked(each.name))
            # A camera that is a little early keeps its place; one that was away begins anew.
            each.due_ns = max(each.due_ns + step, now + round((0.5 - _EARLY) * step))
            taken.append((each, picture))
        return taken

    def _take_a_moment_later(self, taken: list[tuple[Watched, Picture]]) -> None:
        """Take what comes from other cameras until a call is full, or a moment has passed."""
        ends = time.monotonic() + WAIT_S
        while len(taken) < self._looking.batch and (left := ends - time.monotonic()) > 0:
            have = {id(each) for each, _ in taken}
            others = [each for each in self._watched if id(each) not in have]
            if not others or not self._wake.wait(left):
                return
            self._wake.clear()
            taken += self._take(others, self._looking.batch - len(taken))
