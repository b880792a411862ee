"""Whether pictures can be read, and which are the same picture twice."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_THREADS = 4
_MIN_SIDE = 8  # pixels; less shows nobody


@dataclass(frozen=True, slots=True)
class Picture:
    """What reading a file gave.

    Attributes:
        path: The file.
        problem: Why it is unusable; empty when it is fine.
        width: Pixels; 0 when it cannot be read.
        height: Pixels; 0 when it cannot be read.
        digest: Hash of the file's bytes; empty when it cannot be opened.
    """

    path: Path
    problem: str
    width: int = 0
    height: int = 0
    digest: bytes = b""


def read_picture(path: Path) -> Picture:
    """Read and decode a file.

    Many decoders fill what is missing from a file that was cut off with grey and report nothing, so
    the end mark of JPEG and PNG is looked for first.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return Picture(path, error.strerror or "cannot be opened")
    digest = hashlib.blake2b(data, digest_size=16).digest()
    problem = _damage(data)
    if problem:
        return Picture(path, problem, digest=digest)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        return Picture(path, f"does not decode ({error.code})", digest=digest)
    if image is None:
        return Picture(path, "is not a picture that can be decoded", digest=digest)
    height, width = image.shape[:2]
    if min(height, width) < _MIN_SIDE:
        return Picture(path, f"has only {width}x{height} pixels", width, height, digest)
    return Picture(path, "", width, height, digest)


def read_pictures(
    paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> list[Picture]:
    """Read many files, some at a time; decoding runs without the GIL.

    Args:
        paths: Which.
        progress: Called with how many are done, and how many there are.
    """
    found: list[Picture] = []
    with ThreadPoolExecutor(_THREADS, "pictures") as pool:
        for picture in pool.map(read_picture, paths):
            found.append(picture)
            if progress is not None:
                progress(len(found), len(paths))
    return found


def spread(paths: Sequence[Path], number: int) -> list[Path]:
    """Choose some of the paths, evenly spread over all; the same ones every time."""
    if len(paths) <= number:
        return list(paths)
    return [paths[k * len(paths) // number] for k in range(number)]


def same_bytes(pictures: Sequence[Picture]) -> list[list[Path]]:
    """Return the groups of different files with equal bytes, in the order of the first of each."""
    groups: dict[bytes, list[Path]] = defaultdict(list)
    for picture in pictures:
        if picture.digest:
            groups[picture.digest].append(picture.path)
    return [group for group in groups.values() if len(group) > 1]


def _damage(data: bytes) -> str:
    if not data:
        return "is empty"
    if data.startswith(_JPEG) and _JPEG_END not in data[-4096:]:
        return "is cut off (no end of the JPEG)"
    if data.startswith(_PNG) and _PNG_END not in data[-4096:]:
        return "is cut off (no end of the PNG)"
    return ""
