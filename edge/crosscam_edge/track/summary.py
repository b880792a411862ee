"""What is remembered of a track: a handful of running figures, however long it lasts."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 50  # of confidence
STILL = 0.08  # heights: further from where the stretch began is no longer the same place
_STRAY_S = 1.0  # ... unless it comes back this soon
_MIN_STILL_S = 3.0  # shorter stretches are not remembered
_MAX_RUNS = 32


class Confidences:
    """Median of a stream of confidences in constant memory, to ±0.01."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = array("I", bytes(4 * _BINS))  # a list of numbers is three times as large

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
        looks: Pictures that were looked at from the first to the last.
        doubled: By track id, in how many frames the box of this one lay on that one's.
    """

    __slots__ = (
        "_anchor",
        "_confidences",
        "_first_look",
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
        "looks",
    )

    def __init__(self, frame_index: int, time_ns: int, look: int | None = None) -> None:
        self.hits = self.looks = 0
        self._first_look = frame_index if look is None else look
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
        self,
        frame_index: int,
        time_ns: int,
        xyxy: NDArray[np.floating],
        confidence: float,
        look: int | None = None,
    ) -> None:
        """Take one detection of the track.

        Args:
            frame_index: Of the frame, among all that the camera has sent.
            time_ns: When it was taken, UTC.
            xyxy: `(4,)` pixels.
            confidence: The detector's.
            look: Number of the frame among those that were looked at; where all were, its index.
        """
        self.hits += 1
        self.looks = (frame_index if look is None else look) - self._first_look + 1
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
        """Share of the looks at its life in which the track was detected."""
        return self.hits / max(self.looks, 1)
