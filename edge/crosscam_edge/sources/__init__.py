"""Recorded videos and image folders as streams of frames with trustworthy times.

``probe`` tells what a path holds, or why it cannot be used; ``open_source`` gives the frames.
"""

from __future__ import annotations

from crosscam_edge.sources.clock import PresentationClock
from crosscam_edge.sources.info import SourceInfo, SourceStats
from crosscam_edge.sources.open import Source, open_source, probe

__all__ = ["PresentationClock", "Source", "SourceInfo", "SourceStats", "open_source", "probe"]
