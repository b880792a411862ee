"""What people look at after a run: annotated videos and one page that explains everything."""

from __future__ import annotations

from crosscam_edge.report.html import write_report
from crosscam_edge.report.video import render_videos

__all__ = ["render_videos", "write_report"]
