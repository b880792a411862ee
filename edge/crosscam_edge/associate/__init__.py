"""From tracklets of many cameras to one identity per person."""

from __future__ import annotations

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.associate.pipeline import associate
from crosscam_edge.associate.types import Assignment, Association, Calibration, Reason

__all__ = [
    "Assignment",
    "Association",
    "AssociationConfig",
    "Calibration",
    "Reason",
    "associate",
]
