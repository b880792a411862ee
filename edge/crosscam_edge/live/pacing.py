"""How long the pictures of a live run take, and how often cameras are looked at because of it."""

from __future__ import annotations

import time
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
_NEWS = 0.2  # share of the last second in how far costs are believed


class Pacing:
    """Counts what is done, and once a second decides how often each camera is looked at.

    What pictures take is measured one by one, with whatever waiting for a core or for the
    interpreter is in it, and several go on at the same time: together it may be more than the time
    for which the run's thread was busy. So costs are believed as far as their sum is that time.

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
        self._other_s = self._idle_s = self._spent_s = 0.0
        self._decided_s = time.perf_counter()
        self._scale: float | None = None

    def count(self, look: Look) -> None:
        """Add a picture that is done and told to the latencies."""
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

    def took(self, looks: Sequence[Look], seconds: float) -> None:
        """Note what the pictures of a round took, see `share_out`."""
        self._spent_s += share_out(looks, seconds)

    def idle(self, seconds: float) -> None:
        """Add time in which the run's thread waited and there was nothing to begin with."""
        self._idle_s += seconds

    def other(self, seconds: float) -> None:
        """Add time of the run's thread that was not for pictures."""
        self._other_s += seconds

    def decide(self, cameras: Sequence[Watched]) -> None:
        """Decide anew, if a second has passed."""
        now = time.perf_counter()
        passed = now - self._decided_s
        if passed < _EVERY_S:
            return
        now_ns, other = self._now(), min(1.0, self._other_s / passed)
        busy = max(0.0, 1.0 - self._idle_s / passed - other)
        if self._spent_s:
            measured = min(1.0, busy * passed / self._spent_s)
            before = measured if self._scale is None else self._scale
            self._scale = before + _NEWS * (measured - before)
        scale = 1.0 if self._scale is None else self._scale
        needs = {each.name: each.need(self.control.target, now_ns) for each in cameras}
        self.control.step(
            {
                name: replace(need, cost_s=scale * need.cost_s)
                for name, need in needs.items()
                if need is not None
            },
            other,
        )
        self._decided_s = now
        self._other_s = self._idle_s = self._spent_s = 0.0

    def health(self, watched: Watched) -> CameraHealth:
        """Return how a camera is, and how often it is looked at."""
        rate, pace = self.control.rate(watched.name), self.control.pace(watched.name)
        return replace(watched.camera.health(), look_rate=rate, pace=pace)


def share_out(looks: Sequence[Look], seconds: float) -> float:
    """Note what each picture took: of the run's thread, or of the detector if that is more.

    Both work at the same time, so the one that has less time left says how much can be done.

    Args:
        looks: Pictures of a round.
        seconds: Of the run's thread, for all of them, with its waiting for the detector.

    Returns:
        What they took together.
    """
    tracking = sum(look.track_s for look in looks)
    waiting = sum(look.waited_s for look in looks)
    if tracking + waiting > seconds:  # side by side
        tracking, waiting = 0.0, max((look.waited_s for look in looks), default=0.0)
    rest = max(0.0, seconds - waiting - tracking)
    total = 0.0
    for look in looks:
        own = look.track_s if tracking else 0.0
        took = max(own + rest / len(looks), look.detector_s)
        look.watched.took(took)
        total += took
    return total
