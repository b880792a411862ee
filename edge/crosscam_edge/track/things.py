"""Where a camera shows things that its detector takes for people: learned, and hidden from then on.

At the end of a recording, stretches of tracks on a post or a poster are dropped
(`crosscam_edge.track.refine.furniture`). A live camera cannot wait for that. But things stay where
they are: a place that was found to show one hides what is found there later, at once, as long as it
is no surer than the thing was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosscam_edge.track.refine import RefineConfig, least_of_walkers, things_of
from crosscam_edge.track.summary import STILL, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.track.summary import TrackSummary

_MOST = 64  # places of a camera
_KEPT_S = 3600.0  # a place where nothing was found for longer is free again
_TALLER = 1.25  # boxes of one thing differ in height by less than this factor


@dataclass(slots=True)
class _Place:
    x: float
    y: float
    height: float
    bound: float
    seen_ns: int

    def holds(self, place: tuple[float, float], height: float) -> bool:
        near = max(abs(place[0] - self.x), abs(place[1] - self.y)) <= 2 * STILL * self.height
        return near and self.height / _TALLER <= height <= self.height * _TALLER


class Things:
    """The places of one camera that show things.

    Args:
        config: When a track is on a thing.
    """

    def __init__(self, config: RefineConfig) -> None:
        self._config = config
        self._places: list[_Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def learn(self, summaries: Mapping[int, TrackSummary], now_ns: int) -> None:
        """Take over what the tracks of the last minutes say, and forget what is long gone.

        Args:
            summaries: Figures of the camera's tracks by track id.
            now_ns: The present.
        """
        self._places = [p for p in self._places if now_ns - p.seen_ns <= _KEPT_S * 1e9]
        bound = least_of_walkers(summaries, self._config)
        if bound is None:
            return
        for summary in summaries.values():
            for run in things_of(summary, bound, self._config):
                known = next((p for p in self._places if p.holds(run.place, run.height)), None)
                if known is not None:
                    known.bound = bound
                    known.seen_ns = max(known.seen_ns, run.last_ns)
                elif now_ns - run.last_ns <= _KEPT_S * 1e9:
                    self._places.append(_Place(*run.place, run.height, bound, run.last_ns))
        self._places.sort(key=lambda p: -p.seen_ns)
        del self._places[_MOST:]

    def hide(self, xyxy: NDArray[np.floating], confidence: float, time_ns: int) -> bool:
        """Return whether a box `(4,)` is a known thing."""
        if not self._places:
            return False
        place, height = place_of(xyxy)
        for each in self._places:
            if confidence < each.bound and each.holds(place, height):
                each.seen_ns = max(each.seen_ns, time_ns)
                return True
        return False
