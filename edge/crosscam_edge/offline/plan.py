"""What is known of a camera before its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_edge.config import CameraConfig
    from crosscam_edge.sources import SourceInfo


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """One camera of a run, checked and ready.

    Attributes:
        camera_id: Its name.
        number: Its place in the run, from 1.
        config: Its settings.
        info: What its source is.
        start_ns: UTC nanoseconds of its first frame.
        cache: Folder for its checkpoints.
    """

    camera_id: str
    number: int
    config: CameraConfig
    info: SourceInfo
    start_ns: int
    cache: Path
