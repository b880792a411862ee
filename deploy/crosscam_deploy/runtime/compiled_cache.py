"""Compiled graphs, kept in the cache: to load one takes a fifth of the time of compiling it.

One file for each key under ``compiled/`` in the cache: the sha256 of key and content, then the
content. What is damaged, cut short or of another key counts as absent. Files are written whole or
not at all, and those that were not used for longest are deleted when all together take too much.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_deploy.paths import cache_dir

if TYPE_CHECKING:
    from pathlib import Path

_log = get_logger("compiled")
LARGEST = 128 << 20
"""Bytes of the largest graph that is kept: reading and checking more takes its time, too."""
ROOM = 512 << 20
"""Bytes that all of them may take."""


def _folder() -> Path:
    return cache_dir() / "compiled"


def _file(key: str) -> Path:
    return _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.blob"


def _digest(key: str, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(content)
    return digest.digest()


def load(key: str) -> bytes | None:
    """Return what was kept under `key`, or None."""
    file = _file(key)
    try:
        data = file.read_bytes()
    except OSError:  # not there or not readable: compile
        return None
    content = memoryview(data)[32:]
    if data[:32] != _digest(key, content):
        _log.info("damaged compiled graph left aside", file=str(file))
        return None
    with contextlib.suppress(OSError):  # a cache that is read-only: only the order is lost
        os.utime(file)
    return bytes(content)


def keep(key: str, content: bytes) -> None:
    """Keep a compiled graph; a cache that cannot be written only costs time, so it is logged."""
    if len(content) > LARGEST:
        return
    file = _file(key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staging = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_digest(key, content))
                stream.write(content)
            os.replace(staging, file)
        except BaseException:
            os.unlink(staging)
            raise
        _make_room()
    except OSError as error:
        _log.info("compiled graph not kept", file=str(file), error=str(error))


def _make_room() -> None:
    """Delete the files that were not used for longest until the rest fits."""
    files = []
    for file in _folder().iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process makes room, too
            status = file.stat()
            files.append((status.st_mtime_ns, status.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= ROOM:
            return
        file.unlink(missing_ok=True)
        total -= size
