"""Data sets: read, check, relabel, sample. Only `dataset` and `transforms` need torch."""

from __future__ import annotations

from crosscam_trainer.data.readers.generic import GenericLayout
from crosscam_trainer.data.registry import load
from crosscam_trainer.data.relabel import as_intra_camera
from crosscam_trainer.data.splits import PersonSplit
from crosscam_trainer.data.types import (
    DISTRACTOR,
    EvaluationProtocol,
    IntraCameraLabels,
    ReIDData,
    Sample,
)

__all__ = [
    "DISTRACTOR",
    "EvaluationProtocol",
    "GenericLayout",
    "IntraCameraLabels",
    "PersonSplit",
    "ReIDData",
    "Sample",
    "as_intra_camera",
    "load",
]
