"""All of one camera in one object: tracker, tracklets, and the verdict at the end.

Feed it frame by frame; write its rows where you like; when it is finished it says which tracks to
drop and which to join. Memory does not grow with the length of the video but for a summary and a
tracklet per track, both of bounded size.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.boxes import lie_on_each_other
from crosscam_edge.track.config import TrackerConfig
from crosscam_edge.track.gaps import GapFiller, TrackRow, fill
from crosscam_edge.track.link import LinkConfig, link, told_apart
from crosscam_edge.track.person import EndedTrack
from crosscam_edge.track.refine import RefineConfig, furniture, spurious
from crosscam_edge.track.summary import TrackSummary
from crosscam_edge.track.tracker import Tracker
from crosscam_edge.track.tracklets import TrackletBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from crosscam_edge.embed.quality import QualityConfig
    from crosscam_edge.types import Detections, Tracklet, Tracks

_RECENT_FRAMES = 1024  # whose times are remembered


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of the video tells about its tracks.

    Attributes:
        tracklets: The tracks that are kept, before joining, in order of their ids.
        joined: For each kept track id, the id of the first fragment of its person.
        dropped: Reason by track id of the tracks that were no people.
        furniture: By track id, first and last frame of the stretches in which a kept track sat on
            a thing instead of a person.
        moved: By track id, first and last frame of the stretches in which a track was on somebody
            else, and the track id of that person.
    """

    tracklets: list[Tracklet]
    joined: dict[int, int]
    dropped: dict[int, str]
    furniture: dict[int, list[tuple[int, int]]]
    moved: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)

    def owner(self, track_id: int, frame_index: int) -> int | None:
        """Return whose box the one of a track in a frame is: the id of the person's first fragment.

        None when it is nobody's.
        """
        for first, last, to_id in self.moved.get(track_id, ()):
            if first <= frame_index <= last:
                track_id = to_id
                break
        if any(first <= frame_index <= last for first, last in self.furniture.get(track_id, ())):
            return None
        return self.joined.get(track_id)


class CameraTracking:
    """Tracks one recorded camera, to be judged at its end.

    Args:
        camera_id: Name of the camera.
        image_size: `(width, height)` in pixels.
        frame_rate: Nominal frames per second.
        tracker: Settings; `emit_tentative` is switched on so that no track loses its beginning.
        refine: When tracks are dropped and gaps filled.
        link: When fragments are joined; None = never.
        quality: Gate for the crops.

    Attributes:
        tracker: The tracker underneath.
        on_ended: Gets each confirmed track when it ends, as its tracklet and its summary, which
            nothing changes any more; called by the thread that calls `step` and `finish`.
    """

    def __init__(
        self,
        camera_id: str,
        image_size: tuple[int, int],
        frame_rate: float,
        *,
        tracker: TrackerConfig | None = None,
        refine: RefineConfig | None = None,
        link: LinkConfig | None = LinkConfig(),  # noqa: B008 (frozen)
        quality: QualityConfig | None = None,
    ) -> None:
        self.image_size = image_size
        self.tracker = Tracker(
            replace(tracker or TrackerConfig(), emit_tentative=True), frame_rate, quality=quality
        )
        self._refine = refine or RefineConfig()
        self._link = link
        self.on_ended: Callable[[Tracklet, TrackSummary], None] | None = None
        self._builder = TrackletBuilder(camera_id, image_size)
        self._filler = GapFiller(self._refine.max_gap_s)
        self._looks = 0  # frames so far
        self._summaries: dict[int, TrackSummary] = {}
        self._finished: dict[int, Tracklet] = {}
        self._moved: dict[int, list[tuple[int, int, int]]] = {}
        self._frames: deque[tuple[int, int]] = deque(maxlen=_RECENT_FRAMES)

    def step(
        self,
        frame_index: int,
        time_ns: int,
        detections: Detections,
        embed: Callable[[NDArray[np.intp]], NDArray[np.float32]] | None = None,
        image: NDArray[np.uint8] | None = None,
    ) -> list[TrackRow]:
        """Take one frame and return its rows, preceded by rows that fill gaps just closed.

        Rows of tracks that turn out to be noise are among them: filter by `finish`.
        """
        tracks = self.tracker.update(
            detections, time_ns=time_ns, image_size=self.image_size, embed=embed, image=image
        )
        self._correct(frame_index, time_ns)
        self._builder.observe(frame_index, time_ns, tracks, self.tracker.details)
        rows = []
        for track_id, box, confidence in zip(
            tracks.track_id.tolist(), tracks.xyxy, tracks.confidence.tolist(), strict=True
        ):
            summary = self._summaries.get(track_id)
            if summary is None:
                summary = TrackSummary(frame_index, time_ns, self._looks)
                self._summaries[track_id] = summary
            summary.add(frame_index, time_ns, box, confidence, self._looks)
            rows.append(TrackRow(frame_index, time_ns, track_id, box, confidence))
        self._looks += 1
        self._meet(tracks)
        self._close(self.tracker.ended())
        return self._filler.push(rows)

    def finish(self) -> Verdict:
        """End all tracks and judge them."""
        self._close(self.tracker.flush())
        return replace(self.judge(self._finished, self._summaries), moved=self._moved)

    def judge(
        self, finished: Mapping[int, Tracklet], summaries: Mapping[int, TrackSummary]
    ) -> Verdict:
        """Judge ended tracks as if the video ended with them.

        It looks at its arguments and at settings only, so any thread may ask.

        Args:
            finished: Tracklets by track id, as `on_ended` got them.
            summaries: The summary of each.
        """
        dropped = spurious(summaries, self._refine, two_people=told_apart(finished))
        kept = [finished[k] for k in sorted(finished) if k not in dropped]
        joined = link(kept, self._link) if self._link else {t.track_id: t.track_id for t in kept}
        still = furniture(summaries, self._refine)
        return Verdict(kept, joined, dropped, {k: v for k, v in still.items() if k in joined})

    def _meet(self, tracks: Tracks) -> None:
        """Count in how many frames the boxes of two tracks lie on each other."""
        ids = tracks.track_id.tolist()
        for i, j in np.argwhere(lie_on_each_other(tracks.xyxy)).tolist():
            self._summaries[ids[i]].doubled[ids[j]] += 1

    def _correct(self, frame_index: int, time_ns: int) -> None:
        """Note which rows of the frames before this one were of another person."""
        moves = self.tracker.moves()
        for move in moves:
            first = next((f for t, f in self._frames if t >= move.since_ns), frame_index)
            if first < frame_index:
                stretch = (first, frame_index - 1, move.to_id)
                self._moved.setdefault(move.track_id, []).append(stretch)
        self._builder.move(moves)
        self._frames.append((time_ns, frame_index))

    def _close(self, ended: list[EndedTrack]) -> None:
        for track in ended:
            tracklet = self._builder.finish(track.track_id)
            self._filler.forget(track.track_id)
            if tracklet is not None and track.confirmed:
                self._finished[track.track_id] = tracklet
                if self.on_ended is not None:
                    self.on_ended(tracklet, self._summaries[track.track_id])
            else:
                self._summaries.pop(track.track_id, None)


def apply_verdict(
    rows: Iterable[TrackRow], verdict: Verdict, *, max_gap_s: float = RefineConfig().max_gap_s
) -> list[TrackRow]:
    """Return the rows of people only, joined fragments under one id, gaps between them filled.

    Args:
        rows: All rows of `CameraTracking.step`.
        verdict: Result of `CameraTracking.finish`.
        max_gap_s: Longer gaps stay open.

    Returns:
        Rows in order of frame, then track.
    """
    out: dict[tuple[int, int], TrackRow] = {}
    last: dict[int, TrackRow] = {}
    for row in sorted(rows, key=lambda r: (r.frame_index, r.track_id)):
        target = verdict.owner(row.track_id, row.frame_index)
        if target is None:
            continue
        row = replace(row, track_id=target)
        before = last.get(target)
        if before is not None:
            for filled in fill(before, row, max_gap_s):
                out[filled.frame_index, target] = filled
        last[target] = row
        # Where fragments overlap, the later one has the person.
        out[row.frame_index, target] = row
    return [out[key] for key in sorted(out)]
