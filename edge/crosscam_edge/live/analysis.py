"""What is seen in one live camera: from detections to tracks, whatever its pictures do."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from crosscam_edge.detect.area import AreaFilter
from crosscam_edge.track import TrackerConfig
from crosscam_edge.track.live import LiveFrame, LiveTracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.config import CameraConfig, SiteConfig
    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.types import Detections, Frame

    Embed = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.float32]]
    """As `Embedder.embed`."""

_GONE_S = 30.0
"""Without a picture for longer, whoever was there has ended: nobody knows who is there now."""


class CameraAnalysis:
    """Tracks the people of one live camera.

    Args:
        config: Region and masks of the camera.
        settings: Of the site.
        frame_rate: Pictures a second that are looked at.
        first_track: Id of the first track.

    Attributes:
        frames: Pictures that were looked at.
        last_ns: When the last one was taken; None before the first.
    """

    def __init__(
        self,
        config: CameraConfig,
        settings: SiteConfig,
        frame_rate: float,
        *,
        first_track: int = 1,
    ) -> None:
        self.frames = 0
        self.last_ns: int | None = None
        self._tracking = LiveTracking(
            str(config.id),
            (1, 1),
            frame_rate,
            tracker=TrackerConfig.above(
                settings.min_confidence, embed_every_s=settings.embed_every_seconds
            ),
            first_id=first_track,
        )
        self.look_only(config, settings)

    @property
    def next_track(self) -> int:
        """Id of the next track that begins."""
        return self._tracking.tracker.next_id

    @property
    def counts(self) -> dict[str, int]:
        """What became of tracks so far, and how many crops were embedded; see `Tracker`."""
        return dict(self._tracking.tracker.counts)

    def look_only(self, config: CameraConfig, settings: SiteConfig) -> None:
        """From now on let only people count who are in the region and in no mask."""
        self._area = AreaFilter(
            config, min_confidence=settings.min_confidence, max_people=settings.max_people
        )

    def look(self, frame: Frame, found: Detections, embed: Embed) -> LiveFrame:
        """Take a picture and the people in it; returns what is new.

        Tracks end where the picture changes its size, and where it was gone for long: what was seen
        before and after has no common ground.
        """
        size = (frame.image.shape[1], frame.image.shape[0])
        away = self.last_ns is not None and frame.time_ns - self.last_ns > _GONE_S * 1e9
        before = LiveFrame(frame.camera_id)
        if size != self._tracking.image_size or away:
            before = self._tracking.flush()
            self._tracking.image_size = size

        def of(index: NDArray[np.intp]) -> NDArray[np.float32]:
            return embed(frame.image, found.xyxy[index])

        found = self._area(found)
        out = self._tracking.step(frame.index, frame.time_ns, found, of)
        out.ended = before.ended + out.ended
        out.nobody = before.nobody | out.nobody
        self.frames += 1
        self.last_ns = frame.time_ns
        return out

    def gone(self, now_ns: int) -> LiveFrame:
        """End all tracks when there has been no picture for long."""
        if self.last_ns is None or now_ns - self.last_ns <= _GONE_S * 1e9:
            return LiveFrame(self._tracking.camera_id)
        return self._tracking.flush()

    def forget(self, track_ids: Iterable[int]) -> None:
        """Let the looks of tracks go that have ended."""
        self._tracking.forget(track_ids)

    def translated(self, translation: Translation) -> LiveTracking:
        """Return the tracks as another model knows them; those of now stay what they are."""
        after = copy.deepcopy(self._tracking)
        after.translate(translation)
        return after

    def use(self, tracking: LiveTracking) -> None:
        """Go on with what `translated` has returned, before the next picture."""
        self._tracking = tracking

    def flush(self) -> LiveFrame:
        """End all tracks."""
        return self._tracking.flush()
