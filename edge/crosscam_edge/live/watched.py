"""A camera of a live run: where its pictures come from, who is in them, how it fares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_edge.live.camera import CameraState
from crosscam_edge.live.latency import Latency
from crosscam_edge.live.rates import Need

if TYPE_CHECKING:
    from crosscam_edge.config import CameraConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.live.analysis import CameraAnalysis
    from crosscam_edge.live.camera import LiveCamera

_log = get_logger("live")
_EMPTY_S = 5.0  # without anybody for so long, and a camera counts as one with nobody in the picture


@dataclass(slots=True)
class Watched:
    """A camera of a live site.

    Attributes:
        config: From the site file; it has an id.
        camera: Where its pictures come from.
        analysis: Who is in them.
        detector: Its own; None where all cameras share one.
        latency: From capture to what is known of the picture.
        due_ns: When the next picture shall be taken.
        cost_s: Work that a picture is of late, seconds; None before one.
        people_ns: When somebody was in the picture last; None when nobody was yet.
        failures: Pictures that could not be looked at.
        state: What was last told of it.
    """

    config: CameraConfig
    camera: LiveCamera
    analysis: CameraAnalysis
    detector: Detector | None = None
    latency: Latency = field(default_factory=Latency)
    due_ns: int = 0
    cost_s: float | None = None
    people_ns: int | None = None
    failures: int = 0
    state: tuple[Any, ...] = field(default=())

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.config.id)

    def failed(self, error: Exception | None) -> None:
        """Count a picture that could not be looked at: the next one may do, other cameras go on."""
        self.failures += 1
        if self.failures == 1 or self.failures % 1000 == 0:
            _log.warning(
                "picture could not be looked at",
                camera=self.name,
                reason=f"{type(error).__name__}: {error}",
                times=self.failures,
            )

    def took(self, seconds: float) -> None:
        """Note how much work a picture was."""
        self.cost_s = seconds if self.cost_s is None else 0.8 * self.cost_s + 0.2 * seconds

    def need(self, target: float, now_ns: int) -> Need | None:
        """Return what it needs to be looked at; None while it sends nothing.

        Args:
            target: Pictures a second that are wanted of it, if it sends as many.
            now_ns: UTC.
        """
        health = self.camera.health()
        if health.state is not CameraState.RUNNING or self.cost_s is None:
            return None
        seen = self.people_ns is not None and now_ns - self.people_ns < _EMPTY_S * 1e9
        return Need(min(target, health.frame_rate or target), self.cost_s, seen)
