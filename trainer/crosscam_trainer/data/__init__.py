"""Data sets: read, check, relabel, sample. Only `dataset` and `transforms` need torch."""

from __future__ import annotations

from crosscam_trainer.data.types import (
    DISTRACTOR,
    EvaluationProtocol,
    IntraCameraLabels,
    ReIDData,
    Sample,
)

__all__ = ["DISTRACTOR", "EvaluationProtocol", "IntraCameraLabels", "ReIDData", "Sample"]
