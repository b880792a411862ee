"""People in images: networks from bundles, or plain motion where there is no network."""

from __future__ import annotations

from crosscam_edge.detect.base import Detector
from crosscam_edge.detect.model import ModelDetector
from crosscam_edge.detect.motion import MotionDetector
from crosscam_edge.detect.select import choose_detector

__all__ = ["Detector", "ModelDetector", "MotionDetector", "choose_detector"]
