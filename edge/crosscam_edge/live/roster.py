"""The cameras of a live run, which may change while it goes on; of the run's thread alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_edge.config.models import SiteConfig
from crosscam_edge.live.analysis import CameraAnalysis
from crosscam_edge.live.watched import Watched
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.config import CameraConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.live.camera import CameraHealth, LiveCamera
    from crosscam_edge.live.identities import Identities

_log = get_logger("live")
_CAN_CHANGE = frozenset({"cameras", "process_fps"})
_OF_RECORDINGS = frozenset({"checkpoint_seconds", "outputs"})
_JOIN_S = 8.0


@dataclass(frozen=True, slots=True)
class Changes:
    """What became another in a run, by names of cameras.

    Attributes:
        added: They are new.
        removed: They have ended.
        reconnected: They are elsewhere, or are asked otherwise.
        adjusted: Of these other people count: another region, other masks.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reconnected: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For people: every kind of change that there is."""
        words = (
            ("added", self.added),
            ("removed", self.removed),
            ("connected anew", self.reconnected),
            ("adjusted", self.adjusted),
        )
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in words if names)


class Roster:
    """Who is watched.

    Args:
        detector: Of the run.
        identities: Get the tracks of cameras that end.
        settings: Of the site.

    Attributes:
        watched: The cameras, in the order of the site; replaced as a whole, so any thread may read.
        settings: As above, those of now.
    """

    def __init__(self, detector: Detector, identities: Identities, settings: SiteConfig) -> None:
        self.watched: tuple[Watched, ...] = ()
        self.settings = settings
        self._detector, self._identities = detector, identities
        self._leaving: list[tuple[LiveCamera, threading.Thread]] = []

    def check(self, settings: SiteConfig) -> None:
        """Refuse settings that a run cannot take over; any thread may ask.

        Raises:
            UsageError: Something is another that was decided when the run began.
        """
        fixed = [
            name
            for name in SiteConfig.model_fields
            if name not in _CAN_CHANGE | _OF_RECORDINGS
            and getattr(settings, name) != getattr(self.settings, name)
        ]
        if fixed:
            raise UsageError(
                f"{', '.join(fixed)} cannot change while the run goes on",
                expected="other cameras, or another process_fps",
                fix="end the run and start it again, or take that change back",
            )

    def add(self, cameras: Sequence[tuple[CameraConfig, LiveCamera]], frame_rate: float) -> None:
        """Take the first cameras, which are not started."""
        self.watched = tuple(self._new(config, camera, frame_rate) for config, camera in cameras)

    def change(
        self,
        settings: SiteConfig,
        cameras: Sequence[tuple[CameraConfig, LiveCamera]],
        frame_rate: float,
        now_ns: int,
    ) -> Changes:
        """Go over to other cameras; those that stay as they are notice nothing.

        Args:
            settings: The new ones, checked.
            cameras: All that shall be watched, not started; of those that stay only the
                configuration is taken.
            frame_rate: Pictures of a camera that are looked at in a second.
            now_ns: UTC.
        """
        self.settings = settings
        before = {each.name: each for each in self.watched}
        added: list[str] = []
        reconnected: list[str] = []
        adjusted: list[str] = []
        after: list[Watched] = []
        for config, camera in cameras:
            name = str(config.id)
            known = before.pop(name, None)
            if known is not None and known.camera.source == camera.source:
                area = known.config.region, known.config.masks
                known.config = config
                if area != (config.region, config.masks):
                    known.analysis.look_only(config, settings)
                    adjusted.append(name)
                after.append(known)
                continue
            if known is not None:
                self._end(known, now_ns)
            (added if known is None else reconnected).append(name)
            new = self._new(config, camera, frame_rate)
            if known is not None:
                new.latency, new.failures = known.latency, known.failures
            after.append(new)
            camera.start()
        for each in before.values():
            self._end(each, now_ns)
        self.watched = tuple(after)
        return Changes(tuple(added), tuple(before), tuple(reconnected), tuple(adjusted))

    def left(self) -> list[CameraHealth]:
        """Return how those are that have ended since the last call, and are watched no more."""
        ended = [camera for camera, thread in self._leaving if not thread.is_alive()]
        self._leaving = [each for each in self._leaving if each[0] not in ended]
        names = {each.name for each in self.watched}
        return [camera.health() for camera in ended if camera.camera_id not in names]

    def stop(self) -> None:
        """Stop all cameras, and wait for those that were told to end before."""
        for each in self.watched:
            each.camera.ask_to_stop()
        for _, thread in self._leaving:
            thread.join(_JOIN_S)
        for each in self.watched:
            if not each.camera.stop():
                _log.warning("camera did not stop in time", camera=each.name)

    def _new(self, config: CameraConfig, camera: LiveCamera, frame_rate: float) -> Watched:
        first = self._identities.first_track(str(config.id))
        return Watched(
            config,
            camera,
            CameraAnalysis(config, self.settings, frame_rate, first_track=first),
            self._detector.for_camera() if self._detector.sequential else None,
        )

    def _end(self, watched: Watched, now_ns: int) -> None:
        """End a camera: its tracks now, its thread when it comes to it."""
        self._identities.take(watched.analysis.flush(), now_ns)
        self._identities.next_track[watched.name] = watched.analysis.next_track
        watched.camera.ask_to_stop()
        thread = threading.Thread(
            target=watched.camera.stop, name=f"leave {watched.name}", daemon=True
        )
        thread.start()
        self._leaving.append((watched.camera, thread))


def with_former(
    now: AssociationConfig, before: AssociationConfig, cameras: frozenset[str]
) -> AssociationConfig:
    """Keep what was known of cameras that are watched no more: their people are still remembered.

    Args:
        now: What is known of the cameras of now.
        before: What was known until now.
        cameras: The cameras of now.
    """
    return replace(
        now,
        overlapping=now.overlapping | {pair for pair in before.overlapping if not pair <= cameras},
        separate=now.separate | {pair for pair in before.separate if not pair <= cameras},
        least_transit_s={
            **{way: s for way, s in before.least_transit_s.items() if not cameras.issuperset(way)},
            **now.least_transit_s,
        },
        usual_transit_s=before.usual_transit_s,
        learned=before.learned,
    )
