"""What can only be known afterwards: which tracks were no people, and where people were unseen.

Everything here works on a stream. A track costs a fixed amount of memory however long it lasts, and
the verdict on it is a handful of running figures.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

_BINS = 50  # of confidence
STILL = 0.08  # heights: further from where the stretch began is no longer the same place
_STRAY_S = 1.0  # ... unless it comes back this soon
_MIN_STILL_S = 3.0  # shorter stretches are not remembered
_MAX_RUNS = 32
_MIN_WALKERS = 3


@dataclass(frozen=True, slots=True)
class RefineConfig:
    """When a track is dropped and which gaps are filled.

    Attributes:
        min_seconds: Shorter tracks are dropped.
        min_hits: Tracks with fewer detections are dropped.
        min_density: Least share of the frames of its life in which a track was detected.
        faint_seconds: A track shorter than this must also be convincing ...
        faint_confidence: ... its median confidence must reach this.
        still_seconds: Only what stays in its place for this long can be furniture.
        furniture_margin: It is furniture when its median confidence is lower, by this much, than
            that of nearly all who walk in this camera.
        walk_extent: A track that gets about by more than this many of its heights walks.
        double_share: A track whose box lies on that of a longer one for more than this share of
            its life is a second box of the same person.
        max_gap_s: Longer gaps inside a track are not filled.
    """

    min_seconds: float = 0.5
    min_hits: int = 4
    min_density: float = 0.25
    faint_seconds: float = 2.0
    faint_confidence: float = 0.45
    still_seconds: float = 10.0
    furniture_margin: float = 0.05
    walk_extent: float = 1.0
    double_share: float = 0.5
    max_gap_s: float = 2.0


class Confidences:
    """Median of a stream of confidences in constant memory, to ±0.01."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * _BINS

    def add(self, confidence: float) -> None:
        """Take one confidence in [0, 1]."""
        self._counts[min(max(int(confidence * _BINS), 0), _BINS - 1)] += 1

    @property
    def median(self) -> float:
        """The median so far; 0 when there is none."""
        total = np.cumsum(self._counts)
        if total[-1] == 0:
            return 0.0
        return (int(np.searchsorted(total, (total[-1] + 1) / 2)) + 0.5) / _BINS


@dataclass(slots=True)
class StillRun:
    """A stretch of a track in which its box did not leave its place.

    Attributes:
        first_frame: First frame of the stretch.
        last_frame: Last frame.
        first_ns: Time of the first.
        last_ns: Time of the last.
        confidences: Of the detections in it.
        place: Middle of the upper edge of the first box, pixels.
        height: Of the first box, pixels.
    """

    first_frame: int
    last_frame: int
    first_ns: int
    last_ns: int
    confidences: Confidences
    place: tuple[float, float]
    height: float

    @property
    def seconds(self) -> float:
        """Length of the stretch."""
        return (self.last_ns - self.first_ns) / 1e9


def place_of(xyxy: NDArray[np.floating]) -> tuple[tuple[float, float], float]:
    """Return where a box `(4,)` is, and its height, in pixels.

    Its place is the middle of the head's edge: that does not jump when the legs are hidden.
    """
    x, y = float(xyxy[0] + xyxy[2]) / 2, float(xyxy[1])
    return (x, y), max(float(xyxy[3] - xyxy[1]), 1.0)


class TrackSummary:
    """Running figures of one track, in constant memory.

    Attributes:
        hits: Detections.
        first_ns: Time of the first.
        last_ns: Time of the last.
        first_frame: Index of the first.
        last_frame: Index of the last.
        doubled: By track id, in how many frames the box of this one lay on that one's.
    """

    __slots__ = (
        "_anchor",
        "_confidences",
        "_height",
        "_high",
        "_low",
        "_run",
        "_runs",
        "doubled",
        "first_frame",
        "first_ns",
        "hits",
        "last_frame",
        "last_ns",
    )

    def __init__(self, frame_index: int, time_ns: int) -> None:
        self.hits = 0
        self.doubled: Counter[int] = Counter()
        self.first_ns = self.last_ns = time_ns
        self.first_frame = self.last_frame = frame_index
        self._confidences = Confidences()
        self._height = 0.0
        self._low, self._high = (math.inf, math.inf), (-math.inf, -math.inf)
        self._anchor = (math.inf, math.inf)
        self._run: StillRun | None = None
        self._runs: list[StillRun] = []

    def add(
        self, frame_index: int, time_ns: int, xyxy: NDArray[np.floating], confidence: float
    ) -> None:
        """Take one detection of the track."""
        self.hits += 1
        self.last_ns, self.last_frame = time_ns, frame_index
        self._confidences.add(confidence)
        (x, y), height = place_of(xyxy)
        self._height += (height - self._height) / self.hits
        self._low = (min(self._low[0], x), min(self._low[1], y))
        self._high = (max(self._high[0], x), max(self._high[1], y))
        self._follow(frame_index, time_ns, (x, y), height, confidence)

    def _follow(
        self,
        frame_index: int,
        time_ns: int,
        place: tuple[float, float],
        height: float,
        confidence: float,
    ) -> None:
        run = self._run
        shift = max(abs(place[0] - self._anchor[0]), abs(place[1] - self._anchor[1]))
        if run is None or shift > STILL * height:
            # A moment elsewhere (somebody passing in front) does not end the stretch.
            if run is not None and (time_ns - run.last_ns) / 1e9 <= _STRAY_S:
                return
            self._keep()
            self._anchor = place
            self._run = StillRun(
                frame_index, frame_index, time_ns, time_ns, Confidences(), place, height
            )
            self._run.confidences.add(confidence)
            return
        run.last_frame, run.last_ns = frame_index, time_ns
        run.confidences.add(confidence)

    def _keep(self) -> None:
        if self._run is not None and self._run.seconds >= _MIN_STILL_S:
            self._runs = [*self._runs, self._run][-_MAX_RUNS:]

    @property
    def runs(self) -> list[StillRun]:
        """Stretches of at least a few seconds in one place; the latest when there are many."""
        last = self._run
        if last is None or last.seconds < _MIN_STILL_S:
            return self._runs
        return [*self._runs, last]

    @property
    def seconds(self) -> float:
        """Time between the first and the last detection."""
        return (self.last_ns - self.first_ns) / 1e9

    @property
    def confidence(self) -> float:
        """Median confidence."""
        return self._confidences.median

    @property
    def travel(self) -> float:
        """Greater side of the area the track covered, in mean box heights."""
        side = max(self._high[0] - self._low[0], self._high[1] - self._low[1])
        return side / max(self._height, 1.0) if self.hits else 0.0

    @property
    def density(self) -> float:
        """Share of the frames of its life in which the track was detected."""
        return self.hits / (self.last_frame - self.first_frame + 1)


def spurious(
    summaries: Mapping[int, TrackSummary],
    config: RefineConfig | None = None,
    *,
    two_people: Callable[[int, int], bool] = lambda _a, _b: False,
) -> dict[int, str]:
    """Return the tracks that were no people, with the reason.

    Args:
        summaries: Figures of the confirmed tracks of one camera by track id.
        config: Limits.
        two_people: Says of two track ids whether their looks tell them apart: people who walk arm
            in arm lie on each other too.

    Returns:
        Reason ``"short"``, ``"double"``, ``"sparse"``, ``"faint"`` or ``"furniture"`` by track id;
        all others are kept.
    """
    config = config or RefineConfig()
    still = furniture(summaries, config)
    out: dict[int, str] = {}
    for track_id, s in summaries.items():
        frozen = sum(last - first + 1 for first, last in still.get(track_id, []))
        if s.hits < config.min_hits or s.seconds < config.min_seconds:
            out[track_id] = "short"
        elif any(
            not two_people(track_id, other)
            for other in _doubled(track_id, summaries, config.double_share)
        ):
            out[track_id] = "double"
        elif s.density < config.min_density:
            out[track_id] = "sparse"
        elif s.seconds < config.faint_seconds and s.confidence < config.faint_confidence:
            out[track_id] = "faint"
        elif frozen > 0.9 * (s.last_frame - s.first_frame + 1):
            out[track_id] = "furniture"
    return out


def _doubled(track_id: int, summaries: Mapping[int, TrackSummary], share: float) -> list[int]:
    """Return the longer tracks on whose boxes those of a track lie for most of its life."""
    own = summaries[track_id]
    return [
        other
        for other, count in own.doubled.items()
        if count > share * own.hits
        and other in summaries
        and (summaries[other].hits, -other) > (own.hits, -track_id)
    ]


def furniture(
    summaries: Mapping[int, TrackSummary], config: RefineConfig | None = None
) -> dict[int, list[tuple[int, int]]]:
    """Return the stretches of tracks in which a thing, not a person, was detected.

    A post, a poster or a coat on a hook stays exactly where it is for long, which people who
    stand or sit hardly do, *and* looks less like a person than those who walk here. The bound on
    confidence is learned from this camera's walkers, so it holds for any detector; without
    walkers nothing is judged. A stretch and not a track is judged because a detector's favourite
    post catches the track of a person who passes by it.

    Args:
        summaries: Figures of the tracks of one camera by track id.
        config: Limits.

    Returns:
        First and last frame of each stretch by track id.
    """
    config = config or RefineConfig()
    bound = least_of_walkers(summaries, config)
    if bound is None:
        return {}
    out: dict[int, list[tuple[int, int]]] = {}
    for track_id, s in summaries.items():
        things = [(run.first_frame, run.last_frame) for run in things_of(s, bound, config)]
        if things:
            out[track_id] = things
    return out


def least_of_walkers(summaries: Mapping[int, TrackSummary], config: RefineConfig) -> float | None:
    """Return the confidence that nearly all who walk in this camera reach, less the margin.

    None where too few walk to tell.
    """
    walkers = [
        s.confidence
        for s in summaries.values()
        if s.travel > config.walk_extent
        and s.seconds >= config.faint_seconds
        # A walker's track that went on to stick to a post would lower the bound for posts.
        and all(run.seconds < config.still_seconds for run in s.runs)
    ]
    if len(walkers) < _MIN_WALKERS:
        return None
    return float(np.quantile(walkers, 0.1)) - config.furniture_margin


def things_of(summary: TrackSummary, bound: float, config: RefineConfig) -> list[StillRun]:
    """Return the stretches of a track in which it was on a thing; see `furniture`."""
    return [
        run
        for run in summary.runs
        if run.seconds >= config.still_seconds and run.confidences.median < bound
    ]


@dataclass(frozen=True, slots=True)
class TrackRow:
    """One box of one track.

    Attributes:
        frame_index: Number of the frame.
        time_ns: Its capture time.
        track_id: Track.
        xyxy: `(4,)` float32 pixels.
        confidence: Of the detection; of an interpolated row, the lower of its two ends.
        interpolated: Whether nothing was detected and the box was filled in.
    """

    frame_index: int
    time_ns: int
    track_id: int
    xyxy: NDArray[np.float32]
    confidence: float
    interpolated: bool = False


class GapFiller:
    """Fills the gaps of tracks on the fly, remembering only the last box of each.

    Args:
        max_gap_s: Longer gaps stay open.
    """

    def __init__(self, max_gap_s: float = RefineConfig().max_gap_s) -> None:
        self._max_gap_s = max_gap_s
        self._last: dict[int, TrackRow] = {}

    def push(self, rows: Iterable[TrackRow]) -> list[TrackRow]:
        """Take the rows of one frame; return them, after the rows that fill gaps before them.

        Frames between two sights get straight-line boxes, evenly spaced in time.
        """
        out: list[TrackRow] = []
        for row in rows:
            last = self._last.get(row.track_id)
            if last is not None:
                out.extend(fill(last, row, self._max_gap_s))
            out.append(row)
            self._last[row.track_id] = row
        return out

    def forget(self, track_id: int) -> None:
        """Drop what is remembered of a track that ended."""
        self._last.pop(track_id, None)


def fill(before: TrackRow, after: TrackRow, max_gap_s: float) -> list[TrackRow]:
    """Return the straight-line rows strictly between two sights; none over a longer gap."""
    frames = after.frame_index - before.frame_index
    span = after.time_ns - before.time_ns
    if frames < 2 or span / 1e9 > max_gap_s:
        return []
    step = (after.xyxy - before.xyxy) / frames
    confidence = min(before.confidence, after.confidence)
    return [
        TrackRow(
            before.frame_index + k,
            before.time_ns + span * k // frames,
            after.track_id,
            (before.xyxy + step * k).astype(np.float32),
            confidence,
            True,
        )
        for k in range(1, frames)
    ]
