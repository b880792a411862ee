"""How long the pictures of a live run take, and how often cameras are looked at because of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from crosscam_edge.live.latency import STAGES, Latency
from crosscam_edge.live.rates import RateControl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crosscam_edge.live.camera import CameraHealth
    from crosscam_edge.live.looking import Look
    from crosscam_edge.live.watched import Watched

_EVERY_S = 1.0


class Pacing:
    """Counts what is done, and once a second decides how often each camera is looked at.

    Args:
        target: Pictures of a camera in a second, when there is time enough.
        now_ns: UTC.

    Attributes:
        control: Decides.
        latency: From capture to what is known of the picture, all cameras together.
        stages: The parts of it, by `STAGES`.
    """

    def __init__(self, target: float, now_ns: Callable[[], int]) -> None:
        self.control = RateControl(target)
        self.latency = Latency()
        self.stages = {stage: Latency() for stage in STAGES}
        self._now = now_ns
        self._looked: Counter[str] = Counter()
        self._idle_s = 0.0
        self._decided_s = time.perf_counter()

    def count(self, look: Look) -> None:
        """Count a picture that is done and told, and what it took."""
        picture = look.picture
        total = (self._now() - picture.time_ns) / 1e9
        parts = {
            "arrive": (picture.arrival_ns - picture.time_ns) / 1e9,
            "wait": (look.taken_ns - picture.arrival_ns) / 1e9,
            "detect": look.detect_s,
            "track": look.track_s,
        }
        parts["tell"] = total - sum(parts.values())
        for stage, seconds in parts.items():
            self.stages[stage].add(seconds)
        self.latency.add(total)
        look.watched.latency.add(total)
        look.watched.took(look.convert_s + look.detector_s + look.track_s)
        self._looked[look.watched.name] += 1

    def idle(self, seconds: float) -> None:
        """Add time in which no picture was on its way; with half of what can be, half."""
        self._idle_s += seconds

    def decide(self, cameras: Sequence[Watched]) -> None:
        """Decide anew, if a second has passed."""
        now = time.perf_counter()
        passed = now - self._decided_s
        if passed < _EVERY_S:
            return
        now_ns = self._now()
        needs = {each.name: each.need(self.control.target, now_ns) for each in cameras}
        self.control.step(
            {name: need for name, need in needs.items() if need is not None},
            {name: count / passed for name, count in self._looked.items()},
            min(1.0, self._idle_s / passed),
        )
        self._decided_s = now
        self._looked.clear()
        self._idle_s = 0.0

    def health(self, watched: Watched) -> CameraHealth:
        """Return how a camera is, and how often it is looked at."""
        rate, pace = self.control.rate(watched.name), self.control.pace(watched.name)
        return replace(watched.camera.health(), look_rate=rate, pace=pace)
