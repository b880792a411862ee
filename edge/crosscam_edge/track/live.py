"""One camera that never ends: tracks as they are, tracklets as they grow, and what was nobody.

`crosscam_edge.track.runner` judges tracks at the end of a recording. Here the same judgement is
passed while the camera runs, on what its last minutes have shown, so that memory does not grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.boxes import lie_on_each_other
from crosscam_edge.embed.translation import translated
from crosscam_edge.track.config import TrackerConfig
from crosscam_edge.track.gaps import TrackRow
from crosscam_edge.track.link import told_apart
from crosscam_edge.track.refine import RefineConfig, spurious
from crosscam_edge.track.summary import TrackSummary
from crosscam_edge.track.things import Things
from crosscam_edge.track.tracker import Tracker
from crosscam_edge.track.tracklets import TrackletBuilder, at_rest
from crosscam_edge.types import TrackletKey, Tracks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from crosscam_edge.embed.quality import QualityConfig
    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.track.person import EndedTrack
    from crosscam_edge.types import Detections, Tracklet

_AT_THE_END = frozenset({"short", "sparse", "faint"})
"""What a track that goes on may still make good."""
_EVERY_S = 2.0  # living tracks are judged so often
_KEPT = 128  # ended tracks by which others are judged


@dataclass(slots=True)
class LiveFrame:
    """What one frame brought.

    Attributes:
        camera_id: The camera.
        rows: Boxes of confirmed tracks.
        grown: Tracklets with new crops, as they stand; at most one for each track.
        ended: Tracklets that are complete.
        nobody: Tracks, alive or ended, that turned out to be no people, and why.
    """

    camera_id: str
    rows: list[TrackRow] = field(default_factory=list)
    grown: list[Tracklet] = field(default_factory=list)
    ended: list[Tracklet] = field(default_factory=list)
    nobody: dict[TrackletKey, str] = field(default_factory=dict)


class LiveTracking:
    """Tracks one camera for ever, in bounded memory.

    Args:
        camera_id: Name of the camera.
        image_size: `(width, height)` in pixels.
        frame_rate: Nominal frames per second.
        tracker: Settings.
        refine: When tracks are no people.
        quality: Gate for the crops.
        first_id: Of the first track; more than any that this camera has had before.

    Attributes:
        tracker: The tracker underneath.
    """

    def __init__(
        self,
        camera_id: str,
        image_size: tuple[int, int],
        frame_rate: float,
        *,
        tracker: TrackerConfig | None = None,
        refine: RefineConfig | None = None,
        quality: QualityConfig | None = None,
        first_id: int = 1,
    ) -> None:
        self.camera_id = camera_id
        self.tracker = Tracker(
            tracker or TrackerConfig(), frame_rate, quality=quality, first_id=first_id
        )
        self._refine = refine or RefineConfig()
        self._builder = TrackletBuilder(camera_id, image_size)
        self._looks = 0  # frames so far
        self._summaries: dict[int, TrackSummary] = {}
        self._ended: dict[int, Tracklet] = {}  # of which nobody said that it was nobody
        self._nobody: set[int] = set()  # living
        self._things = Things(self._refine)
        self._judged_ns: int | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """`(width, height)` of the picture in pixels; may change while the camera runs."""
        return self._builder.image_size

    @image_size.setter
    def image_size(self, size: tuple[int, int]) -> None:
        self._builder.image_size = size

    def step(
        self,
        frame_index: int,
        time_ns: int,
        detections: Detections,
        embed: Callable[[NDArray[np.intp]], NDArray[np.float32]] | None = None,
        image: NDArray[np.uint8] | None = None,
    ) -> LiveFrame:
        """Take one frame; arguments as `Tracker.update`."""
        tracks = self.tracker.update(
            detections, time_ns=time_ns, image_size=self.image_size, embed=embed, image=image
        )
        self._builder.move(self.tracker.moves())
        out = LiveFrame(self.camera_id)
        on_things = self._summarise(frame_index, time_ns, tracks)
        tracks = _some(tracks, ~on_things)
        self._builder.observe(frame_index, time_ns, tracks, self.tracker.details)
        out.rows = [
            TrackRow(frame_index, time_ns, track_id, box, confidence)
            for track_id, box, confidence in zip(
                tracks.track_id.tolist(), tracks.xyxy, tracks.confidence.tolist(), strict=True
            )
            if track_id not in self._nobody
        ]
        self._grow(out, time_ns, tracks.track_id.tolist())
        self._close(out, self.tracker.ended())
        if self._judged_ns is None or time_ns - self._judged_ns >= _EVERY_S * 1e9:
            self._judged_ns = time_ns
            self._judge(out, time_ns)
        return out

    def _summarise(self, frame_index: int, time_ns: int, tracks: Tracks) -> NDArray[np.bool_]:
        """Add a frame to the figures of its tracks; returns `(N,)` which are on a known thing."""
        ids = tracks.track_id.tolist()
        on_things = np.zeros(len(tracks), np.bool_)
        for k, (track_id, box, confidence) in enumerate(
            zip(ids, tracks.xyxy, tracks.confidence.tolist(), strict=True)
        ):
            summary = self._summaries.get(track_id)
            if summary is None:
                summary = TrackSummary(frame_index, time_ns, self._looks)
                self._summaries[track_id] = summary
            summary.add(frame_index, time_ns, box, confidence, self._looks)
            on_things[k] = self._things.hide(box, confidence, time_ns)
        for i, j in np.argwhere(lie_on_each_other(tracks.xyxy)).tolist():
            self._summaries[ids[i]].doubled[ids[j]] += 1
        self._looks += 1
        return on_things

    def forget(self, track_ids: Iterable[int]) -> None:
        """Let the looks of tracks go that have ended."""
        for track_id in track_ids:
            self._ended.pop(track_id, None)

    def translate(self, translation: Translation) -> None:
        """Go over to another model in the middle of everything: tracks keep their ids."""
        self.tracker.translate(translation)
        self._builder.translate(translation)
        self._ended = {k: at_rest(translated(each, translation)) for k, each in self._ended.items()}

    def flush(self) -> LiveFrame:
        """End all tracks: the camera is gone, or its picture is another one."""
        out = LiveFrame(self.camera_id)
        self._close(out, self.tracker.flush())
        return out

    def _grow(self, out: LiveFrame, time_ns: int, ids: list[int]) -> None:
        for track_id in ids:
            tracklet = None if track_id in self._nobody else self._builder.peek(track_id)
            if tracklet is not None and time_ns in tracklet.embedding_times_ns[-1:]:
                out.grown.append(tracklet)

    def _close(self, out: LiveFrame, ended: list[EndedTrack]) -> None:
        for track in ended:
            tracklet = self._builder.finish(track.track_id)
            known = track.track_id in self._nobody
            self._nobody.discard(track.track_id)
            if known or tracklet is None or not track.confirmed:
                self._summaries.pop(track.track_id, None)
                continue
            tracklet = self._ended[track.track_id] = at_rest(tracklet)
            why = self._spurious().get(track.track_id)
            if why is None:
                out.ended.append(tracklet)
            else:
                out.nobody[tracklet.key] = why
        while len(self._ended) > _KEPT:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._summaries.pop(oldest, None)

    def _judge(self, out: LiveFrame, time_ns: int) -> None:
        """Learn where things are, and find living tracks that are no people."""
        self._things.learn(self._summaries, time_ns)
        for summary in self._summaries.values():  # of a track that stays for days, too many
            for other in summary.doubled.keys() - self._summaries.keys():
                del summary.doubled[other]
        for track_id, why in self._spurious().items():
            if track_id in self._ended or track_id in self._nobody or why in _AT_THE_END:
                continue
            out.nobody[TrackletKey(self.camera_id, track_id)] = why
            if why == "furniture":
                # From here on its place hides it; should somebody take the track along, it is that
                # person's from the beginning.
                self._builder.finish(track_id)
                del self._summaries[track_id]
            else:
                self._nobody.add(track_id)

    def _spurious(self) -> dict[int, str]:
        looks: list[Callable[[int, int], bool]] = []

        def two_people(a: int, b: int) -> bool:
            if not looks:  # comparing everybody's looks takes long, and is hardly ever asked for
                living = {k: self._builder.peek(k) for k in self._summaries.keys() - self._ended}
                seen = {k: tracklet for k, tracklet in living.items() if tracklet is not None}
                looks.append(told_apart({**self._ended, **seen}))
            return looks[0](a, b)

        return spurious(self._summaries, self._refine, two_people=two_people)


def _some(tracks: Tracks, rows: NDArray[np.bool_]) -> Tracks:
    return Tracks(
        tracks.track_id[rows],
        tracks.xyxy[rows],
        tracks.confidence[rows],
        tracks.detection_index[rows],
    )
