"""Verification: what a bundle costs in accuracy and brings in speed, however it is run.

`verify` compares candidates (a bundle, an engine, a precision, a number of threads) with a
reference on real pictures: answers first, then time and memory. `Report` holds what it found.
"""

from __future__ import annotations

from crosscam_deploy.verify.crops import read_crops
from crosscam_deploy.verify.data import Crop, CropSet, FrameSet, VerifyData
from crosscam_deploy.verify.run import verify
from crosscam_deploy.verify.types import (
    Candidate,
    DetectAccuracy,
    EmbedAccuracy,
    Gates,
    Report,
    Row,
    Speed,
)

__all__ = [
    "Candidate",
    "Crop",
    "CropSet",
    "DetectAccuracy",
    "EmbedAccuracy",
    "FrameSet",
    "Gates",
    "Report",
    "Row",
    "Speed",
    "VerifyData",
    "read_crops",
    "verify",
]
