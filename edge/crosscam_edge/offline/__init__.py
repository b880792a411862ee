"""The offline pipeline: recorded videos in, one identity per person out."""

from __future__ import annotations

from crosscam_edge.offline.progress import Progress, SilentProgress
from crosscam_edge.offline.run import ProcessOptions, ProcessResult, process

__all__ = ["ProcessOptions", "ProcessResult", "Progress", "SilentProgress", "process"]
