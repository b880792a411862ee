"""Small facts about models that are costly to find out, remembered in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_deploy.paths import cache_dir

if TYPE_CHECKING:
    from pathlib import Path

_log = get_logger("verdicts")


def _file(key: str) -> Path:
    return cache_dir() / "verdicts" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def get(key: str) -> bool | None:
    """Return what is known about `key`, or None."""
    try:
        content = json.loads(_file(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # unknown or damaged: find out again
        return None
    if not isinstance(content, dict) or content.get("key") != key:
        return None
    value = content.get("value")
    return value if isinstance(value, bool) else None


def put(key: str, *, value: bool) -> None:
    """Remember a fact; a cache that cannot be written only costs time, so it is logged."""
    file = _file(key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staging = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"key": key, "value": value}, stream)
        os.replace(staging, file)
    except OSError as error:
        _log.info("verdict not kept", key=key, error=str(error))
