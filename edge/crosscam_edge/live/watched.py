"""A camera of a live run: where its pictures come from, who is in them, how it fares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosscam_edge.config import CameraConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.live.analysis import CameraAnalysis
    from crosscam_edge.live.camera import LiveCamera


@dataclass(slots=True)
class Watched:
    """A camera of a live site.

    Attributes:
        config: From the site file; it has an id.
        camera: Where its pictures come from.
        analysis: Who is in them.
        detector: Its own; None where all cameras share one.
        due_ns: When the next picture shall be taken.
        failures: Pictures that could not be looked at.
        state: What was last told of it.
    """

    config: CameraConfig
    camera: LiveCamera
    analysis: CameraAnalysis
    detector: Detector | None = None
    due_ns: int = 0
    failures: int = 0
    state: tuple[Any, ...] = field(default=())

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.config.id)
