"""The model zoo: known models by name, found locally, downloaded or exported on demand."""

from __future__ import annotations

from crosscam_deploy.zoo.entries import ZooEntry, entries
from crosscam_deploy.zoo.lookup import (
    ModelStatus,
    best_available,
    is_packaged,
    list_models,
    resolve,
)

__all__ = [
    "ModelStatus",
    "ZooEntry",
    "best_available",
    "entries",
    "is_packaged",
    "list_models",
    "resolve",
]
