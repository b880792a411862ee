"""Trust on first use: the hash of a download whose publisher states none is kept for ever.

The record is ``trust.json`` in the cache: for each address the sha256 and size of the first
download. A later download of the same address that differs is refused.
"""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from crosscam_deploy.paths import cache_dir
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path


def trust_file() -> Path:
    """Return the path of the record."""
    return cache_dir() / "trust.json"


def recorded_hash(url: str) -> str | None:
    """Return the sha256 recorded for an address, or None."""
    record = _load().get(url)
    return str(record["sha256"]) if record else None


def record_hash(url: str, sha256: str, size: int) -> None:
    """Record the first download of an address; recording the same again changes nothing.

    Raises:
        InputError: Another hash is recorded already.
        RunError: The record cannot be written.
    """
    file = trust_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            records = _load()
            known = records.get(url)
            if known:
                if known["sha256"] != sha256:
                    raise changed(url, sha256, str(known["sha256"]))
                return
            first_seen = datetime.now(UTC).isoformat(timespec="seconds")
            records[url] = {"sha256": sha256, "size": size, "first_seen": first_seen}
            descriptor, staging = tempfile.mkstemp(dir=file.parent, prefix=".trust-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(records, stream, indent=2, sort_keys=True)
            os.replace(staging, file)
    except OSError as error:
        raise RunError(
            f"{file} cannot be written ({error})",
            fix="make the cache writable, or set CROSSCAM_CACHE to a folder that is",
        ) from error


def changed(url: str, found: str, expected: str) -> InputError:
    """Return the error for a download that differs from the first one."""
    return InputError(
        f"{url} now serves a file with sha256 {found}",
        expected=f"sha256 {expected}, recorded at the first download",
        fix="the publisher replaced the file, or something between changed it; if you are sure "
        f"that the new one is right, delete its line in {trust_file()} and pull again",
    )


def _load() -> dict[str, dict[str, Any]]:
    file = trust_file()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file} cannot be read ({error})",
            expected="the JSON that crosscam wrote: without it changed downloads go unnoticed",
            fix="restore it, or delete it to trust the next downloads anew",
        ) from error
    if isinstance(content, dict) and all(
        isinstance(record, dict) and isinstance(record.get("sha256"), str)
        for record in content.values()
    ):
        return content
    raise InputError(
        f"{file} does not have the form that crosscam writes",
        fix="restore it, or delete it to trust the next downloads anew",
    )
