"""Where crosscam keeps and looks for files: the cache, the user's model folders, its own models."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

MODELS_ENV = "CROSSCAM_MODELS"
CACHE_ENV = "CROSSCAM_CACHE"
DATA_ENV = "CROSSCAM_DATA"


def cache_dir() -> Path:
    """Return the cache folder: ``$CROSSCAM_CACHE`` or the user's cache. It may not exist yet."""
    override = os.environ.get(CACHE_ENV)
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_cache_dir("crosscam", appauthor=False))


def data_dir() -> Path:
    """Return the user's data folder, for what must not be lost or shared with the cache."""
    override = os.environ.get(DATA_ENV)
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_data_dir("crosscam", appauthor=False))


def model_dirs() -> list[Path]:
    """Return the folders named in ``$CROSSCAM_MODELS`` (separated by `os.pathsep`), in order."""
    value = os.environ.get(MODELS_ENV, "")
    return [Path(part).expanduser() for part in value.split(os.pathsep) if part.strip()]


def packaged_dir() -> Path:
    """Return the folder of the bundles that come with crosscam."""
    return Path(__file__).parent / "models"
